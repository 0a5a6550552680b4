"""The record of what was learned: versions, aliases, arms, runs, verdicts, snapshots, lineage.

Every method is one transaction; `atomic` makes several of them one. Each idea has its own file
(versions.py, aliases.py, ...): this one opens the transaction and turns rows into values.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from models import aliases, leases, lineage, runs, snapshots, verdict_rows, versions
from models import arms as arm_sets
from models.aliases import AliasMove
from models.arms import Arm, ArmSet
from models.artifacts import Artifact, verify_artifact
from models.database import Database
from models.errors import Unavailable
from models.leases import Held, Lease
from models.runs import Run, RunStatus, RunStep, StepStatus
from models.snapshots import SnapshotRow
from models.tables import SnapshotRecord
from models.verdict_rows import VerdictRow
from models.verdicts import Verdict
from models.versions import NewVersion, Version

logger = logging.getLogger(__name__)

LEASE_TTL = timedelta(seconds=60)
"""Long against a pause of the process or the database, short against waiting after a crash."""


class Registry:
    """The registry in one database. Threads may share it; a forked process needs its own.

    Every method raises SchemaMismatch where the database was not migrated, and Unavailable where it
    does not answer.
    """

    def __init__(
        self,
        url: str,
        *,
        root: Path | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Open no connection yet.

        `root` is the home that stored paths are relative to; by default the folder of the SQLite
        file. `clock` replaces the database's and this machine's clock in tests. Raises ValueError
        for a URL that is neither a SQLite file nor PostgreSQL, or for PostgreSQL without a root.
        """
        self._database = Database(url)
        file = self._database.file
        if root is None and file is None:
            raise ValueError("a registry in PostgreSQL needs `root`, the home of its artifacts")
        self.root = (root or Path(file or "").parent).absolute()
        self._clock = clock

    @property
    def engine(self) -> Engine:
        """The database's connections, for readers that need no transaction of ours."""
        return self._database.engine

    def check_schema(self) -> None:
        """Raises SchemaMismatch, saying what to run, unless the database is at our schema."""
        self._database.check_schema()

    def close(self) -> None:
        """Close the pooled connections."""
        self._database.close()

    @contextmanager
    def atomic(self, name: str | None = None) -> Iterator[None]:
        """Make every call of this thread in the block one transaction: all of it or nothing.

        With the name of a model, nobody else changes what is live of it meanwhile: what is read in
        the block still holds when it is written. Raises NotFound for an unknown model.
        """
        with self._database.write() as session:
            if name is not None:
                versions.find_model(session, name, lock=True)
            yield

    def now(self) -> datetime:
        """The time that rows written now would bear."""
        with self._database.read() as session:
            return self._now(session)

    # Versions and what they came from

    def register(
        self,
        name: str,
        *,
        artifact: Artifact,
        kind: str,
        config_hash: str,
        snapshot_hash: str | None,
        parents: Sequence[tuple[str, int]] = (),
        recipe: str = "",
        run_id: str | None = None,
        measures: Mapping[str, object] | None = None,
    ) -> Version:
        """Give the version with this artifact, config and snapshot, making it where it is missing.

        A version found again is given as it was first registered. Raises Conflict where the name
        belongs to the other kind, NotFound for an unknown parent or run, ValueError for an artifact
        outside the home.
        """
        new = NewVersion(
            kind=kind,
            artifact_hash=artifact.hash,
            artifact_path=self._relative(artifact.path),
            config_hash=config_hash,
            snapshot_hash=snapshot_hash,
            parents=parents,
            recipe=recipe,
            run_id=run_id,
            measures=measures or {},
        )
        with self._database.write() as session:
            record = versions.add_version(session, name, new, self._now(session))
            return versions.to_versions(session, [record], self.root)[0]

    def version(self, name: str, ref: int | str) -> Version:
        """Give a version by number or alias. Raises NotFound naming what exists."""
        with self._database.read() as session:
            record = versions.find_version(session, name, ref)
            return versions.to_versions(session, [record], self.root)[0]

    def versions(self, name: str | None = None) -> list[Version]:
        """All versions, or one model's, by name and number; none for a name never registered."""
        with self._database.read() as session:
            records = versions.list_versions(session, name)
            return versions.to_versions(session, records, self.root)

    def open_artifact(self, version: Version) -> Path:
        """The folder of the version's files, checked. Raises CorruptArtifact."""
        return verify_artifact(version.artifact_path, version.artifact_hash)

    def lineage(self, name: str, number: int) -> dict[str, object]:
        """Everything that a version came from, as a tree for JSON; see models/lineage.py."""
        with self._database.read() as session:
            return lineage.trace(session, name, number)

    def record_snapshot(
        self,
        hash: str,
        *,
        signal: str,
        as_of: datetime,
        num_rows: int,
        num_positives: int,
        path: Path,
    ) -> SnapshotRow:
        """Note a snapshot; noted before, it is given as it was.

        Raises Conflict where other counts were noted, ValueError for a path outside the home.
        """
        relative = self._relative(path)
        with self._database.write() as session:
            new = SnapshotRecord(
                hash=hash,
                signal=signal,
                as_of=as_of,
                num_rows=num_rows,
                num_positives=num_positives,
                path=relative,
                recorded_at=self._now(session),
            )
            return snapshots.to_snapshot(snapshots.add_snapshot(session, new), self.root)

    # Aliases and arms: what is live

    def move_alias(
        self,
        name: str,
        alias: str,
        number: int | None,
        *,
        expected: int | None,
        why: str,
        who: str,
    ) -> AliasMove:
        """Point an alias to a version, or with None take it away, if it is where `expected` says.

        Raises Conflict where it is elsewhere, NotFound for an unknown model or version, ValueError
        for an empty reason or author, or where `number` is `expected`: that is no move.
        """
        with self._database.write() as session:
            return aliases.move(
                session,
                name,
                alias,
                number=number,
                expected=expected,
                why=why,
                who=who,
                now=self._now(session),
            )

    def alias(self, name: str, alias: str) -> int | None:
        """Where an alias points; None where it does not, or the model is not there yet."""
        return self.aliases(name).get(alias)

    def aliases(self, name: str) -> dict[str, int]:
        """Where each alias of the model points."""
        with self._database.read() as session:
            return aliases.places(session, name)

    def history(self, name: str | None = None, *, at: datetime | None = None) -> list[AliasMove]:
        """All alias moves, oldest first; with `at`, for each alias the move that held then."""
        with self._database.read() as session:
            return aliases.history(session, name, at)

    def set_arms(
        self, name: str, arms: Sequence[Arm], *, experiment: str, why: str, who: str
    ) -> ArmSet:
        """Divide the users over versions. Raises NotFound, or ValueError for bad shares."""
        with self._database.write() as session:
            now = self._now(session)
            return arm_sets.set_arms(
                session, name, arms, experiment=experiment, why=why, who=who, now=now
            )

    def arms(self, name: str) -> ArmSet:
        """What live users get; revision 0 without arms where none were set yet."""
        with self._database.read() as session:
            return arm_sets.live(session, name)

    def arm_history(self, name: str) -> list[ArmSet]:
        """Every division of the users that there was, oldest first."""
        with self._database.read() as session:
            return arm_sets.history(session, name)

    # Verdicts

    def record_verdict(
        self, name: str, number: int, verdict: Verdict, *, run_id: str | None = None
    ) -> VerdictRow:
        """Store what a gate decided. Raises NotFound."""
        with self._database.write() as session:
            return verdict_rows.add_verdict(
                session, name, number, verdict, run_id=run_id, now=self._now(session)
            )

    def verdicts(
        self, name: str | None = None, number: int | None = None, limit: int | None = None
    ) -> list[VerdictRow]:
        """Verdicts in the order in which they were given; with a limit, the last ones."""
        with self._database.read() as session:
            return verdict_rows.list_verdicts(session, name, number, limit)

    # Runs

    def start_run(self, kind: str, key: str, settings: Mapping[str, object]) -> Run:
        """Give the run of this kind and key, new or with the steps it has behind it.

        A failed or abandoned run starts again, a done one is given back done. Raises Conflict
        where it was started with other settings.
        """
        with self._database.write() as session:
            return runs.start(session, kind, key, settings, self._now(session))

    def record_step(
        self, run_id: str, step: str, status: StepStatus, result: Mapping[str, object]
    ) -> RunStep:
        """Note where a step stands. Raises NotFound."""
        with self._database.write() as session:
            return runs.record_step(session, run_id, step, status, result, self._now(session))

    def finish_run(
        self, run_id: str, status: RunStatus, result: Mapping[str, object] | None = None
    ) -> Run:
        """Note how a run ended: "done", "failed" or "abandoned". Raises NotFound."""
        with self._database.write() as session:
            return runs.finish(session, run_id, status, result or {}, self._now(session))

    def run(self, run_id: str) -> Run:
        """Raises NotFound."""
        with self._database.read() as session:
            return runs.to_run(session, runs.find_run(session, run_id))

    def runs(
        self,
        kind: str | None = None,
        status: RunStatus | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        """Runs in the order in which they started; with a limit, the last ones."""
        with self._database.read() as session:
            return runs.list_runs(session, kind, status, limit)

    # Leases

    @contextmanager
    def lease(self, name: str, *, holder: str, ttl: timedelta = LEASE_TTL) -> Iterator[Held]:
        """Hold a right that only one may have, on any machine, for as long as the block runs.

        A killed holder's lease ends by itself after `ttl`. Raises Conflict, saying who, where
        somebody holds it. `Held.check()` in the block raises Conflict once it was lost.
        """
        with self._database.write() as session:
            lease = leases.acquire(session, name, holder, ttl, self._now(session))
        try:
            with leases.keep(lease, ttl, lambda last: self._renew(last, ttl)) as held:
                yield held
        finally:
            self._release(lease)

    def find_lease(self, name: str) -> Lease | None:
        """A lease as it is, held or not; None where it was never taken."""
        with self._database.read() as session:
            return leases.find(session, name)

    def break_lease(self, lease: Lease) -> None:
        """Give back a lease whose holder is known to be dead, so that nobody waits for its end."""
        with self._database.write() as session:
            leases.release(session, lease)

    def _renew(self, lease: Lease, ttl: timedelta) -> Lease | None:
        with self._database.write() as session:
            return leases.renew(session, lease, ttl, self._now(session))

    def _release(self, lease: Lease) -> None:
        try:
            with self._database.write() as session:
                leases.release(session, lease)
        except Unavailable as fault:  # It ends by itself; the work's own fault must be seen.
            logger.warning("lease not released", extra={"lease": lease.name, "why": str(fault)})

    def _now(self, session: Session) -> datetime:
        return self._database.now(session) if self._clock is None else self._clock()

    def _relative(self, path: Path) -> str:
        absolute = path if path.is_absolute() else self.root / path
        if not absolute.is_relative_to(self.root):
            raise ValueError(f"{path} lies outside the home {self.root}: it could not move with it")
        return absolute.relative_to(self.root).as_posix()
