"""Kills a process at the n-th operation that changes what is on disk, for any n.

Before the work begins, the functions through which Python code changes files are replaced by ones
that count and, at the chosen number, end the process by SIGKILL: at every open that makes a file,
write, sync, close, rename, deletion, folder, lock, and statement or commit of SQLite, under one
folder. A write counts twice: nothing of it was done, and half of its bytes were. A file that
another engine wrote (DuckDB's COPY) is cut in half before it is renamed.

What only reads is no point of its own: a crash there leaves what a crash at the next change leaves.
"""

import builtins
import fcntl
import importlib
import io
import multiprocessing
import os
import pickle
import signal
import sqlite3
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow.parquet as pq

from tests.features.crash_power import PowerCut

KILLED = -signal.SIGKILL
MUTE = ("flock", "fsync", "close")
"""These change no byte: the disk is as it was at the point before, but for locks and power cuts."""
WRITE_BYTES = 4096
_MAKES = os.O_CREAT | os.O_TRUNC


class Points:
    """The operations that were reached under a folder, and the one at which to die."""

    def __init__(self, root: Path, die_at: int | None, *, power: PowerCut | None = None) -> None:
        """With `power`, what is not synced when it dies may be lost."""
        self.labels: list[str] = []
        self._root = f"{root}/"
        self._die_at = die_at
        self._power = power
        self._open: dict[int, str] = {}
        """Paths by descriptor."""
        self._written: set[str] = set()

    def reach(self, label: str, tear: Callable[[], object] | None = None) -> None:
        """Count an operation that is about to happen; where it is the last, `tear` and die."""
        self.labels.append(label)
        if len(self.labels) - 1 == self._die_at:
            if tear is not None:
                tear()
            power, self._power = self._power, None
            if power is not None:
                power.cut(self._die_at)
            os.kill(os.getpid(), signal.SIGKILL)

    def path(self, path: object, dir_fd: int | None = None) -> str | None:
        """The path of a name or descriptor; None if it is outside of the folder."""
        if isinstance(path, int):
            return self._open.get(path)
        text = os.fspath(path)
        if dir_fd is not None:
            return f"{self._open[dir_fd]}/{text}" if dir_fd in self._open else None
        is_inside = isinstance(text, str) and f"{text}/".startswith(self._root)
        return text if is_inside else None

    def reach_call(self, call: str, path: str) -> None:
        """Count a call of a function on a path."""
        names = f"{path}/".removeprefix(self._root).rstrip("/").split("/")
        self.reach(f"{call} {'/'.join(map(_without_id, names))}")

    def install(self) -> None:
        """Replace the functions, in this process for good."""
        self._install_descriptors()
        for name in ("mkdir", "rmdir", "unlink", "remove", "truncate", "utime"):
            self._count(os, name)
        for name in ("replace", "rename", "link", "symlink"):
            self._count_pair(os, name)
        self._install_files()
        self._install_sqlite()

    def _count(self, module: object, name: str) -> None:
        """Count calls of a function of one path or descriptor."""
        real = getattr(module, name)

        def counted(path, *more, **named):
            place = self.path(path, named.get("dir_fd"))
            if place is not None:
                self.reach_call(name, place)
                if self._power is not None:
                    self._power.before(name, place)
            return real(path, *more, **named)

        setattr(module, name, counted)

    def _count_pair(self, module: object, name: str) -> None:
        real, truncate = getattr(module, name), os.truncate

        def counted(source, target, **named):
            place = self.path(target, named.get("dst_dir_fd"))
            if place is not None:
                path = os.fspath(source)
                self.reach_call(name, place)
                if os.path.isfile(path) and path not in self._written:
                    half = os.path.getsize(path) // 2
                    self.reach(f"half is written, {self.labels[-1]}", lambda: truncate(path, half))
                if self._power is not None:
                    self._power.before_rename(path, place)
            return real(source, target, **named)

        setattr(module, name, counted)

    def _install_descriptors(self) -> None:
        real_open, real_write, real_close = os.open, os.write, os.close

        def opened(path, flags, mode=0o777, *, dir_fd=None):
            place = self.path(path, dir_fd)
            if place is not None and flags & _MAKES:
                self._reach_open(place)
            descriptor = real_open(path, flags, mode, dir_fd=dir_fd)
            if place is not None:
                self._open[descriptor] = place
            return descriptor

        def written(descriptor, data):
            place = self._open.get(descriptor)
            if place is not None:
                self._reach_write(place, data, lambda half: real_write(descriptor, half))
            return real_write(descriptor, data)

        def closed(descriptor):
            place = self._open.pop(descriptor, None)
            if place is not None:
                self.reach_call("close", place)
            return real_close(descriptor)

        os.open, os.write, os.close = opened, written, closed
        for module, name in ((os, "fsync"), (os, "ftruncate"), (fcntl, "flock")):
            self._count(module, name)

    def _reach_open(self, path: str) -> None:
        self.reach_call("open", path)
        self._written.add(path)
        if self._power is not None:
            self._power.before_open(path)

    def _reach_write(self, path: str, data: object, write: Callable[[object], object]) -> None:
        view = memoryview(data).cast("B")
        self.reach_call("write", path)
        if len(view) > 1:
            self.reach(f"half of a {self.labels[-1]}", lambda: write(view[: len(view) // 2]))

    def _install_files(self) -> None:
        points, real_open = self, io.open

        class File(io.FileIO):
            """A file whose every write reaches a point."""

            def __init__(self, path, mode):
                super().__init__(path, mode)
                points._open[self.fileno()] = path

            def write(self, data):
                points._reach_write(self.name, data, super().write)
                return super().write(data)

            def truncate(self, size=None):
                points.reach_call("truncate", self.name)
                return super().truncate(size)

            def close(self):
                if not self.closed:
                    points.reach_call("close", self.name)
                    del points._open[self.fileno()]
                super().close()

        def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **more):
            place = None if isinstance(file, int) else self.path(file)
            if place is None or not set(mode) & set("wax+"):
                return real_open(file, mode, buffering, encoding, errors, newline, **more)
            self._reach_open(place)
            raw = File(place, mode.replace("b", "").replace("t", ""))
            if buffering == 0:
                return raw
            size = io.DEFAULT_BUFFER_SIZE if buffering < 2 else buffering
            buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw, size)
            return (
                buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)
            )

        class ParquetWriter(pq.ParquetWriter):
            """Writes through such a file, and in larger pieces than Arrow does."""

            def __init__(self, where, schema, **options):
                self.opened = opened(where, "wb", WRITE_BYTES)
                super().__init__(self.opened, schema, **options)

            def close(self):
                super().close()
                self.opened.close()

        io.open = builtins.open = opened
        pq.ParquetWriter = ParquetWriter

    def _reach_statement(self, sql: str) -> None:
        """Count it, unless it repeats the one before: nobody sees how far a transaction came."""
        label = f"sql {' '.join(sql.split())[:60]}"
        if label != self.labels[-1] and not label.upper().startswith("SQL SELECT"):
            self.reach(label)

    def _install_sqlite(self) -> None:
        points, connect = self, sqlite3.connect

        class Statements:
            """Reaches a point before every statement that is no question."""

            def execute(self, sql, *values):
                points._reach_statement(sql)
                return super().execute(sql, *values)

            def executemany(self, sql, rows):
                points._reach_statement(sql)
                return super().executemany(sql, rows)

        class Cursor(Statements, sqlite3.Cursor):
            """The same of a cursor."""

        class Database(Statements, sqlite3.Connection):
            """The same of a database, and before every commit."""

            def cursor(self, factory=Cursor):
                return super().cursor(factory)

            def commit(self):
                points.reach("sql commit")
                super().commit()

            def __exit__(self, *fault):
                points.reach("sql commit")
                return super().__exit__(*fault)

            def close(self):
                points.reach("sql close")
                super().close()

        def connected(path, *values, **named):
            if self.path(path) is None:
                return connect(path, *values, **named)
            return connect(path, *values, **{"factory": Database} | named)

        sqlite3.connect = connected


def _without_id(name: str) -> str:
    """A name without the part that differs from run to run: an id, or a time."""
    if name.endswith(".ids"):
        return "*.ids"
    if not name.startswith(("part-", ".partial-")):
        return name
    start, _, rest = name.partition("-")
    _, dot, end = rest.partition(".")
    return f"{start}-*{dot}{end}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a process ended."""

    exit_code: int
    labels: Sequence[str] = ()
    """The points that it reached; none of a process that was killed."""
    told: object = None
    """What the work gave."""
    fault: str = ""
    """The traceback of what it raised."""


Work = Callable[[Path, Points], object]
"""Is given the folder in which operations count, and the points, to add its own."""


class Nursery:
    """A clean process that has imported everything and started nothing; it forks a child a time.

    Close it at the end. May be used by one thread at a time.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_nurse, args=(theirs, modules), daemon=True)
        self._process.start()
        theirs.close()

    def run(
        self, work: Work, root: Path, *, die_at: int | None = None, is_power_cut: bool = False
    ) -> Outcome:
        """Do the work in a child of its own, which dies at the point of that number."""
        spare = root.parent / "unsafe" / str(die_at)
        self._pipe.send((work, root, die_at, PowerCut(spare) if is_power_cut else None))
        outcome = self._pipe.recv()
        assert isinstance(outcome, Outcome)
        return outcome

    def close(self) -> None:
        """End it."""
        self._pipe.close()
        self._process.join()


def _nurse(pipe: Connection, modules: Sequence[str]) -> None:
    """Fork a child for every request, until the other end is closed."""
    for name in modules:
        importlib.import_module(name)
    while True:
        try:
            work, root, die_at, power = pipe.recv()
        except EOFError:
            return
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            os._exit(_live(writing, work, Points(root, die_at, power=power), root))
        os.close(writing)
        with open(reading, "rb") as file:
            answer = file.read()
        _, status = os.waitpid(child, 0)
        labels, told, fault = pickle.loads(answer) if answer else ((), None, "")
        exit_code = os.waitstatus_to_exitcode(status)
        pipe.send(Outcome(exit_code=exit_code, labels=labels, told=told, fault=fault))


def _live(writing: int, work: Work, points: Points, root: Path) -> int:
    """The life of a child; gives its exit code."""
    points.install()
    try:
        told, fault = work(root, points), ""
    except BaseException:
        told, fault = None, traceback.format_exc()
    with open(writing, "wb") as file:
        file.write(pickle.dumps((points.labels, told, fault)))
    return 1 if fault else 0
