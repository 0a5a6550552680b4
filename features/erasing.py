"""Forget a user in everything that is derived from facts, and look whether anything is left.

The erasure itself is a fact (it hides what comes late), so the store's erasures go on naming the
user's id; nothing else may.
"""

import gzip
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.aliases import names_of
from features.config import FeaturesConfig
from features.definitions import empty_sources, feast_folder
from features.offline import OFFLINE_STORES
from features.offline.parquet import needles_of
from features.online import open_online
from features.tallies import Tallies, tallies_path
from features.views import connect_store
from files.durable import (
    ERASE_PARTIAL_AGE_S,
    PARTIAL_PREFIX,
    lock,
    remove_folder,
    remove_partial,
)

NOT_SEARCHED = ("kafka", "cache")
"""Folders of a home that hold the broker's log and downloads."""
PARQUET = b"PAR1"
"""How a parquet file begins."""
TEXT_CHARS_MIN = 24
"""Shorter texts of a user are not looked for: others write the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was removed of one user."""

    num_rows: int
    """Exposures and reactions taken out of the store's files."""
    snapshots: tuple[str, ...]
    """Hashes of the snapshots that held the user; they are deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Where bytes of a user were found."""

    num_files: int
    num_bytes: int
    """As decompressed."""
    found: tuple[str, ...]
    """Files, relative to the home."""
    unread: tuple[str, ...]
    """Files that could not be read; nothing is said of them."""


def known_names(config: FeaturesConfig, user_id: str) -> list[str]:
    """Every name under which the user's facts are stored, the given one first: an exposure may
    name its user more than once."""
    store = OFFLINE_STORES[config.offline_store](config)
    with connect_store(store, root=config.root, as_of=None, only_touched=True) as connection:
        return names_of(connection, user_id)


def known_texts(config: FeaturesConfig, names: Sequence[str]) -> list[str]:
    """What a user of these names wrote and was answered, as far as the store still has it."""
    store = OFFLINE_STORES[config.offline_store](config)
    with connect_store(store, root=config.root, as_of=None) as connection:
        rows = connection.execute(
            "SELECT response, messages FROM stored_shown WHERE list_contains(?, user_id)", [names]
        ).fetchall()
        of_others = {
            text
            for response, messages in connection.execute(
                "SELECT response, messages FROM stored_shown WHERE NOT list_contains(?, user_id)",
                [names],
            ).fetchall()
            for text in (response, *_contents(messages))
        }
    texts = {text for response, messages in rows for text in (response, *_contents(messages))}
    return sorted(text for text in texts - of_others if len(text) >= TEXT_CHARS_MIN)


def forget_user(config: FeaturesConfig, names: Sequence[str]) -> Forgotten:
    """Remove a user of these names, whose erasure is a fact already. Again, after a crash, it ends
    the same.

    Raises Unavailable.
    """
    root = config.root.absolute()
    num_rows = OFFLINE_STORES[config.offline_store](config).erase()
    snapshots = _remove_snapshots(root / "snapshots", names)
    feast = feast_folder(root)
    if feast.is_dir():
        with lock(feast / ".push.lock"):
            open_online(root).remove_users(names)
            Tallies(tallies_path(root)).remove(names)
        with lock(feast / ".sources.lock"), lock(feast / ".apply.lock"):
            for path in (feast / "sources").iterdir():
                path.unlink()  # What is unfinished, a crash left.
            empty_sources(root)
    return Forgotten(num_rows=num_rows, snapshots=tuple(snapshots))


def _remove_snapshots(folder: Path, names: Sequence[str]) -> list[str]:
    """Remove the snapshots that hold a user, and what crashes left of some; gives their hashes."""
    removed = []
    for path in sorted(folder.glob("*/examples.parquet")):
        if path.parent.name.startswith(PARTIAL_PREFIX):
            continue
        users = pq.read_table(path, columns=["user_id"])["user_id"]
        if not set(names).isdisjoint(users.to_pylist()):
            remove_folder(path.parent)
            removed.append(path.parent.name)
    remove_partial(folder, before_s=time.time() - ERASE_PARTIAL_AGE_S)
    return removed


def search(home: Path, ids: Sequence[str], texts: Sequence[str]) -> Search:
    """Look for a user's ids and texts in every file of a home, whatever packs it.

    Columns of parquet are read, gzip is opened, every other file is searched as bytes. An id is
    looked for in quotes, in whole cells, and bare if it is long (features/offline/parquet.py).
    """
    needles = {needle for each in ids for needle in needles_of(each)}
    for text in texts:
        needles |= {text.encode(), json.dumps(text)[1:-1].encode()}
    num_files = num_bytes = 0
    found, unread = [], []
    for path in _files(home):
        name = str(path.relative_to(home))
        num_files += 1
        try:
            is_here = False
            for data in _contents_of(path):
                num_bytes += len(data)
                is_here = is_here or any(needle in data for needle in needles)
        except FileNotFoundError:
            continue
        except (OSError, pa.ArrowInvalid):
            unread.append(name)
            continue
        if is_here:
            found.append(name)
    return Search(
        num_files=num_files, num_bytes=num_bytes, found=tuple(found), unread=tuple(unread)
    )


def _files(home: Path) -> Iterator[Path]:
    for path in sorted(home.rglob("*")):
        top = path.relative_to(home).parts[0]
        if top not in NOT_SEARCHED and path.is_file():
            yield path


def _contents_of(path: Path) -> Iterator[bytes]:
    """What a file says, unpacked, in pieces; each cell of a table in quotes, as JSON has it."""
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            yield file.read()
        return
    data = path.read_bytes()
    yield data
    if path.suffix == ".parquet" or data.startswith(PARQUET):  # A crash leaves some unnamed.
        for batch in pq.ParquetFile(pa.BufferReader(data)).iter_batches():
            for column in batch.columns:
                if pa.types.is_list(column.type):
                    column = column.flatten()
                if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
                    cells = [_bytes(cell) for cell in column.to_pylist() if cell is not None]
                    yield b'"' + b'"\n"'.join(cells) + b'"'


def _bytes(cell: str | bytes) -> bytes:
    return cell if isinstance(cell, bytes) else cell.encode()


def _contents(messages: str) -> list[str]:
    return [message["content"] for message in json.loads(messages)]
