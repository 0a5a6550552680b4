"""Who a broker's log is: Kafka's meta.properties, checked before every start, and our copy of it.

Kafka writes the ids of cluster and folder once, when the folder is formatted, and nothing can make
them again. The partitions of a log that is given new ids have no leader any more: nothing can be
read or written, also not once the old ids are back (seen with Kafka 4.4). So a log is never
formatted a second time: what is lost or damaged is put back from the copy, and without one the
start is refused.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from files.durable import write_durably
from streams.errors import CannotStart

logger = logging.getLogger(__name__)

NAME = "meta.properties"
KEYS = ("version", "cluster.id", "node.id", "directory.id")
VERSION = "1"
"""Of the file, as Kafka 3.7 to 4.4 write it."""


def is_formatted(home: Path, on_progress: Callable[[str], None]) -> bool:
    """Whether the log of this home has its ids, put back from our copy where they were damaged.

    False where there is no log yet. Raises CannotStart where a log has lost them for good, OSError
    where they cannot be put back.
    """
    place, copy = home / "data" / NAME, home / NAME
    fault = _fault_of(place)
    if not fault:
        return True
    if not _holds_records(home / "data"):
        _clear(place, home)  # A first start that was cut short: nothing bears these ids.
        return False
    if fault_of_copy := _fault_of(copy):
        raise CannotStart(
            f"{place}, which says whose log {home / 'data'} is, {fault}, and its copy {copy}"
            f" {fault_of_copy}. Put either back from a backup: with other ids Kafka could never"
            " read this log again. What the workers have stored is safe; to give up the rest, move"
            f" {home / 'data'} away, and an empty log is begun."
        )
    on_progress(f"{place} {fault}: put back from {copy}")
    logger.warning("identity put back", extra={"path": str(place), "fault": fault})
    _clear(place, home)
    write_durably(place, copy.read_bytes())
    return True


def keep_identity(home: Path) -> None:
    """Copy the ids of this home's log beside it, where the copy is not the same already.

    Raises OSError.
    """
    content, copy = (home / "data" / NAME).read_bytes(), home / NAME
    if _fault_of(copy) or copy.read_bytes() != content:
        _clear(copy, home)
        write_durably(copy, content)


def _fault_of(path: Path) -> str:
    """Say what is wrong with one of the two files, as the rest of a sentence; empty: it is sound.

    Raises CannotStart for a file of a later Kafka, which is sound but not ours to read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not content.strip(b"\0"):
        return f"holds {len(content)} zero bytes" if content else "is empty"
    lines = content.decode("latin-1").splitlines()  # As java.util.Properties is stored.
    found = dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
    missing = [key for key in KEYS if not found.get(key)]
    if missing or not content.endswith(b"\n"):
        return f"is cut short: it lacks {', '.join(missing) or 'its end'}"
    if found["version"] != VERSION:
        raise CannotStart(
            f"{path} is of a later version of Kafka (it says version={found['version']}, we know"
            f" {VERSION}). Use the rluf that wrote it, or a later one."
        )
    return ""


def _holds_records(data: Path) -> bool:
    """Whether a log under this folder has any bytes."""
    return any(log.stat().st_size for log in data.glob("*/*.log"))


def _clear(path: Path, home: Path) -> None:
    """Put what bears this name out of the way, beside the log: Kafka stumbles over odd folders."""
    if path.exists():
        path.replace(home / f"{NAME}.damaged-{time.time_ns()}")
