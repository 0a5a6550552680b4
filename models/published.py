"""Model folders as others publish and load them.

A model from outside is kept as it was published: its bytes, so its dtype, shards, generation config
and tokenizer. A model that we write loads in transformers 4 (from 4.56 on) as well as in 5: version
5 writes a tokenizer class that 4 does not know, and the rotary base where 4 does not look, which
would be another model without a word.
"""

import json
import math
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import safe_open

from models.card import CARD_FILE
from models.lean import lean_imports

with lean_imports():
    from transformers import PreTrainedModel

KEPT = (
    *("*.json", "*.jinja", "additional_chat_templates/*.jinja"),
    *("*.model", "*.tiktoken", "vocab.txt", "merges.txt"),
    *("LICENSE*", "NOTICE*", "USE_POLICY*"),
)
"""Files beside the weights that transformers reads, and the terms that must go with them. Left out:
the same weights in another format, checkpoints of a trainer, code."""
WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.bin")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
IN_CACHE = re.compile(r"models--([\w.-]+?)--([\w.-]+)")
"""A folder of the Hub's cache, which holds the name that it was fetched by."""
FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---", re.DOTALL)
ONLY_IN_5 = ("backend", "is_local", "local_files_only")
"""Of tokenizer_config.json: how version 5 loaded it, nothing about the tokenizer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a model comes from, as its folder or name tells."""

    base_model: str
    """Name of the model on a hub where it is known, else of its folder."""
    license: str = "other"
    language: str = "en"


def origin_of(source: str | Path) -> Origin:
    """The origin of a model by its hub name, or by its card, its config and the folder's name."""
    folder = Path(source)
    if not folder.is_dir():
        return Origin(base_model=str(source))
    card = _front_matter(folder)
    config = _read_json(folder / "config.json")
    named = [
        *("/".join(match.groups()) for match in IN_CACHE.finditer(str(folder.absolute()))),
        _first(card.get("base_model")),
        config.get("_name_or_path"),
    ]
    known = [name for name in named if isinstance(name, str) and _is_name(name)]
    return Origin(
        base_model=known[0] if known else folder.resolve().name,
        license=_first(card.get("license")) or "other",
        language=_first(card.get("language")) or "en",
    )


def check_published(folder: Path) -> None:
    """Raises ValueError, with what to do, for a folder that holds no whole model of ours to run."""
    config = _read_json(folder / "config.json")
    has_weights = any(True for pattern in WEIGHTS for _ in folder.glob(pattern))
    adapter = _read_json(folder / "adapter_config.json")
    if adapter:
        base = adapter.get("base_model_name_or_path") or "its base"
        raise ValueError(
            f"{folder} is an adapter (PEFT) for {base}, not a whole model: merge it first, with"
            " PeftModel.from_pretrained(base, folder).merge_and_unload().save_pretrained(merged),"
            " save the tokenizer beside it, and register that folder"
        )
    if any(folder.glob("*.gguf")) and not (config and has_weights):
        raise ValueError(
            f"{folder} holds GGUF weights, which are quantised and cannot be trained: load them"
            " with AutoModelForCausalLM.from_pretrained(folder, gguf_file=...), save_pretrained the"
            " model and the tokenizer, and register that folder"
        )
    if not config:
        raise ValueError(f"{folder} holds no model: it has no config.json that can be read")
    if not has_weights:
        raise ValueError(f"{folder} has a config.json but no weights (*.safetensors or *.bin)")


def copy_published(source: Path, target: Path) -> bool:
    """Copy what transformers reads of a model. Returns whether its weights were among it.

    Weights in PyTorch's pickled format are not copied: the caller saves them anew.
    """
    target.mkdir(parents=True)
    for pattern in KEPT:
        for file in sorted(source.glob(pattern)):
            if file.is_file() and file.name != CARD_FILE:
                copy = target / file.relative_to(source)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, copy)
    weights = weights_of(source)
    for file in weights:
        shutil.copyfile(file, target / file.name)
    if not weights:
        for index in target.glob("*.bin.index.json"):
            index.unlink()
    return bool(weights)


def weights_of(folder: Path) -> list[Path]:
    """The safetensors files that from_pretrained reads, of all that there may be; empty where it
    reads pickled ones. Raises ValueError for an index that names a file elsewhere."""
    stated = _read_json(folder / "config.json").get("transformers_weights")
    for name in (stated, "model.safetensors", "model.safetensors.index.json"):
        if not isinstance(name, str) or not (folder / name).is_file():
            continue
        found = [name]
        if name.endswith(".index.json"):
            found = sorted(set(_read_json(folder / name).get("weight_map", {}).values()))
        elsewhere = [file for file in found if Path(file).name != file]
        if elsewhere:
            raise ValueError(
                f"{folder / name} names {elsewhere[0]!r}, which lies in another folder"
            )
        return [folder / file for file in found]
    return []


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write a model's weights and configs.

    Dials of sampling beside `do_sample: false`, as Llama 2 was published with, mean that it
    samples; transformers loads them and refuses to write them.
    """
    dials = model.generation_config
    if dials is not None:
        try:
            dials.validate(strict=True)
        except ValueError:
            dials.do_sample = True
    model.save_pretrained(folder)


def dtype_of(folder: Path) -> str:
    """The dtype of most weights of a folder, as safetensors names it: bf16, f32."""
    found: Counter[str] = Counter()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118  # No mapping: it has no iterator.
                part = weights.get_slice(name)
                found[part.get_dtype().lower()] += math.prod(part.get_shape())
    return found.most_common(1)[0][0]


def make_portable(folder: Path) -> None:
    """Rewrite what only transformers 5 understands, so that 4 loads the same model from it."""
    _rewrite(folder / "tokenizer_config.json", _tokenizer_of_both)
    _rewrite(folder / "config.json", _config_of_both)


def _tokenizer_of_both(config: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key not in ONLY_IN_5}
    if kept.get("tokenizer_class") == "TokenizersBackend":
        kept["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(kept.get("extra_special_tokens"), list):
        kept["additional_special_tokens"] = kept.pop("extra_special_tokens")
    return kept


def _config_of_both(config: dict[str, Any]) -> dict[str, Any]:
    both = dict(config)
    for key, value in config.items():
        if isinstance(value, dict) and "model_type" in value:  # The text part of a larger model.
            both[key] = _config_of_both(value)
    rope = config.get("rope_parameters")
    if isinstance(rope, dict):
        both |= _rope_of_4(rope)
    if "dtype" in config:
        both["torch_dtype"] = config["dtype"]
    return both


def _rope_of_4(rope: dict[str, Any]) -> dict[str, Any]:
    """The rotary positions under the names of version 4; of both kinds of layers, where they differ
    (Gemma 3)."""
    by_layer = {key: value for key, value in rope.items() if isinstance(value, dict)}
    if by_layer:
        whole = _rope_of_4(by_layer.get("full_attention", {}))
        local = by_layer.get("sliding_attention", {}).get("rope_theta")
        return whole if local is None else whole | {"rope_local_base_freq": local}
    found = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    if rope.get("rope_type", "default") == "default":
        return found
    return found | {"rope_scaling": {k: v for k, v in rope.items() if k != "rope_theta"}}


def _rewrite(path: Path, change: Any) -> None:
    config = _read_json(path)
    changed = change(config)
    if changed != config:
        path.write_text(json.dumps(changed, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise ValueError(f"{path} is damaged: {fault}") from fault
    return found if isinstance(found, dict) else {}


def _front_matter(folder: Path) -> dict[str, Any]:
    """The head of the folder's model card; empty where it has none that can be read."""
    try:
        text = (folder / CARD_FILE).read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        return {}
    head = FRONT_MATTER.match(text)
    try:
        found = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _first(value: object) -> str:
    """A value of a card, or the first of several."""
    chosen = value[0] if isinstance(value, list) and value else value
    return chosen if isinstance(chosen, str) else ""


def _is_name(name: str) -> bool:
    return HUB_NAME.fullmatch(name) is not None and not Path(name).exists()
