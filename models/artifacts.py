"""Models as files: a folder whose name is the hash of what is in it.

A stored folder appears all at once (copy, fsync, rename), so no reader ever sees half of one, and
is never changed afterwards: whoever loads it can check that the bytes are still those registered.
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from files.durable import sync_folder
from models.errors import CorruptArtifact
from models.names import NAME_CHARS_MAX, seen

logger = logging.getLogger(__name__)

FOLDER_HASH_CHARS = 16
"""64 bits of the hash name the folder; the whole hash is in the registry and is what is checked."""

LEFTOVER_AGE_S = 86_400.0
"""A half-made copy older than a day belongs to a process that died."""

INCOMING = ".incoming-"
REMEDY = "put it back from a backup, or promote another version"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """The stored files of one version."""

    hash: str
    """SHA-256 over names and bytes, 64 hex digits; see hash_directory."""
    path: Path
    """<home>/artifacts/<model>/<first 16 digits of the hash>."""


def hash_directory(path: Path) -> str:
    """SHA-256 over the relative names and bytes of the files in it, in the order of their names.

    The same on every machine: neither times, permissions nor empty folders count. A symbolic link
    to a file inside counts as that file. Raises ValueError for a link that leaves the folder or
    points to a folder, for anything else that is not a plain file, and where there is no file.
    """
    total = hashlib.sha256()
    num_files = 0
    for name, file in _files(path):
        encoded = name.encode("utf-8", "surrogateescape")
        total.update(len(encoded).to_bytes(8, "big"))
        total.update(encoded)
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
        num_files += 1
    if num_files == 0:
        raise ValueError(f"{path} is empty: an artifact has at least one file")
    return total.hexdigest()


def store_artifact(root: Path, model: str, source_dir: Path) -> Artifact:
    """Copy the folder into the home, durable and complete when this returns.

    The same bytes stored again, by anyone and at the same time, give the same artifact; a stored
    copy found damaged is replaced. Raises ValueError for a bad model name and as hash_directory.
    """
    shelf = root / "artifacts" / model
    incoming = new_draft(root, model)
    try:
        _copy(source_dir, incoming)
        found = hash_directory(incoming)
        final = shelf / found[:FOLDER_HASH_CHARS]
        _settle(incoming, final, found)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    for folder in (shelf, shelf.parent, root):
        sync_folder(folder)
    return Artifact(hash=found, path=final)


def new_draft(root: Path, model: str) -> Path:
    """Name a folder, not made yet, in which an artifact may be put together.

    What a killed process left of its own is removed here a day later, whoever comes. Raises
    ValueError for a bad model name.
    """
    check_model_name(model)
    shelf = root / "artifacts" / model
    shelf.mkdir(parents=True, exist_ok=True)
    _sweep(shelf)
    return shelf / f"{INCOMING}{uuid.uuid4().hex}"


def verify_artifact(path: Path, expected: str) -> Path:
    """Give the path back if its bytes have the hash. Raises CorruptArtifact."""
    if not path.is_dir():
        raise CorruptArtifact(f"the artifact {path} is gone: its folder does not exist; {REMEDY}")
    try:
        found = hash_directory(path)
    except ValueError as fault:
        raise CorruptArtifact(f"the artifact {path} was changed: {fault}; {REMEDY}") from fault
    except OSError as fault:
        raise CorruptArtifact(f"the artifact {path} cannot be read: {fault}; {REMEDY}") from fault
    if found != expected:
        raise CorruptArtifact(
            f"the artifact {path} was changed after it was registered: its bytes have the hash "
            f"{found[:FOLDER_HASH_CHARS]}…, registered was {expected[:FOLDER_HASH_CHARS]}…; "
            f"{REMEDY}"
        )
    return path


def check_model_name(name: str) -> None:
    """Raises ValueError unless the name can be a folder, a URL part and half of name@number."""
    if not NAME.fullmatch(name) or len(name) > NAME_CHARS_MAX:
        raise ValueError(
            f"a model's name is like chat or love-2, matching {NAME.pattern}, of at most "
            f"{NAME_CHARS_MAX} characters: {seen(name)}"
        )


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Names (POSIX, relative) and places of the files, ordered by name as bytes."""
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder")
    inside = path.resolve()
    found: list[tuple[str, Path]] = []
    for folder, subfolders, files in os.walk(path):
        for name in (*subfolders, *files):
            file = Path(folder, name)
            mode = file.lstat().st_mode
            if stat.S_ISLNK(mode):
                _check_link(file, inside)
            elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise ValueError(f"{file} is neither a file nor a folder")
            if not stat.S_ISDIR(mode):
                found.append((file.relative_to(path).as_posix(), file))
    return iter(sorted(found, key=lambda item: os.fsencode(item[0])))


def _check_link(link: Path, inside: Path) -> None:
    target = link.resolve()
    if not target.is_relative_to(inside):
        raise ValueError(f"{link} leads out of the artifact, to {target}: copy the file instead")
    if not target.is_file():
        raise ValueError(f"{link} leads to {target}, which is not a file")


def _copy(source: Path, target: Path) -> None:
    target.mkdir()
    folders = {target}
    for name, file in _files(source):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        folders.update(parent for parent in copy.parents if parent.is_relative_to(target))
        shutil.copyfile(file, copy)
        sync_folder(copy)
    for folder in folders:
        sync_folder(folder)


def _settle(incoming: Path, final: Path, expected: str) -> None:
    """Give the finished copy its name, unless a sound one has it already."""
    while True:
        try:
            os.rename(incoming, final)
            return
        except OSError:
            if not final.is_dir():
                raise
        try:
            verify_artifact(final, expected)
            return
        except CorruptArtifact as fault:
            logger.warning("artifact replaced", extra={"path": str(final), "reason": str(fault)})
        with contextlib.suppress(FileNotFoundError):  # Another process may replace it as well.
            os.rename(final, final.with_name(f"{INCOMING}damaged-{uuid.uuid4().hex}"))


def _sweep(shelf: Path) -> None:
    for left in shelf.glob(f"{INCOMING}*"):
        try:
            age_s = time.time() - left.stat().st_mtime
        except FileNotFoundError:
            continue  # Its owner finished between the listing and the look.
        if age_s > LEFTOVER_AGE_S:
            shutil.rmtree(left, ignore_errors=True)
