"""Goal: a finished step is never run again and an unfinished one leaves nothing behind.

Method: real worker processes running the job Echo, the same ones for all tests, as one takes
seconds to begin; each test has a step of its own name.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest

from rluf.turn.inputs import NOT_KEYED, Content, Echo, key_of
from rluf.turn.steps import RESULT, Step, Steps
from tests.waiting import wait_for


@dataclass
class Rig:
    """Steps and what they have said."""

    steps: Steps
    said: list[str] = field(default_factory=list)
    seen: list[tuple[object, ...]] = field(default_factory=list)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    said: list[str] = []
    seen: list[tuple[object, ...]] = []
    with Steps(
        tmp_path_factory.mktemp("steps") / "s",
        workers=2,
        on_progress=lambda *at: seen.append(at),
        say=said.append,
    ) as steps:
        yield Rig(steps, said, seen)


def step(name: str, **arguments: object) -> Step:
    return Step(name=name, job=Echo(**arguments))


def test_a_finished_step_is_kept_and_not_run_again(rig):
    first = rig.steps.run(step("kept", value=3))
    assert rig.said == []
    again = rig.steps.run(step("kept", value=3))
    assert first == again
    assert first["value"] == 3
    assert rig.said == [f"kept: already done, kept ({Path(first['folder']).name})"]


def test_another_key_is_another_folder(rig):
    one, two = rig.steps.run_all([step("two", value=1), step("two", value=2)])
    assert one["folder"] != two["folder"]


def test_a_failing_step_rises_and_leaves_no_result(rig):
    with pytest.raises(ValueError, match="told to fail"):
        rig.steps.run(step("failing", fail=True))
    assert not list(rig.steps.root.glob(f"failing-*/{RESULT}"))


def test_what_a_killed_run_left_is_cleared(rig):
    wanted = step("left", value=5)
    left = rig.steps.root / f".{wanted.folder}.999"
    left.mkdir(parents=True)
    (left / "half").write_text("written", "utf-8")
    result = rig.steps.run(wanted)
    assert not left.exists()
    assert json.loads((Path(result["folder"]) / RESULT).read_text("utf-8"))["value"] == 5


def test_progress_of_the_worker_process_reaches_the_caller(rig):
    rig.steps.run(step("moving", value=1))
    wait_for(lambda: ("moving", "echoing", 1, 1) in rig.seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weigh:
    """A job of these tests."""

    version: ClassVar[int] = 1
    what: Content
    scales: tuple[float, ...] = (1.0,)
    label: str = field(default="", metadata=NOT_KEYED)


class WeighAnew(Weigh):
    version: ClassVar[int] = 2


def test_every_input_is_in_the_key_by_its_content(tmp_path):
    here = Weigh(what=Content(path=tmp_path, hash="a"))
    there = Weigh(what=Content(path=tmp_path / "elsewhere", hash="a"), label="other")
    assert key_of(here) == key_of(there)
    others = [Weigh(what=Content(path=tmp_path, hash="b")), replace(here, scales=(2.0,))]
    assert len({json.dumps(key_of(job)) for job in (here, *others)}) == 3


def test_new_code_makes_a_new_key(tmp_path):
    old, new = (kind(what=Content(path=tmp_path, hash="a")) for kind in (Weigh, WeighAnew))
    assert key_of(old)["version"] != key_of(new)["version"]
    assert key_of(old)["inputs"] == key_of(new)["inputs"]
