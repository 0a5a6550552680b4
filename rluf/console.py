"""What a person sees: results on standard output, progress and remarks on standard error."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from rluf.settings import plain
from rluf.turn.steps import OnProgress

LINE_EVERY_S = 15.0


class Console:
    """Prints for a person, or one JSON value for a program (`--json`)."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._out = RichConsole(highlight=False, soft_wrap=True)
        self._err = RichConsole(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Remark on what is going on; a line in [bold]…[/bold] is a heading, the rest is plain."""
        plain_text = text.removeprefix("[bold]").removesuffix("[/bold]")
        self._err.print(plain_text, markup=False, style="bold" if plain_text != text else None)

    def fail(self, text: str) -> None:
        """Say what went wrong."""
        self._err.print(f"[bold red]error:[/bold red] {_escape(text)}")

    def emit(self, value: object, *, text: str | Table | None = None) -> None:
        """Give the result: the JSON value, or what is nicer to read."""
        if self.as_json or text is None:
            print(json.dumps(plain(value), indent=1, ensure_ascii=False, default=str))
        elif isinstance(text, Table):
            self._out.print(text)
        else:
            self._out.print(text, markup=False)

    def rows(self, rows: Sequence[Mapping[str, Any]], *, title: str = "") -> None:
        """Give rows as a table, or as a JSON list."""
        if self.as_json:
            self.emit(list(rows))
            return
        if not rows:
            self._err.print("(no rows)")
            return
        table = Table(title=title or None, title_justify="left")
        for column in rows[0]:
            table.add_column(str(column), overflow="fold")
        for row in rows:
            table.add_row(*(_cell(value) for value in row.values()))
        self._out.print(table)

    @contextmanager
    def progress(self) -> Iterator[OnProgress]:
        """Progress bars, one per (step, stage); without a terminal, a line now and then."""
        if not self._err.is_terminal:
            yield self._lines()
            return
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._err,
            transient=True,
        ) as bars:
            tasks: dict[str, TaskID] = {}

            def on_progress(step: str, stage: str, done: int, total: int) -> None:
                name = f"{step}: {stage}" if stage else step
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=total)
                bars.update(tasks[name], completed=done, total=total)
                if total and done >= total:
                    bars.update(tasks[name], visible=False)

            yield on_progress

    def _lines(self) -> OnProgress:
        """Give a reporter that says a stage's start and end, and a line each LINE_EVERY_S."""
        said: dict[str, float] = {}

        def on_progress(step: str, stage: str, done: int, total: int) -> None:
            name = f"{step}: {stage}" if stage else step
            now = time.monotonic()
            if name not in said or done >= total > 0 or now - said[name] > LINE_EVERY_S:
                said[name] = now
                self._err.print(f"{name} {done:,} of {total:,}")

        return on_progress


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return _escape(str(value))


def _escape(text: str) -> str:
    return text.replace("[", "\\[")
