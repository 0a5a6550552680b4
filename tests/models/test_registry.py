"""Goal: the registry says what was learned, from what, and what is live, and never forgets it.

Method: every behaviour on SQLite and on PostgreSQL, with a clock that the test sets.
"""

import shutil
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from models.arms import Arm
from models.artifacts import store_artifact
from models.errors import Conflict, CorruptArtifact, NotFound, Unavailable
from models.registry import Registry
from tests.models.conftest import Clock, Opened, artifact_at, register

MOVE = {"why": "better", "who": "ada"}


def test_versions_are_numbered_from_one_for_each_name(registry: Registry) -> None:
    register(registry, "chat", 3)
    register(registry, "love", 2, kind="reward")
    refs = [version.ref for version in registry.versions()]
    assert refs == ["chat@1", "chat@2", "chat@3", "love@1", "love@2"]
    assert [version.ref for version in registry.versions("love")] == ["love@1", "love@2"]
    assert registry.versions("nobody") == []


def test_the_same_artifact_config_and_snapshot_are_the_same_version(registry: Registry) -> None:
    given = {"artifact": artifact_at(registry.root, "chat", "abcdabcd"), "kind": "policy"}
    first = registry.register("chat", config_hash="c", snapshot_hash=None, **given)
    assert registry.register("chat", config_hash="c", snapshot_hash=None, **given) == first
    other_data = registry.register("chat", config_hash="c", snapshot_hash="s", **given)
    other_dials = registry.register("chat", config_hash="d", snapshot_hash=None, **given)
    assert [first.number, other_data.number, other_dials.number] == [1, 2, 3]


def test_everything_registered_is_given_back(registry: Registry, clock: Clock) -> None:
    register(registry, "love", 1, kind="reward")
    run = registry.start_run("refresh", "t1", {"seed": 7})
    made = registry.register(
        "chat",
        artifact=artifact_at(registry.root, "chat", "abcdabcd"),
        kind="policy",
        config_hash="config",
        snapshot_hash="snapshot",
        parents=[("love", 1)],
        recipe="moderate",
        run_id=run.id,
        measures={"kl": 3.5, "curve": [1, 2], "low": float("nan")},
    )
    found = registry.version("chat", 1)
    assert found == registry.version("chat", "1") == registry.version("chat", "v1")
    assert found.artifact_path == registry.root / "artifacts" / "chat" / "abcdabcd"
    assert (found.kind, found.recipe, found.run_id) == ("policy", "moderate", run.id)
    assert (found.config_hash, found.snapshot_hash) == ("config", "snapshot")
    assert found.parents == (("love", 1),)
    assert found.created_at == clock.time
    assert found.created_at.tzinfo == UTC
    assert found.measures == {"kl": 3.5, "curve": [1, 2], "low": None}  # JSON has no NaN.
    assert made.ref == "chat@1"


def test_a_name_belongs_to_one_kind(registry: Registry) -> None:
    register(registry, "chat", 1)
    with pytest.raises(Conflict, match="expected 'reward', found 'policy'"):
        register(registry, "chat", 2, kind="reward")
    with pytest.raises(ValueError, match="'tokenizer'"):
        register(registry, "chat", 2, kind="tokenizer")


@pytest.mark.parametrize("name", ["", "Chat", "../chat", "a/b", "a@b", ".hidden"])
def test_a_name_that_cannot_be_a_folder_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(ValueError, match="name is like chat"):
        register(registry, name, 1)


def test_what_is_not_there_is_named_with_what_is(registry: Registry) -> None:
    register(registry, "chat", 2)
    registry.move_alias("chat", "champion", 2, expected=None, **MOVE)
    for ask, said in {
        ("chta", 1): "no model 'chta', did you mean 'chat'",
        ("chat", 9): "no version of 'chat' '9'; there are 2, 1",
        ("chat", "chmpion"): "no alias of 'chat' 'chmpion', did you mean 'champion'",
    }.items():
        with pytest.raises(NotFound, match=said):
            registry.version(*ask)
    with pytest.raises(NotFound, match="no model 'love'"):
        register(registry, "chat", 3, parents=[("love", 1)])
    with pytest.raises(NotFound, match="no run 'nowhere'; there are none yet"):
        register(registry, "chat", 3, run_id="nowhere")
    assert len(registry.versions()) == 2


def test_a_home_that_moves_keeps_its_versions(sqlite: str, home: Path, opened: Opened) -> None:
    source = home / "trained"
    source.mkdir()
    (source / "weights").write_bytes(b"1234")
    registry = Registry(sqlite)
    artifact = store_artifact(home, "chat", source)
    registry.register("chat", artifact=artifact, kind="policy", config_hash="c", snapshot_hash=None)
    registry.close()
    moved = shutil.move(home, home.with_name("elsewhere"))
    version = opened(f"sqlite:///{moved / 'registry.db'}", root=None).version("chat", 1)
    assert version.artifact_path.is_relative_to(moved)
    assert (version.artifact_path / "weights").read_bytes() == b"1234"


def test_an_artifact_outside_the_home_is_refused(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="outside the home"):
        registry.register(
            "chat",
            artifact=artifact_at(tmp_path / "other", "chat", "abcdabcd"),
            kind="policy",
            config_hash="c",
            snapshot_hash=None,
        )


def test_a_changed_artifact_is_not_opened(sqlite: str, home: Path, opened: Opened) -> None:
    registry = opened(sqlite)
    (home / "trained").mkdir()
    (home / "trained" / "weights").write_bytes(b"1234")
    version = registry.register(
        "chat",
        artifact=store_artifact(home, "chat", home / "trained"),
        kind="policy",
        config_hash="c",
        snapshot_hash=None,
    )
    assert registry.open_artifact(version) == version.artifact_path
    (version.artifact_path / "weights").write_bytes(b"12345")
    with pytest.raises(CorruptArtifact, match="changed after it was registered"):
        registry.open_artifact(version)


def test_an_alias_moves_only_from_where_it_is_expected(registry: Registry) -> None:
    register(registry, "chat", 3)
    assert registry.alias("chat", "champion") is None
    registry.move_alias("chat", "champion", 1, expected=None, **MOVE)
    with pytest.raises(Conflict, match=r"moved by ada .*better.*expected None, found 1"):
        registry.move_alias("chat", "champion", 2, expected=None, **MOVE)
    with pytest.raises(Conflict) as caught:
        registry.move_alias("chat", "champion", 2, expected=3, **MOVE)
    assert (caught.value.expected, caught.value.found) == (3, 1)
    registry.move_alias("chat", "champion", 2, expected=1, **MOVE)
    assert registry.aliases("chat") == {"champion": 2}
    assert registry.version("chat", "champion").number == 2


def test_a_move_to_where_it_is_is_no_move(registry: Registry) -> None:
    """Else two who expect 1 and move it to 1 would both win."""
    register(registry, "chat", 1)
    registry.move_alias("chat", "champion", 1, expected=None, **MOVE)
    with pytest.raises(ValueError, match="from 1 to 1"):
        registry.move_alias("chat", "champion", 1, expected=1, **MOVE)


def test_an_alias_can_be_taken_away_and_put_back(registry: Registry) -> None:
    register(registry, "chat", 1)
    registry.move_alias("chat", "challenger", 1, expected=None, **MOVE)
    registry.move_alias("chat", "challenger", None, expected=1, **MOVE)
    assert registry.alias("chat", "challenger") is None
    assert registry.aliases("chat") == {}
    move = registry.move_alias("chat", "challenger", 1, expected=None, **MOVE)
    assert move.revision == 3
    assert [m.to_number for m in registry.history("chat")] == [1, None, 1]


def test_the_history_tells_what_was_live_at_any_time(registry: Registry, clock: Clock) -> None:
    register(registry, "chat", 2)
    register(registry, "love", 1, kind="reward")
    before = clock.time - timedelta(seconds=1)
    registry.move_alias("chat", "champion", 1, expected=None, why="first", who="ada")
    registry.move_alias("love", "champion", 1, expected=None, why="first", who="ada")
    noon = clock.advance(hours=1)
    registry.move_alias("chat", "champion", 2, expected=1, why="better", who="bo")
    evening = clock.advance(hours=6)
    registry.move_alias("chat", "champion", None, expected=2, why="broken", who="ada")

    def live(at: datetime) -> dict[str, int | None]:
        return {move.name: move.to_number for move in registry.history(at=at)}

    assert live(before) == {}
    assert live(noon - timedelta(seconds=1)) == {"chat": 1, "love": 1}
    assert live(noon) == {"chat": 2, "love": 1}
    assert live(noon.astimezone(timezone(timedelta(hours=5)))) == {"chat": 2, "love": 1}
    assert live(evening) == {"love": 1}
    told = [(m.from_number, m.to_number, m.why, m.who) for m in registry.history("chat")]
    assert told == [(None, 1, "first", "ada"), (1, 2, "better", "bo"), (2, None, "broken", "ada")]


def test_a_clock_that_jumps_back_does_not_reorder_history(registry: Registry, clock: Clock) -> None:
    register(registry, "chat", 2)
    first = registry.move_alias("chat", "champion", 1, expected=None, **MOVE)
    clock.advance(days=-1)
    second = registry.move_alias("chat", "champion", 2, expected=1, **MOVE)
    assert second.moved_at >= first.moved_at
    assert [m.to_number for m in registry.history(at=first.moved_at)] == [2]


@pytest.mark.parametrize("alias", ["", "Champion", "7", "v7", "a b"])
def test_an_alias_that_reads_as_something_else_is_refused(registry: Registry, alias: str) -> None:
    register(registry, "chat", 1)
    with pytest.raises(ValueError, match="lower-case word"):
        registry.move_alias("chat", alias, 1, expected=None, **MOVE)


@pytest.mark.parametrize("empty", [{"why": " "}, {"who": ""}])
def test_a_change_needs_a_reason_and_an_author(registry: Registry, empty: dict[str, str]) -> None:
    register(registry, "chat", 1)
    with pytest.raises(ValueError, match="is empty"):
        registry.move_alias("chat", "champion", 1, expected=None, **(MOVE | empty))
    arms = [Arm(name="a", version=1, share=1.0)]
    with pytest.raises(ValueError, match="is empty"):
        registry.set_arms("chat", arms, experiment="", **(MOVE | empty))


def test_arms_are_what_was_set_last_and_all_are_kept(registry: Registry, clock: Clock) -> None:
    register(registry, "chat", 2)
    assert registry.arms("chat").revision == registry.arms("nobody").revision == 0
    alone = [Arm(name="control", version=1, share=1.0)]
    registry.set_arms("chat", alone, experiment="", **MOVE)
    clock.advance(hours=1)
    both = [Arm(name="control", version=1, share=0.9), Arm(name="new", version=2, share=0.1)]
    registry.set_arms("chat", both, experiment="x", **MOVE)
    live = registry.arms("chat")
    assert (live.experiment, live.revision, live.arms) == ("x", 2, tuple(both))
    assert (live.set_at, live.who) == (clock.time, "ada")
    assert [old.arms for old in registry.arm_history("chat")] == [tuple(alone), tuple(both)]


@pytest.mark.parametrize(
    "shares", [[], [0.5], [0.5, 0.4], [1.1, -0.1], [float("nan"), 1.0]], ids=str
)
def test_shares_that_are_not_shares_are_refused(registry: Registry, shares: list[float]) -> None:
    register(registry, "chat", 1)
    arms = [Arm(name=f"arm-{i}", version=1, share=share) for i, share in enumerate(shares)]
    with pytest.raises(ValueError, match=r"shares?|names"):
        registry.set_arms("chat", arms, experiment="x", **MOVE)
    assert registry.arms("chat").revision == 0


def test_more_arms_than_can_tell_anything_are_refused_at_once(registry: Registry) -> None:
    register(registry, "chat", 1)
    arms = [Arm(name=f"arm-{i}", version=1, share=1 / 128) for i in range(128)]
    with pytest.raises(ValueError, match="at most 100 arms, got 128"):
        registry.set_arms("chat", arms, experiment="x", **MOVE)
    assert registry.arms("chat").revision == 0


def test_tenths_sum_to_one_and_equal_names_are_refused(registry: Registry) -> None:
    register(registry, "chat", 1)
    tenths = [Arm(name=f"arm-{i}", version=1, share=0.1) for i in range(10)]
    assert registry.set_arms("chat", tenths, experiment="x", **MOVE).revision == 1
    twice = [Arm(name="a", version=1, share=0.5)] * 2
    with pytest.raises(ValueError, match="different"):
        registry.set_arms("chat", twice, experiment="x", **MOVE)
    with pytest.raises(NotFound, match="'9'"):
        registry.set_arms("chat", [Arm(name="a", version=9, share=1.0)], experiment="x", **MOVE)
    assert registry.arms("chat").revision == 1


def test_several_changes_are_kept_together_or_not_at_all(registry: Registry) -> None:
    register(registry, "chat", 2)
    registry.move_alias("chat", "champion", 1, expected=None, **MOVE)
    with pytest.raises(ZeroDivisionError), registry.atomic():  # noqa: PT012
        registry.move_alias("chat", "champion", 2, expected=1, **MOVE)
        assert registry.alias("chat", "champion") == 2  # Seen inside.
        raise ZeroDivisionError
    assert registry.alias("chat", "champion") == 1
    assert len(registry.history()) == 1
    with registry.atomic():
        registry.move_alias("chat", "champion", 2, expected=1, **MOVE)
        registry.move_alias("chat", "previous", 1, expected=None, **MOVE)
    assert registry.aliases("chat") == {"champion": 2, "previous": 1}


def test_a_time_without_a_zone_is_refused(registry: Registry) -> None:
    with pytest.raises(Exception, match="has no zone"):
        registry.record_snapshot(
            "s",
            signal="love",
            as_of=datetime(2026, 1, 1),
            num_rows=1,
            num_positives=0,
            path=Path("snapshots/s"),
        )


def test_without_a_clock_rows_bear_the_present_time_in_utc(url: str, opened: Opened) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)  # The server's clock may differ a little.
    started = opened(url).start_run("refresh", "t1", {}).started_at
    assert before < started < datetime.now(UTC) + timedelta(seconds=5)
    assert started.tzinfo == UTC


def test_a_locked_database_is_unavailable_and_nothing_is_written(
    sqlite: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = opened(sqlite)
    monkeypatch.setattr("models.database.BUSY_TIMEOUT_S", 0.05)
    other = opened(sqlite)
    with holder.atomic():
        holder.start_run("refresh", "t2", {})
        with pytest.raises(Unavailable, match="locked"):
            other.start_run("refresh", "t1", {})
    assert [run.key for run in other.runs()] == ["t2"]
    assert other.start_run("refresh", "t1", {}).status == "running"


def test_postgres_needs_to_be_told_the_home() -> None:
    with pytest.raises(ValueError, match="needs `root`"):
        Registry("postgresql+psycopg://rluf@/x")
