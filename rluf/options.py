"""Options that verbs share, and how a verb refuses what it cannot read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, NoReturn

import typer

from rluf.settings import BadSettings

RecipeOption = Annotated[
    list[str] | None,
    typer.Option("--recipe", help="Recipe name or path, laid over the defaults. Repeatable."),
]
SupervisorOption = Annotated[
    int | None, typer.Option(hidden=True, help="End when this process, the parent, has ended.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
WhoOption = Annotated[str, typer.Option(help="Who decides; kept in the history.")]
WhyOption = Annotated[str, typer.Option(help="Why; kept in the history.")]


def usage(text: str) -> NoReturn:
    """Refuse with exit code 2."""
    raise BadSettings(text)


def utc(at: datetime | None) -> datetime | None:
    """A time without a zone is UTC."""
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)
