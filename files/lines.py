"""Text files that others wrote, line by line: the one place where their encoding is settled.

Taken: UTF-8 with or without a byte-order mark; lines that end in LF, CRLF or CR; gzip of one member
or several, whatever the name. Blank lines are skipped and counted in the numbers. Everything else
is refused by name, with the file and, within a file, the line.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

BOM = b"\xef\xbb\xbf"
GZIP = b"\x1f\x8b"
OTHERS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PAR1": "parquet",
}
"""First bytes of what is often given instead; a longer mark before one that it begins with."""
HEAD_BYTES = 64


class Line(NamedTuple):
    """One line that is not blank."""

    number: int
    """From 1, blank ones counted: what an editor shows."""
    text: bytes


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file, without their ends and the spaces around.

    Raises FileNotFoundError, IsADirectoryError, or ValueError for a file that is no UTF-8 text, a
    JSON array, or a damaged archive.
    """
    number = 0
    with _opened(path) as file:
        try:
            for ended in file:
                ended = ended.removeprefix(BOM)  # Files that were put together have one in between.
                parts = ended.removesuffix(b"\n").removesuffix(b"\r").split(b"\r")
                for part in parts:
                    number += 1
                    text = part.strip()
                    if text:
                        yield Line(number, text)
        except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
            raise ValueError(f"{path} is damaged, {number} lines could be read: {fault}") from fault


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file, each with its line. Raises as read_lines, and for other lines."""
    for number, text in read_lines(path):
        try:
            row = json.loads(text.decode("utf-8"))
            if b"\\u" in text:  # An escape may be half a character, which is no text.
                json.dumps(row, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as fault:
            raise ValueError(f"{path}:{number} is no JSON: {fault}") from fault
        if not isinstance(row, dict):
            raise ValueError(f"{path}:{number} is no JSON object but {type(row).__name__}")
        yield number, row


def read_whole(path: Path) -> str:
    """The text of a small file, TOML for one, with LF for every line end. Raises as read_lines."""
    with _opened(path) as file:
        content = file.read().removeprefix(BOM)
    try:
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as fault:
        line = content[: fault.start].count(b"\n") + 1
        raise ValueError(f"{path}:{line} is not UTF-8: {fault.reason}") from fault


def _opened(path: Path) -> IO[bytes]:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a file")
    if not path.is_file():
        what = (
            "no regular file; save it to one, for it is read twice" if path.exists() else "no file"
        )
        raise FileNotFoundError(f"{path} is {what}")
    with path.open("rb") as plain:
        head = plain.read(HEAD_BYTES)
    is_packed = head.startswith(GZIP)
    if is_packed:
        try:
            with gzip.open(path) as packed:
                head = packed.read(HEAD_BYTES)
        except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
            raise ValueError(f"{path} is damaged: {fault}") from fault
    elif path.suffix == ".gz" and head:
        _refuse(path, head)
        raise ValueError(f"{path} is damaged: it is named .gz and is no gzip file")
    _refuse(path, head)
    return cast(IO[bytes], gzip.open(path) if is_packed else path.open("rb"))


def _refuse(path: Path, head: bytes) -> None:
    other = next((name for mark, name in OTHERS.items() if head.startswith(mark)), "")
    if not other and b"\x00" in head[:8]:
        other = "UTF-16 or UTF-32 without a mark" if _alternates(head) else "no text"
    if other:
        raise ValueError(f"{path} is {other}; give UTF-8 text, plain or gzip")
    if head.removeprefix(BOM).lstrip()[:1] == b"[" and ".toml" not in path.name:
        raise ValueError(
            f"{path} is one JSON array; give one JSON object a line (jq -c '.[]' makes them)"
        )


def _alternates(head: bytes) -> bool:
    """Whether every other byte is zero and the others are not: ASCII in two or four bytes each."""
    return any(head[:8:2]) != any(head[1:8:2])
