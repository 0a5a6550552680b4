"""What the simulator writes down: acknowledged calls for everybody, sealed truths for the end."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType


class Lines:
    """A JSON-lines file that holds every line from the moment it is written."""

    def __init__(self, path: Path | None) -> None:
        """Start the file anew, with its folder; without a path nothing is kept."""
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8") if path is not None else None

    def __enter__(self) -> "Lines":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, line: dict[str, object]) -> None:
        """Append one line and hand it to the operating system."""
        if self._file is not None:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()


def read_lines(path: Path) -> Iterator[dict[str, object]]:
    """The lines of a JSON-lines file; a last line cut short by a kill is left out."""
    with path.open(encoding="utf-8") as file:
        for text in file:
            if text.endswith("\n"):
                yield json.loads(text)


def now_text() -> str:
    """The time now, UTC, RFC 3339 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
