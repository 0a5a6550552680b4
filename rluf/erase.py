"""`rluf erase USER`: forget a user everywhere, and prove it.

The erasure travels through the log like any other event; once it is a fact, files are written anew
without the user, and every file of the home is searched for what is left. The report is kept under
`erasures/`, by a hash of the id. Run again after a crash, it ends the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.erasing import forget_user, known_names, known_texts, search
from features.views import connect
from files.durable import PARTIAL_PREFIX, write_durably
from models.registry import Registry
from models.versions import Version
from rluf.settings import Settings, plain
from streams.errors import Unavailable
from streams.events import Erasure, new_id
from streams.kafka.producer import Producer

logger = logging.getLogger(__name__)

FACT_WAIT_S = 60.0
"""How long the worker may take to make the erasure a fact."""
POLL_S = 0.2
SOURCE = "/operator"
EXPECTED = "store/erasures/"
"""Where the id has to stay: the erasure itself, which hides what comes late."""
NOT_COVERED = (
    "Kafka's own log, until its retention deletes the records",
    "backups, and other copies of this home",
    "the weights of versions that learned from the user: see versions_that_learned",
    "the registry's database, which holds no user ids or texts of its own",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureReport:
    """What was done, and what was found afterwards."""

    subject: str
    """The first 16 digits of the SHA-256 of the user's id."""
    erased_at: str
    who: str
    why: str
    rows_removed: int
    snapshots_removed: tuple[str, ...]
    """Hashes. Also those that earlier reports on the same user name."""
    steps_removed: tuple[str, ...]
    """Folders of finished steps that held the user's texts; they are made again when needed."""
    versions_that_learned: tuple[str, ...]
    """Versions made from one of these snapshots, and what was made of them."""
    versions_live: tuple[str, ...]
    """Those of them that an alias points to now."""
    files_searched: int
    bytes_searched: int
    still_found: tuple[str, ...]
    """Files that still name the user or hold their texts: must be empty."""
    unread: tuple[str, ...]
    """Files that could not be searched."""
    named_by_the_erasure: bool
    """Whether the erasure itself still names the id, as it must."""
    not_covered: tuple[str, ...] = NOT_COVERED

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left."""
        return not self.still_found and not self.unread

    def summary(self) -> str:
        """Give the lines a person reads."""
        left = ", ".join((*self.still_found, *self.unread)) or "nothing"
        learned = ", ".join(self.versions_that_learned) or "none"
        live = f" (live: {', '.join(self.versions_live)})" if self.versions_live else ""
        return "\n".join(
            (
                f"user {self.subject} (hash of the id): {self.rows_removed:,} rows and"
                f" {len(self.snapshots_removed)} snapshots removed",
                f"searched {self.files_searched:,} files, {self.bytes_searched:,} bytes;"
                f" left: {left}",
                f"versions that learned from the user: {learned}{live}",
                f"the erasure itself names the id in {EXPECTED}, to hide what is late",
                f"not covered: {'; '.join(self.not_covered)}",
            )
        )


def erase_user(
    settings: Settings, registry: Registry, user_id: str, *, given: str = "", who: str, why: str
) -> ErasureReport:
    """Send the erasure, wait until it is a fact, remove, search, report.

    `user_id` is as stored. `given` is the client's own id, which nothing may name either; empty:
    the same. `settings` name the brokers. Raises BadEvent for an id that cannot be one, and
    Unavailable.
    """
    for name in known_names(settings.features, user_id):
        _send(settings, name)
    return erase_facts(settings, registry, user_id, given=given, who=who, why=why)


def erase_facts(
    settings: Settings, registry: Registry, user_id: str, *, given: str = "", who: str, why: str
) -> ErasureReport:
    """The same for an erasure that is a fact already."""
    home = settings.home
    names = known_names(settings.features, user_id)
    ids = [*names, given or user_id]
    subject = hashlib.sha256(user_id.encode()).hexdigest()[:16]
    place = home / "erasures" / f"{subject}.json"
    earlier, caveats = _earlier(place)
    begun = place.with_suffix(".begun")
    doomed = {*earlier.snapshots_removed, *_snapshots_with(home, names)}
    write_durably(begun, msgspec.json.encode(Earlier(snapshots_removed=tuple(sorted(doomed)))))
    texts = known_texts(settings.features, names)
    forgotten = forget_user(settings.features, names)
    steps = _remove_steps(home, ids, texts)
    snapshots = sorted({*forgotten.snapshots, *doomed})
    learned = _learned(registry.versions(), set(snapshots))
    live = {
        f"{name}@{number}"
        for name in {version.name for version in learned}
        for number in registry.aliases(name).values()
    }
    left = search(home, ids, texts)
    report = ErasureReport(
        subject=subject,
        erased_at=datetime.now(UTC).isoformat(timespec="seconds"),
        who=who,
        why=why,
        rows_removed=forgotten.num_rows + earlier.rows_removed,
        snapshots_removed=tuple(snapshots),
        steps_removed=tuple(steps),
        versions_that_learned=tuple(version.ref for version in learned),
        versions_live=tuple(version.ref for version in learned if version.ref in live),
        files_searched=left.num_files,
        bytes_searched=left.num_bytes,
        still_found=tuple(path for path in left.found if not path.startswith(EXPECTED)),
        unread=left.unread,
        named_by_the_erasure=any(path.startswith(EXPECTED) for path in left.found),
        not_covered=(*NOT_COVERED, *caveats),
    )
    write_durably(place, (json.dumps(plain(report), indent=1) + "\n").encode())
    begun.unlink()
    return report


class Earlier(msgspec.Struct, frozen=True):
    """What is added up from what earlier runs for the same user noted."""

    rows_removed: int = 0
    snapshots_removed: tuple[str, ...] = ()


def _earlier(place: Path) -> tuple[Earlier, list[str]]:
    """Give what earlier runs removed, and what this report has to say of them.

    A run notes the snapshots before it removes them: killed on the way, it would leave nothing that
    says which versions learned from the user. What is damaged is put aside: nobody's erasure fails
    for want of it. Raises OSError where it cannot be.
    """
    caveats = []
    rows_removed, snapshots = 0, set[str]()
    for path in (place, place.with_suffix(".begun")):
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Earlier)
        except FileNotFoundError:
            continue
        except (OSError, msgspec.DecodeError) as fault:
            aside = path.with_name(f"{path.name}.damaged-{new_id()}")
            path.replace(aside)
            logger.warning("earlier report damaged", extra={"path": str(aside), "why": str(fault)})
            caveats.append(
                "versions that learned from snapshots which only an earlier report on this user"
                f" named: it is damaged and now lies at {aside}"
            )
            continue
        rows_removed += found.rows_removed
        snapshots |= set(found.snapshots_removed)
        if path != place:
            caveats.append(
                "what an earlier run removed before it was cut short: those rows are not counted,"
                " and their texts were not searched for"
            )
    return Earlier(rows_removed, tuple(sorted(snapshots))), caveats


def _snapshots_with(home: Path, names: list[str]) -> Iterator[str]:
    """Give the hashes of the snapshots that hold a user, and of those that cannot be read."""
    for path in (home / "snapshots").glob("*/examples.parquet"):
        if path.parent.name.startswith(PARTIAL_PREFIX):
            continue
        try:
            users = pq.read_table(path, columns=["user_id"])["user_id"]
        except (pa.ArrowInvalid, OSError) as fault:
            logger.warning("snapshot unreadable", extra={"path": str(path), "why": str(fault)})
            yield path.parent.name
            continue
        if pc.any(pc.is_in(users, pa.array(names))).as_py():
            yield path.parent.name


def _send(settings: Settings, user_id: str) -> None:
    """Have the erasure in the log, and wait until the worker made it a fact."""
    now = datetime.now(UTC)
    event = Erasure(id=new_id(), source=SOURCE, user_id=user_id, occurred_at=now, known_at=now)
    with Producer(settings.streams) as producer:
        producer.send(event).result(settings.streams.send_timeout_s)
    deadline = time.monotonic() + FACT_WAIT_S
    while True:
        with connect(settings.home) as connection:
            if connection.execute("SELECT 1 FROM erasures WHERE id = ?", [event.id]).fetchall():
                return
        if time.monotonic() > deadline:
            raise Unavailable(
                f"the erasure is in the log, but no worker stored it within {FACT_WAIT_S:.0f} s;"
                " start one and run this again"
            )
        time.sleep(POLL_S)


def _remove_steps(home: Path, ids: list[str], texts: list[str]) -> list[str]:
    """Remove the folders of turns' steps that hold the user; a turn makes them again."""
    removed = []
    for folder in sorted((home / "turns" / "steps").glob("*")):
        if folder.is_dir() and search(folder, ids, texts).found:
            shutil.rmtree(folder)
            removed.append(folder.name)
    return removed


def _learned(versions: list[Version], snapshots: set[str]) -> list[Version]:
    """Versions made from these snapshots, and everything made from those."""
    learned = {(v.name, v.number) for v in versions if v.snapshot_hash in snapshots}
    while True:
        more = {
            (v.name, v.number)
            for v in versions
            if (v.name, v.number) not in learned and learned.intersection(v.parents)
        }
        if not more:
            return [v for v in versions if (v.name, v.number) in learned]
        learned |= more
