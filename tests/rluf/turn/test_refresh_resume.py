"""Goal: a turn that is killed and run again ends as one that nobody disturbed.

Method: two homes with the same facts. On one the turn runs through; on the other its whole process
group is killed at three moments, drawn with a seed from what the first one said, and started again
each time. Then everything that the registry and the artifacts hold is compared.
"""

import json
import os
import random
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from models.registry import Registry
from rluf.settings import load_settings
from tests.rluf.command import Outcome, finish, rluf, start
from tests.rluf.small_home import make_home, settings_of, write_inputs
from tests.waiting import WAIT_S

NUM_KILLS = 3
SEED = 4


def registry_at(home: Path) -> Registry:
    settings = load_settings([], {"RLUF_HOME": str(home)})
    return Registry(settings.models.registry_url, root=settings.home)


def without_times(value: Any) -> Any:
    """The same JSON value without what is different each time: how long it took."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if not k.startswith("seconds")}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def contents(folder: Path) -> dict[str, Any]:
    """What the files of an artifact say."""
    return {
        str(path.relative_to(folder)): without_times(json.loads(path.read_text("utf-8")))
        if path.suffix == ".json"
        else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def until(process: subprocess.Popen[str], moment: str) -> list[str]:
    """Read what it says until it says `moment`, or ends."""
    said = []
    for line in process.stderr:
        said.append(line.strip())
        if line.strip() == moment:
            break
    return said


@dataclass(frozen=True, slots=True)
class Turns:
    """A turn that ran through, one that was killed again and again, and what they answered."""

    whole: Path
    killed: Path
    whole_says: Outcome
    killed_says: Outcome
    rival_says: Outcome
    """The answer to a second turn on the first home while its turn ran."""
    moments: list[str]
    """What the killed ones said last."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def turns(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Turns:
    folder = tmp_path_factory.mktemp("homes")
    whole, killed = make_home(folder / "whole", inputs), make_home(folder / "killed", inputs)
    settings = settings_of(inputs)
    process = start("refresh", "--json", home=whole, settings=settings)
    said: list[str] = []
    snapshot = threading.Event()

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line.strip())
            snapshot.set()

    listener = threading.Thread(target=listen)
    listener.start()
    assert snapshot.wait(WAIT_S)
    rival = rluf("refresh", "--json", home=whole, settings=settings)
    assert process.stdout is not None
    with process:
        out = process.stdout.read()
        listener.join(WAIT_S)
        whole_says = Outcome(process.wait(WAIT_S), out, "\n".join(said))

    last = next(n for n, line in enumerate(said) if line.startswith("evidence-"))
    candidates = list(dict.fromkeys(said[: last + 2]))
    moments = sorted(random.Random(SEED).sample(range(len(candidates)), NUM_KILLS))
    reached = []
    for moment in moments:
        with start("refresh", "--json", home=killed, settings=settings) as process:
            reached.append(until(process, candidates[moment])[-1])
            os.killpg(process.pid, signal.SIGKILL)
            assert finish(process).code == -signal.SIGKILL
    killed_says = rluf("refresh", "--json", home=killed, settings=settings)
    return Turns(whole, killed, whole_says, killed_says, rival, reached)


def test_a_killed_turn_ends_in_the_same_versions_and_verdicts(turns):
    assert turns.whole_says.code == turns.killed_says.code == 3, "the tiny candidates are refused"
    assert len(set(turns.moments)) == NUM_KILLS
    whole, killed = registry_at(turns.whole), registry_at(turns.killed)
    mine, theirs = killed.versions(), whole.versions()
    assert [v.ref for v in mine] == [v.ref for v in theirs]
    assert len({v.artifact_hash for v in mine if v.name != "chat"}) == 6
    assert [v.name for v in mine].count("chat") == 3, "production and one candidate a recipe"
    for one, other in zip(mine, theirs, strict=True):
        assert one.snapshot_hash == other.snapshot_hash
        assert one.recipe == other.recipe
        assert contents(one.artifact_path) == contents(other.artifact_path), one.ref
        assert without_times(dict(one.measures)) == without_times(dict(other.measures))
        verdicts = [
            [(v.gate, v.ruling, v.reasons, str(v.checks)) for v in r.verdicts(one.name, one.number)]
            for r in (killed, whole)
        ]
        assert verdicts[0] == verdicts[1], one.ref


def test_it_is_one_run_that_is_done_and_nothing_half_done_is_left(turns):
    (run,) = registry_at(turns.killed).runs(kind="refresh")
    assert run.status == "done"
    assert run.id == turns.killed_says.value()["turn"]
    steps = turns.killed / "turns" / "steps"
    assert not list(steps.glob(".*"))
    assert (
        len(list(steps.iterdir())) == len(list((turns.whole / "turns" / "steps").iterdir())) == 10
    )
    assert len([p for p in (turns.killed / "snapshots").iterdir() if p.is_dir()]) == 1


def test_a_killed_turn_goes_on_at_once_though_its_lease_still_runs(turns):
    assert "going on with turn" in turns.killed_says.err
    assert "already done, kept" in turns.killed_says.err


def test_a_second_turn_is_refused_and_told_who_runs_the_first(turns):
    assert turns.rival_says.code == 4
    assert turns.rival_says.out == ""
    assert "refresh" in turns.rival_says.err
    assert turns.whole_says.value()["candidates"]


def test_a_turn_on_another_machine_is_left_alone(inputs, tmp_path):
    home = make_home(tmp_path / "home", inputs)
    with registry_at(home).lease("refresh", holder="elsewhere:1"):
        answer = rluf("refresh", "--json", home=home, settings=settings_of(inputs))
    assert answer.code == 4
    assert "elsewhere:1" in answer.err
