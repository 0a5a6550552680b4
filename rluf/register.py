"""`rluf register`: a causal language model from a folder or a hub becomes a version of a policy."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from models.artifacts import store_artifact
from models.card import ModelCardFacts
from models.chat import Chat
from models.policy import Policy
from models.registry import Registry
from rluf.promote import CHAMPION, promote
from rluf.settings import Settings, settings_hash

HELLO: Chat = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A version that came from outside."""

    version: str
    source: str
    num_weights: int
    context_tokens: int
    is_live: bool
    """Whether it was put before everybody, because nothing was before it."""

    def summary(self) -> str:
        """Give the line a person reads."""
        live = "live, for there was none before" if self.is_live else "not live: see rluf promote"
        return (
            f"{self.version} registered from {self.source}: {self.num_weights:,} weights,"
            f" {self.context_tokens:,} tokens of context; {live}"
        )


def register_policy(
    settings: Settings, registry: Registry, source: str, *, who: str, why: str
) -> Registered:
    """Load, let it say a word, keep its bytes under the home, register; the first one goes live.

    `source` is a folder or the name of a model on a hub. Raises ValueError or OSError where
    transformers cannot load it.
    """
    name = settings.refresh.policy
    policy = Policy.from_pretrained(source)
    policy.reply([HELLO], max_new_tokens=1)
    with tempfile.TemporaryDirectory(prefix="rluf-register-", dir=settings.home) as scratch:
        folder = Path(scratch) / "model"
        policy.save(
            folder,
            ModelCardFacts(
                title=f"Policy: {Path(source).name}",
                summary="The policy that refreshes start from, as it came from its source.",
                base_model=source if not Path(source).exists() else Path(source).name,
                pipeline_tag="text-generation",
            ),
        )
        version = registry.register(
            name,
            artifact=store_artifact(settings.home, name, folder),
            kind="policy",
            config_hash=settings_hash({"source": source}),
            snapshot_hash=None,
            recipe=f"registered from {Path(source).name}",
        )
    is_first = registry.alias(name, CHAMPION) is None
    if is_first:
        promote(registry, name, version.number, who=who, why=why, force=True)
    return Registered(
        version=version.ref,
        source=source,
        num_weights=policy.model.num_parameters(),
        context_tokens=policy.context_tokens,
        is_live=is_first,
    )
