"""Options that verbs share, and how a verb refuses what it cannot read."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, NoReturn

import typer

from rluf.settings import BadSettings
from streams.times import read_time_utc

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


def _read_time(text: str) -> datetime:
    try:
        return read_time_utc(text)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{error or 'outside the calendar'}; saw {text!r}") from None


TIME: dict[str, Any] = {"parser": _read_time, "metavar": "TIME"}
"""For an option or argument that is a time, read as everywhere: streams/times.py."""
