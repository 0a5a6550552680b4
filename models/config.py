"""Dials of the models room."""

from dataclasses import dataclass, field
from pathlib import Path

MINILM = "minilm"
"""Short name of the encoder that the installation brings along: all-MiniLM-L6-v2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsConfig:
    """Where versions and their artifacts are kept."""

    registry_url: str = field(default="", repr=False)
    """SQLAlchemy URL of the registry; empty means SQLite at <home>/registry.db. PostgreSQL:
    postgresql+psycopg://user@host/database."""
    root: Path = Path("runs")
    """The home; artifacts lie under <root>/artifacts and are recorded relative to it."""
