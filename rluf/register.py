"""`rluf register`: a causal language model from a folder or a hub becomes a version of a policy."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import ModelCard, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from transformers import AutoModelForCausalLM

from models.artifacts import new_draft, store_artifact
from models.card import ModelCardFacts, write_card
from models.chat import Chat
from models.live import CHAMPION, promote
from models.policy import Policy
from models.published import (
    Origin,
    check_published,
    copy_published,
    dtype_of,
    make_portable,
    origin_of,
    save_model,
)
from models.registry import Registry
from rluf.settings import Settings, settings_hash

HELLO: Chat = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A version that came from outside."""

    version: str
    source: str
    num_weights: int
    context_tokens: int
    dtype: str
    """Of the weights as they are kept; on a CPU they are loaded as float32."""
    is_live: bool
    """Whether it was put before everybody, because nothing was before it."""

    def summary(self) -> str:
        """Give the line a person reads."""
        live = "live, for there was none before" if self.is_live else "not live: see rluf promote"
        return (
            f"{self.version} registered from {self.source}: {self.num_weights:,} weights"
            f" ({self.dtype}), {self.context_tokens:,} tokens of context; {live}"
        )


def register_policy(
    settings: Settings, registry: Registry, source: str, *, who: str, why: str
) -> Registered:
    """Load, let it say a word, keep it as it is under the home, register; the first one goes live.

    `source` is a folder or the name of a model on a hub. Raises ValueError or OSError where
    transformers cannot load it, or where it is an adapter, GGUF, or needs code of its own.
    """
    name = settings.refresh.policy
    is_folder = Path(source).is_dir()
    if is_folder:
        check_published(Path(source))
    policy = Policy.from_pretrained(source)
    _check_vocabulary(policy, source)
    policy.reply([HELLO], max_new_tokens=1)
    published = Path(source if is_folder else snapshot_download(source, local_files_only=True))
    draft = new_draft(settings.home, name)
    try:
        dtype = _keep(policy, published, draft)
        write_card(_card(origin_of(published) if is_folder else _on_hub(source), source), draft)
        version = registry.register(
            name,
            artifact=store_artifact(settings.home, name, draft),
            kind="policy",
            config_hash=settings_hash({"source": source}),
            snapshot_hash=None,
            recipe=f"registered from {Path(source).name}",
        )
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    is_first = registry.alias(name, CHAMPION) is None
    if is_first:
        promote(registry, name, version.number, who=who, why=why, force=True)
    return Registered(
        version=version.ref,
        source=source,
        num_weights=policy.model.num_parameters(),
        context_tokens=policy.context_tokens,
        dtype=dtype,
        is_live=is_first,
    )


def _check_vocabulary(policy: Policy, source: str) -> None:
    """A model may have more rows than its tokenizer has tokens, never fewer."""
    weight = policy.model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    num_rows = weight.shape[0]
    num_tokens = len(policy.tokenizer)
    if num_tokens > num_rows:
        raise ValueError(
            f"{source}: the tokenizer has {num_tokens:,} tokens and the model only {num_rows:,};"
            " they do not belong together (resize_token_embeddings after adding tokens?)"
        )


def _keep(policy: Policy, published: Path, draft: Path) -> str:
    """Copy the model as it was published; returns the dtype of its weights."""
    if not copy_published(published, draft):  # Pickled: the same, in the format that runs no code.
        model = AutoModelForCausalLM.from_pretrained(
            str(published), dtype="auto", trust_remote_code=False
        )
        save_model(model, draft)
    if not any(draft.glob("tokenizer*")):
        policy.tokenizer.save_pretrained(draft)
    if not any(draft.glob("*chat_template*")) and "chat_template" not in _tokenizer_config(draft):
        template = policy.tokenizer.chat_template
        (draft / "chat_template.jinja").write_text(str(template), encoding="utf-8")
    make_portable(draft)
    return dtype_of(draft)


def _tokenizer_config(folder: Path) -> str:
    file = folder / "tokenizer_config.json"
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _on_hub(source: str) -> Origin:
    """The origin of a hub's model; its licence is unknown where its card cannot be had."""
    try:
        card = ModelCard.load(source).data.to_dict()
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError):
        return Origin(base_model=source)
    license_name, language = card.get("license"), card.get("language")
    return Origin(
        base_model=source,
        license=license_name if isinstance(license_name, str) else "other",
        language=language if isinstance(language, str) else "en",
    )


def _card(origin: Origin, source: str) -> ModelCardFacts:
    return ModelCardFacts(
        title=f"Policy: {Path(source).name}",
        summary="The policy that refreshes start from, as it came from its source.",
        base_model=origin.base_model,
        relation="",
        license=origin.license,
        language=origin.language,
        pipeline_tag="text-generation",
    )
