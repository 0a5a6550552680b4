"""Goal: verdicts, runs, snapshots and lineage are kept as they were told, and found again.

Method: every behaviour on SQLite and on PostgreSQL, with a clock that the test sets.
"""

import json
import math
from pathlib import Path

import pytest
from sqlalchemy import insert

from models.errors import Conflict, NotFound
from models.registry import Registry
from models.tables import MeasureRecord, VerdictRecord
from models.verdicts import Bound, Measure, Verdict, hold
from tests.models.conftest import Clock, artifact_at, register
from tests.verdicts import said


def test_verdicts_are_kept_whatever_they_say(registry: Registry, clock: Clock) -> None:
    register(registry, "chat", 1)
    run = registry.start_run("refresh", "t1", {})
    auroc = Measure(name="auroc", value=0.7, low=0.5, high=0.9, num_users=40, about="later users")
    shift = Measure(name="probe_shift", value=math.nan)
    told = Verdict(
        gate="reward",
        checks=(hold(auroc, Bound(low=0.8)), hold(shift, Bound(low=-0.2, high=0.2))),
        informative=(Measure(name="n_eval", value=900.0, unit="rows"),),
    )
    registry.record_verdict("chat", 1, told, run_id=run.id)
    clock.advance(hours=1)
    registry.record_verdict("chat", 1, said("reward"))
    undecided, passed = registry.verdicts("chat", 1)
    assert (undecided.ruling, undecided.passed, undecided.run_id) == ("undecided", False, run.id)
    assert undecided.reasons == told.reasons
    # NaN is not equal to itself, so the values are compared as they are written.
    assert str(undecided.checks) == str(told.checks)
    assert undecided.checks[0].users_needed == 160
    assert undecided.informative == told.informative
    assert (passed.ruling, passed.decided_at, passed.run_id) == ("passed", clock.time, None)
    assert registry.verdicts(limit=1) == [passed]
    assert registry.verdicts("love") == registry.verdicts("chat", 2) == []


def test_a_verdict_of_an_older_program_is_read_by_what_it_said(
    registry: Registry, clock: Clock
) -> None:
    """Schema 0001 knew passed and refused only, and limits as texts."""
    register(registry, "chat", 1)
    with registry.engine.begin() as connection:
        for gate, passed in (("style", True), ("safety", False)):
            verdict_id = connection.execute(
                insert(VerdictRecord).values(
                    version_id=1, gate=gate, passed=passed, reasons=["r"], decided_at=clock.time
                )
            ).inserted_primary_key[0]
            connection.execute(
                insert(MeasureRecord).values(
                    verdict_id=verdict_id, position=0, name="kl_nats", value=2.0, unit="nats",
                    limit="<= 15", passed=passed,
                )
            )  # fmt: skip
    style, safety = registry.verdicts("chat", 1)
    assert (style.ruling, safety.ruling) == ("passed", "refused")
    assert (safety.reasons, safety.checks) == (("r",), ())
    assert safety.informative[0].value == 2.0


def test_a_run_is_found_again_with_the_steps_behind_it(registry: Registry, clock: Clock) -> None:
    run = registry.start_run("refresh", "t1", {"seed": 7, "parts": [1, 2]})
    registry.record_step(run.id, "snapshot", "done", {"hash": "abc"})
    registry.record_step(run.id, "fit", "running", {})
    clock.advance(hours=1)
    again = registry.start_run("refresh", "t1", {"parts": [1, 2], "seed": 7})
    assert again == registry.run(run.id)
    assert (again.id, again.status, again.started_at) == (run.id, "running", run.started_at)
    assert list(again.steps) == ["snapshot", "fit"]
    assert again.steps["snapshot"].result == {"hash": "abc"}
    registry.record_step(run.id, "fit", "done", {"auroc": 0.8})
    fit = registry.run(run.id).steps["fit"]
    assert (fit.status, fit.result) == ("done", {"auroc": 0.8})
    assert (fit.started_at, fit.recorded_at) == (run.started_at, clock.time)


def test_a_run_ends_and_a_failed_one_starts_again(registry: Registry) -> None:
    run = registry.start_run("refresh", "t1", {})
    registry.finish_run(run.id, "failed", {"why": "disk full"})
    assert registry.run(run.id).result == {"why": "disk full"}
    assert registry.start_run("refresh", "t1", {}).status == "running"
    ended = registry.finish_run(run.id, "done", {"love": 0.1})
    assert ended.finished_at is not None
    assert registry.start_run("refresh", "t1", {}) == ended


def test_a_run_of_other_settings_needs_another_key(registry: Registry) -> None:
    registry.start_run("refresh", "t1", {"seed": 7})
    with pytest.raises(Conflict, match="other settings"):
        registry.start_run("refresh", "t1", {"seed": 8})
    assert registry.start_run("demo", "t1", {"seed": 8}).kind == "demo"


def test_runs_are_listed_in_the_order_they_started(registry: Registry, clock: Clock) -> None:
    for key in "abc":
        registry.start_run("refresh", key, {})
        clock.advance(minutes=1)
    registry.finish_run(registry.runs()[1].id, "abandoned")
    assert [run.key for run in registry.runs("refresh")] == ["a", "b", "c"]
    assert [run.key for run in registry.runs(limit=2)] == ["b", "c"]
    assert [run.key for run in registry.runs(status="running")] == ["a", "c"]
    assert registry.runs("demo") == []


def test_a_status_that_does_not_exist_is_refused(registry: Registry) -> None:
    run = registry.start_run("refresh", "t1", {})
    with pytest.raises(ValueError, match="'ok'"):
        registry.record_step(run.id, "fit", "ok", {})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'running'"):
        registry.finish_run(run.id, "running")
    with pytest.raises(NotFound, match="no run 'x'"):
        registry.finish_run("x", "done")


def test_a_snapshot_is_recorded_once(registry: Registry, clock: Clock) -> None:
    given = {"signal": "love", "num_rows": 10, "num_positives": 2}
    path = registry.root / "snapshots" / "abc"
    first = registry.record_snapshot("abc", as_of=clock.time, path=path, **given)
    assert (first.path, first.as_of) == (path, clock.time)
    later = clock.advance(hours=1)
    again = registry.record_snapshot("abc", as_of=later, path=Path("snapshots/abc"), **given)
    assert again == first
    with pytest.raises(Conflict, match="abc"):
        registry.record_snapshot("abc", as_of=later, path=path, **(given | {"num_rows": 11}))


def test_lineage_is_a_tree_down_to_the_data(registry: Registry, clock: Clock) -> None:
    registry.record_snapshot(
        "s1",
        signal="love",
        as_of=clock.time,
        num_rows=9,
        num_positives=1,
        path=Path("snapshots/s1"),
    )
    register(registry, "love", 1, kind="reward")
    register(registry, "chat", 1)
    registry.register(
        "chat",
        artifact=artifact_at(registry.root, "chat", "abcdabcd"),
        kind="policy",
        config_hash="c",
        snapshot_hash="s1",
        parents=[("chat", 1), ("love", 1)],
    )
    tree = registry.lineage("chat", 2)
    assert json.loads(json.dumps(tree)) == tree
    assert (tree["ref"], tree["config_hash"]) == ("chat@2", "c")
    assert tree["artifact"] == {"hash": "abcdabcd" * 8, "path": "artifacts/chat/abcdabcd"}
    snapshot = tree["snapshot"]
    assert isinstance(snapshot, dict)
    assert (snapshot["hash"], snapshot["num_rows"]) == ("s1", 9)
    parents = tree["parents"]
    assert isinstance(parents, list)
    assert [parent["ref"] for parent in parents] == ["chat@1", "love@1"]
    assert parents[0]["snapshot"] is None


def test_a_long_line_of_ancestors_is_cut_and_a_shared_one_told_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.lineage.GENERATIONS_MAX", 5)
    with registry.atomic():
        register(registry, "love", 1, kind="reward")
        register(registry, "chat", 1, parents=[("love", 1)])
        for n in range(2, 8):
            register(registry, "chat", n, parents=[("chat", n - 1), ("love", 1)])
    node = registry.lineage("chat", 7)
    seen_love = depth = 0
    while True:
        parents = node["parents"]
        assert isinstance(parents, list)
        seen_love += sum(1 for p in parents if p["ref"] == "love@1" and "told_above" not in p)
        chats = [p for p in parents if p["ref"].startswith("chat") and "told_above" not in p]
        if not chats:
            break
        node, depth = chats[0], depth + 1
    assert seen_love == 1
    assert depth == 5
    assert node["cut"] is True
