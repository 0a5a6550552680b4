"""The model card: what a model folder says of itself, to people and to the Hub's tools."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import ModelCardData

CARD_FILE = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCardFacts:
    """What the card of one model states."""

    title: str
    summary: str
    """What the model is for and what it must not be used for, in a few sentences."""
    usage: str = ""
    """How it is loaded, where that is not what everybody expects: Markdown."""
    base_model: str
    """Name of the model that it started from, on a hub where it is known; a folder is given by its
    last part only. Empty for a model trained from nothing."""
    relation: str = "finetune"
    """The Hub's word for what it is to its base; empty for a copy."""
    parent: str = ""
    """The version that it was refreshed from, as chat@3."""
    pipeline_tag: str
    """The Hub's task: "text-classification" of reward models, "text-generation" of policies."""
    tags: tuple[str, ...] = ()
    license: str = "other"
    """The Hub's licence key; "other" where the licence of base or data is not known."""
    language: str = "en"
    snapshot_hash: str = ""
    """Snapshot of examples that it was fitted on."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """Figures measured on rows kept aside."""
    dials: Mapping[str, object] = field(default_factory=dict)
    """The configuration that made it."""


def render_card(facts: ModelCardFacts) -> str:
    """The card's text: YAML front matter as the Hub reads it, then Markdown."""
    data = ModelCardData(
        language=facts.language,
        license=facts.license,
        base_model=facts.base_model or None,
        base_model_relation=(facts.relation or None) if facts.base_model else None,
        library_name="transformers",
        pipeline_tag=facts.pipeline_tag,
        tags=list(facts.tags),
        metrics=sorted(facts.measures),
    )
    sections = [f"---\n{data.to_yaml()}\n---", f"# {facts.title}", facts.summary]
    if facts.usage:
        sections.append(facts.usage)
    if facts.parent:
        sections.append(f"Refreshed from `{facts.parent}`.")
    if facts.snapshot_hash:
        sections.append(f"Fitted on snapshot `{facts.snapshot_hash}`.")
    if facts.measures:
        rows = [f"| {name} | {value:.4g} |" for name, value in sorted(facts.measures.items())]
        sections.append("\n".join(["| measure | value |", "|---|---|", *rows]))
    if facts.dials:
        rows = [f"| `{name}` | `{value}` |" for name, value in sorted(facts.dials.items())]
        sections.append("\n".join(["| dial | value |", "|---|---|", *rows]))
    return "\n\n".join(sections) + "\n"


def write_card(facts: ModelCardFacts, folder: Path) -> None:
    """Write the card into a model's folder."""
    (folder / CARD_FILE).write_text(render_card(facts), encoding="utf-8")
