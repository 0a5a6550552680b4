"""Goal: a stored model is whole, found by what is in it, and known to be changed if it was.

Method: folders with every kind of content, storers that race and die, bytes changed afterwards.
"""

import os
import shutil
import time
from pathlib import Path

import pytest

from models import artifacts
from models.artifacts import hash_directory, store_artifact, verify_artifact
from models.errors import CorruptArtifact
from tests.models.crowd import Crowd
from tests.models.hammer import store_at_once


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "trained model"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(bytes(range(256)) * 100)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer" / "vocabulary ❤.txt").write_text("a\nb")
    return folder


def test_what_is_stored_is_what_was_given(source: Path, home: Path) -> None:
    stored = store_artifact(home, "chat", source)
    assert stored.hash == hash_directory(source) == hash_directory(stored.path)
    assert stored.path == home / "artifacts" / "chat" / stored.hash[:16]
    assert verify_artifact(stored.path, stored.hash) == stored.path
    assert _contents(stored.path) == _contents(source)
    assert sorted(path.name for path in stored.path.parent.iterdir()) == [stored.hash[:16]]


def test_the_hash_does_not_change_from_one_release_to_the_next(source: Path) -> None:
    """A changed hash would make every registered artifact look damaged."""
    assert hash_directory(source) == (
        "d2dc037d41bf6dff92e5c538044fbadd51929c85752d7a0a3e09daa05a4d3eaa"
    )


def test_the_hash_depends_on_names_and_bytes_and_nothing_else(source: Path, tmp_path: Path) -> None:
    first = hash_directory(source)
    copy = shutil.copytree(source, tmp_path / "copy")
    (copy / "empty folder").mkdir()
    (copy / "config.json").chmod(0o600)
    os.utime(copy / "config.json", (0, 0))
    assert hash_directory(copy) == first
    (copy / "config.json").rename(copy / "config2.json")
    renamed = hash_directory(copy)
    (copy / "config2.json").write_text("[]")
    assert len({first, renamed, hash_directory(copy)}) == 3


def test_bytes_moved_between_name_and_content_change_the_hash(tmp_path: Path) -> None:
    for folder, files in {"one": {"ab": "c"}, "two": {"a": "bc"}, "three": {"a/b": "c"}}.items():
        for name, content in files.items():
            file = tmp_path / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
    assert len({hash_directory(tmp_path / name) for name in ("one", "two", "three")}) == 3


def test_storing_again_is_storing_once(source: Path, home: Path) -> None:
    first = store_artifact(home, "chat", source)
    before = first.path.stat().st_ino
    assert store_artifact(home, "chat", source) == first
    assert first.path.stat().st_ino == before


def test_processes_that_store_the_same_at_once_agree(
    source: Path, home: Path, crowd: Crowd
) -> None:
    found = crowd.run(store_at_once, lambda _: (home, source))
    assert len(set(found)) == 1
    assert [path.name for path in (home / "artifacts" / "chat").iterdir()] == [found[0][:16]]


@pytest.mark.parametrize("damage", ["changed", "cut", "added", "removed", "link", "gone"])
def test_a_damaged_artifact_is_refused_and_healed_by_storing_again(
    source: Path, home: Path, damage: str
) -> None:
    stored = store_artifact(home, "chat", source)
    weights = stored.path / "weights.safetensors"
    if damage == "changed":
        weights.write_bytes(b"\x01" + weights.read_bytes()[1:])
    elif damage == "cut":
        os.truncate(weights, 100)
    elif damage == "added":
        (stored.path / "extra").touch()
    elif damage == "removed":
        weights.unlink()
    elif damage == "link":
        weights.unlink()
        weights.symlink_to("/etc/hostname")
    else:
        shutil.rmtree(stored.path)
    with pytest.raises(CorruptArtifact, match=stored.hash[:16]):
        verify_artifact(stored.path, stored.hash)
    assert store_artifact(home, "chat", source) == stored
    assert verify_artifact(stored.path, stored.hash) == stored.path


def test_a_copy_cut_short_leaves_nothing_under_a_name(
    source: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        store_artifact(home, "chat", source)
    assert list((home / "artifacts" / "chat").iterdir()) == []


def test_what_a_killed_process_left_is_swept_after_a_day(source: Path, home: Path) -> None:
    shelf = home / "artifacts" / "chat"
    for name, age_s in {".incoming-old": 100_000, ".incoming-new": 10}.items():
        (shelf / name).mkdir(parents=True)
        os.utime(shelf / name, (time.time() - age_s,) * 2)
    store_artifact(home, "chat", source)
    assert not (shelf / ".incoming-old").exists()
    assert (shelf / ".incoming-new").exists()


def test_a_link_inside_is_stored_as_the_file_it_leads_to(source: Path, home: Path) -> None:
    (source / "model.bin").symlink_to("weights.safetensors")
    stored = store_artifact(home, "chat", source)
    assert not (stored.path / "model.bin").is_symlink()
    assert (stored.path / "model.bin").read_bytes() == (source / "model.bin").read_bytes()
    assert stored.hash == hash_directory(source)


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "tokenizer", "nowhere", "."])
def test_a_link_that_leads_elsewhere_is_refused(source: Path, home: Path, target: str) -> None:
    (source.parent / "outside").write_text("secret")
    (source / "link").symlink_to(target)
    with pytest.raises(ValueError, match="link leads"):
        store_artifact(home, "chat", source)
    assert list((home / "artifacts" / "chat").iterdir()) == []


def test_what_is_not_a_file_is_refused(source: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is empty"):
        store_artifact(home, "chat", tmp_path / "empty")
    with pytest.raises(ValueError, match="is not a folder"):
        store_artifact(home, "chat", tmp_path / "missing")
    os.mkfifo(source / "pipe")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        store_artifact(home, "chat", source)


@pytest.mark.parametrize("name", ["", "..", "a/b", "Chat", "/chat"])
def test_a_model_name_that_leaves_the_folder_is_refused(
    source: Path, home: Path, name: str
) -> None:
    with pytest.raises(ValueError, match="name is like chat"):
        store_artifact(home, name, source)


def _contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
