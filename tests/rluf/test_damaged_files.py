"""Goal: no file that `rluf` keeps in its home, once damaged, ends every later start or turn.

Method: each file empty, cut, filled with zeros, no text, gone, a folder in its place, or written by
a later version. What is a cache is made anew, and somebody is told; what is truth is refused with
its path and what to do.
"""

import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from features.snapshot import take_snapshot
from models.artifacts import Artifact, store_artifact, verify_artifact
from models.calibration import CALIBRATION_FILE, Calibration, read_calibration
from models.database import sqlite_url
from models.errors import CorruptArtifact, CorruptRegistry, SchemaMismatch
from models.errors import Unavailable as RegistryUnavailable
from models.migrate import migrate
from models.registry import Registry
from rluf import local
from rluf.child import BadHome, Child
from rluf.erase import erase_facts
from rluf.faults import FAULT, UNAVAILABLE, exit_code_of
from rluf.local import Supervisor, is_up, read_state, supervised
from rluf.settings import BadSettings, Settings, load_settings
from rluf.turn.inputs import Echo
from rluf.turn.steps import RESULT, Step, Steps
from rluf.wiring import find_brokers, prepare
from streams.errors import Unavailable
from tests.damages import DAMAGES, cut, empty, every_damage, gone, unreadable, zeroed
from tests.features.histories import AFTER, busy_month, erasure, store_all

SLEEPER = "import time; time.sleep(60)"
STATE = {"brokers": "127.0.0.1:9", "url": "http://127.0.0.1:1", "pids": {}, "supervisor": 1}


def settings_at(home: Path) -> Settings:
    return load_settings([], {"RLUF_HOME": str(home), "RLUF_STREAMS__BROKERS": "127.0.0.1:1"})


def supervisor_at(home: Path, said: list[str], code: str = SLEEPER) -> Supervisor:
    def plan(settings: Settings, recipes: object) -> list[Child]:
        command = [sys.executable, "-c", code]
        return [Child(name="worker", command=command, log=home / "logs" / "worker.log")]

    return Supervisor(settings_at(home), say=said.append, plan=plan)


@contextmanager
def held(home: Path) -> Iterator[None]:
    """A home that an `rluf up` holds, which wrote STATE."""
    (home / "up.json").write_text(json.dumps(STATE))
    with (home / "up.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@every_damage
def test_a_damaged_state_of_a_running_home_is_said_to_be_that(tmp_path, damage):
    settings = load_settings((), {"RLUF_HOME": str(tmp_path)})
    with held(tmp_path):
        assert find_brokers(settings).streams.brokers == STATE["brokers"]
        damage(tmp_path / "up.json")
        assert is_up(tmp_path)
        assert read_state(tmp_path) is None
        with pytest.raises(Unavailable, match=r"up\.json.*RLUF_STREAMS__BROKERS"):
            find_brokers(settings)
    assert not is_up(tmp_path)
    with pytest.raises(Unavailable, match="start `rluf up`"):
        find_brokers(settings)


@pytest.mark.parametrize("state", ["[]", "{}", '{"brokers": 3}', '"x"'])
def test_json_that_names_no_broker_is_no_state(tmp_path, state):
    with held(tmp_path):
        (tmp_path / "up.json").write_text(state)
        assert read_state(tmp_path) is None


def test_the_state_of_a_later_version_is_read(tmp_path):
    with held(tmp_path):
        (tmp_path / "up.json").write_text(json.dumps(STATE | {"mood": "fine"}))
        assert read_state(tmp_path) == STATE | {"mood": "fine"}


def test_who_looks_is_not_taken_for_who_runs(tmp_path):
    """Two commands at the same moment, over what a crash left."""
    (tmp_path / "up.json").write_text(json.dumps(STATE))
    with (tmp_path / "up.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not is_up(tmp_path)
        assert read_state(tmp_path) is None


@pytest.mark.parametrize("damage", [each for each in DAMAGES if each not in (gone, unreadable)])
def test_up_replaces_what_a_crash_left(tmp_path, damage):
    (tmp_path / "up.json").write_text(json.dumps(STATE))
    damage(tmp_path / "up.json")
    supervisor = supervisor_at(tmp_path, [])
    supervisor.start()
    try:
        state = read_state(tmp_path)
        assert state is not None
        assert state["brokers"] == "127.0.0.1:1"
    finally:
        supervisor.stop()


@pytest.mark.parametrize("name", ["up.json", "up.lock", "logs/worker.log"])
def test_what_up_cannot_use_is_named_with_what_to_do(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    unreadable(tmp_path / name)
    supervisor = supervisor_at(tmp_path, [])
    with pytest.raises(BadHome, match=rf"{tmp_path / name}.*move it away") as told:
        supervisor.start()
    supervisor.stop()
    assert exit_code_of(told.value) == FAULT


def test_a_ready_file_that_cannot_be_removed_is_named(tmp_path):
    unreadable(tmp_path / "worker.ready")
    child = Child(
        name="worker",
        command=[sys.executable, "-c", SLEEPER],
        log=tmp_path / "worker.log",
        ready_file=tmp_path / "worker.ready",
    )
    with pytest.raises(BadHome, match=r"worker\.ready"):
        child.start(os.environ)
    assert child.process is None


def test_a_state_that_cannot_be_written_ends_nobody(tmp_path, monkeypatch):
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(local, "write_durably", full)
    said: list[str] = []
    supervisor = supervisor_at(tmp_path, said)
    supervisor.start()
    try:
        assert any("up.json" in line and "RLUF_STREAMS__BROKERS" in line for line in said)
        assert not supervisor.children[0].has_died()
    finally:
        supervisor.stop()


def test_a_fault_while_watching_ends_the_whole_and_is_not_left_unwatched(tmp_path, monkeypatch):
    """The log that a child's restart needs cannot be opened any more."""
    supervisor = supervisor_at(tmp_path, [], code="import time; time.sleep(0.5)")
    monkeypatch.setattr(local, "Supervisor", lambda settings, say: supervisor)

    def run_until_the_log_is_lost() -> None:
        with supervised(settings_at(tmp_path), say=lambda _: None):
            (tmp_path / "logs" / "worker.log").unlink()
            (tmp_path / "logs" / "worker.log").mkdir()
            time.sleep(20)

    with pytest.raises(BadHome, match=r"worker\.log"):
        run_until_the_log_is_lost()


def in_folder(name: str, damage: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: damage(folder / name)


def test_a_damaged_step_is_run_again_and_a_sound_one_is_kept(tmp_path):
    """All in one, because a worker process takes seconds to start."""
    said: list[str] = []
    step = Step(name="echo", job=Echo(value=3))
    with Steps(tmp_path, workers=1, on_progress=lambda *_: None, say=said.append) as steps:
        first = steps.run(step)
        folder = Path(first["folder"])
        result = json.loads((folder / RESULT).read_text())
        (folder / RESULT).write_text(json.dumps(result | {"later": "version"}))
        assert steps.run(step)["value"] == 3
        assert said == [f"echo: already done, kept ({folder.name})"]
        damages = [*(in_folder(RESULT, damage) for damage in DAMAGES), unmarked, extra, beside]
        for damage in damages:
            said.clear()
            damage(folder)
            assert steps.run(step)["value"] == 3
            assert str(folder) in said[0]
            assert "made again" in said[0]
            assert ("holds other bytes" in said[0]) == (damage is extra)
            assert {path.name for path in folder.iterdir()} == {RESULT}


def unmarked(folder: Path) -> None:
    """JSON, but nothing that a step writes."""
    (folder / RESULT).write_text("[]")


def extra(folder: Path) -> None:
    """A file that was not there when the step finished; one that is gone is found likewise."""
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_bytes(b"\0" * 100)


def beside(folder: Path) -> None:
    """No folder at all."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("")


@pytest.fixture
def registry_file(tmp_path: Path) -> Path:
    """A registry of a home with rows enough for many pages."""
    url = sqlite_url(tmp_path / "registry.db")
    migrate(url)
    registry = Registry(url, root=tmp_path)
    for number in range(50):
        registry.start_run("turn", str(number), {"why": "w" * 500})
    registry.close()
    assert [each.name for each in tmp_path.iterdir()] == ["registry.db"]
    return tmp_path / "registry.db"


@pytest.mark.parametrize("damage", [cut, zeroed])
def test_a_damaged_registry_is_refused_with_its_path_and_advice(registry_file, damage):
    damage(registry_file)
    before = registry_file.read_bytes()
    settings = load_settings((), {"RLUF_HOME": str(registry_file.parent)})
    with pytest.raises(CorruptRegistry, match=rf"{registry_file}.*backup") as told:
        prepare(settings, migrate_first=True)
    assert exit_code_of(told.value) == FAULT
    with pytest.raises(CorruptRegistry, match=rf"{registry_file}.*backup"):
        Registry(settings.models.registry_url, root=settings.home).runs()
    assert registry_file.read_bytes() == before


def test_a_registry_that_cannot_be_opened_is_named(registry_file):
    unreadable(registry_file)
    settings = load_settings((), {"RLUF_HOME": str(registry_file.parent)})
    with pytest.raises(RegistryUnavailable, match=str(registry_file)) as told:
        prepare(settings, migrate_first=True)
    assert exit_code_of(told.value) == UNAVAILABLE


@pytest.mark.parametrize("damage", [empty, gone])
def test_a_lost_registry_is_not_begun_anew_unasked_where_models_lie(registry_file, damage):
    home = registry_file.parent
    settings = load_settings((), {"RLUF_HOME": str(home)})
    damage(registry_file)
    prepare(settings, migrate_first=True)  # Without models nothing is lost: a first start.
    damage(registry_file)
    (home / "artifacts" / "chat" / "0123456789abcdef").mkdir(parents=True)
    with pytest.raises(SchemaMismatch, match=r"chat.*backup.*`rluf migrate`") as told:
        prepare(settings, migrate_first=True)
    assert exit_code_of(told.value) == FAULT
    migrate(settings.models.registry_url)  # What `rluf migrate` does.
    prepare(settings, migrate_first=True)


@every_damage
def test_a_damaged_artifact_is_refused_with_advice_and_healed_by_storing_again(tmp_path, damage):
    source, home = tmp_path / "model", tmp_path / "home"
    source.mkdir()
    home.mkdir()
    (source / "weights").write_bytes(b"weights" * 100)
    stored = store_artifact(home, "chat", source)
    damage(stored.path / "weights")
    with pytest.raises(CorruptArtifact, match=rf"{stored.path}.*backup"):
        verify_artifact(stored.path, stored.hash)
    assert store_artifact(home, "chat", source) == stored
    verify_artifact(stored.path, stored.hash)


def test_an_artifact_that_the_disk_cannot_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "weights").write_bytes(b"weights")

    def fail(path: Path) -> str:
        raise OSError(5, "Input/output error", str(path / "weights"))

    monkeypatch.setattr("models.artifacts.hash_directory", fail)
    with pytest.raises(CorruptArtifact, match="Input/output error"):
        verify_artifact(tmp_path, "0" * 64)


@pytest.mark.parametrize("damage", [each for each in DAMAGES if each is not gone])
def test_a_damaged_calibration_is_refused_by_path(tmp_path, damage):
    """A probability that nobody can vouch for is worse than none."""
    Calibration().write(tmp_path)
    assert read_calibration(tmp_path) == Calibration()
    damage(tmp_path / CALIBRATION_FILE)
    with pytest.raises(ValueError, match=rf"{tmp_path}/{CALIBRATION_FILE}.*backup"):
        read_calibration(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"knots": [], "temperature": 2}'])
def test_a_calibration_of_another_version_is_refused_by_path(tmp_path, content):
    (tmp_path / CALIBRATION_FILE).write_text(content)
    with pytest.raises(ValueError, match=CALIBRATION_FILE):
        read_calibration(tmp_path)


@every_damage
def test_a_damaged_earlier_report_keeps_nobody_from_being_forgotten(tmp_path, damage):
    settings = load_settings((), {"RLUF_HOME": str(tmp_path)})
    migrate(settings.models.registry_url)
    store_all(tmp_path, [*busy_month(), erasure("u1", 1_000_000.0)])
    registry = Registry(settings.models.registry_url, root=tmp_path)
    first = erase_facts(settings, registry, "u1", who="w", why="y")
    assert first.rows_removed > 0
    [place] = (tmp_path / "erasures").iterdir()
    damage(place)
    if damage is not gone:
        (place.with_suffix(".begun")).write_bytes(b"")  # That one too: killed as it began to write.
    again = erase_facts(settings, registry, "u1", who="w", why="y")
    registry.close()
    assert again.is_clean
    assert again.rows_removed == 0
    assert json.loads(place.read_text())["subject"] == first.subject
    said = [line for line in again.not_covered if "damaged" in line]
    assert len(said) == (0 if damage is gone else 2)
    assert all(f"{place.stem}." in line for line in said)
    assert not place.with_suffix(".begun").exists()


def test_an_erasure_killed_on_the_way_still_says_which_versions_learned(tmp_path, monkeypatch):
    """It has removed the snapshot when it dies; nothing else names it but the registry."""
    settings = load_settings((), {"RLUF_HOME": str(tmp_path)})
    migrate(settings.models.registry_url)
    store_all(tmp_path, busy_month())
    snapshot = take_snapshot(settings.features, signal="love", as_of=AFTER)
    [user, *_] = snapshot.examples()["user_id"].to_pylist()
    store_all(tmp_path, [erasure(user, 1_000_000.0)])
    registry = Registry(settings.models.registry_url, root=tmp_path)
    registry.register(
        "love",
        artifact=Artifact(hash="0" * 64, path=tmp_path / "artifacts" / "love" / "x"),
        kind="reward",
        config_hash="1",
        snapshot_hash=snapshot.hash,
    )

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rluf.erase.search", killed)
        with pytest.raises(KeyboardInterrupt):
            erase_facts(settings, registry, user, who="w", why="y")
    assert not snapshot.path.exists()
    again = erase_facts(settings, registry, user, who="w", why="y")
    once_more = erase_facts(settings, registry, user, who="w", why="y")
    registry.close()
    for report in (again, once_more):
        assert report.versions_that_learned == ("love@1",)
        assert report.snapshots_removed == (snapshot.hash,)
    assert any("cut short" in line for line in again.not_covered)


def test_an_earlier_report_of_a_later_version_is_added_up(tmp_path):
    settings = load_settings((), {"RLUF_HOME": str(tmp_path)})
    migrate(settings.models.registry_url)
    store_all(tmp_path, [*busy_month(), erasure("u1", 1_000_000.0)])
    registry = Registry(settings.models.registry_url, root=tmp_path)
    first = erase_facts(settings, registry, "u1", who="w", why="y")
    [place] = (tmp_path / "erasures").iterdir()
    place.write_text(json.dumps(json.loads(place.read_text()) | {"new": [1]}))
    again = erase_facts(settings, registry, "u1", who="w", why="y")
    registry.close()
    assert again.rows_removed == first.rows_removed
    assert again.not_covered == first.not_covered


@pytest.mark.parametrize("damage", [each for each in DAMAGES if each is not empty])
def test_a_damaged_recipe_is_refused_by_path(tmp_path, damage):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[streams]\nlinger_ms = 50\n")
    damage(recipe)
    with pytest.raises(BadSettings, match=r"mine\.toml"):
        load_settings([recipe], {})
