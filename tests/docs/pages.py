"""What README and docs show a reader: snippets, their commands, and the answers they promise."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMISES = ("# HTTP/", "# {")
"""How a comment begins that shows what the command before it answers; … stands for anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """One fenced block."""

    page: str
    line: int
    """Of its first line within the page."""
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of a shell snippet, as many lines as it takes."""

    text: str
    before: str
    """What the snippet sets for it: the exports and assignments above it."""
    promises: tuple[str, ...]
    """Lines that the page says it answers."""


def snippets() -> Iterator[Snippet]:
    """Every fenced block of every page, in order."""
    for path in PAGES:
        text = path.read_text("utf-8")
        for found in FENCE.finditer(text):
            yield Snippet(
                page=str(path.relative_to(ROOT)),
                line=text.count("\n", 0, found.start(2)) + 1,
                language=found.group(1),
                text=found.group(2),
            )


def commands(snippet: Snippet) -> list[Command]:
    """The commands of a shell snippet; raises ValueError where the last one has no end."""
    found: list[Command] = []
    pending, before = "", ""
    for line in snippet.text.splitlines():
        if not pending and line.startswith(PROMISES) and found:
            last = found.pop()
            promises = (*last.promises, line.removeprefix("# "))
            found.append(Command(text=last.text, before=last.before, promises=promises))
            continue
        if not pending and (not line.strip() or line.startswith("#")):
            continue
        pending += line
        if not _is_whole(pending):
            pending += "\n"
            continue
        if _sets_only(pending):
            before += pending + "\n"
        found.append(Command(text=pending, before=before, promises=()))
        pending = ""
    if pending:
        raise ValueError(f"{snippet}: {pending!r} has no end")
    return found


def _sets_only(text: str) -> bool:
    """Whether a command is an assignment for those after it."""
    words = shlex.split(text, comments=True)
    is_answer = re.fullmatch(r"[A-Z_]+=\$\(.*\)", text) is not None
    return is_answer or all(re.match(r"export$|[A-Z_]+=", word) for word in words)


def _is_whole(text: str) -> bool:
    """Whether a shell would run it and not wait for another line."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # A quotation is open.
        return False
    return not text.rstrip().endswith("\\") and words[-1:] != ["|"]
