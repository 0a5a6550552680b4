"""Goal: a finished step is never run again and an unfinished one leaves nothing behind.

Method: real worker processes running the job `count`, registered for tests only through its file.
"""

import json
from pathlib import Path

import pytest

from rluf.turn.steps import RESULT, Step, Steps


def silent(*_: object) -> None:
    return None


def step(tmp_path: Path, **arguments: object) -> Step:
    return Step(name="echo", job="echo", arguments=arguments, key=arguments)


def test_a_finished_step_is_kept_and_not_run_again(tmp_path):
    said: list[str] = []
    with Steps(tmp_path / "s", workers=1, on_progress=silent, say=said.append) as steps:
        first = steps.run(step(tmp_path, value=3))
        again = steps.run(step(tmp_path, value=3))
    assert first == again
    assert first["value"] == 3
    assert said == [f"echo: already done, kept ({Path(first['folder']).name})"]


def test_another_key_is_another_folder(tmp_path):
    with Steps(tmp_path / "s", workers=2, on_progress=silent, say=silent) as steps:
        one, two = steps.run_all([step(tmp_path, value=1), step(tmp_path, value=2)])
    assert one["folder"] != two["folder"]


def test_a_failing_step_rises_and_leaves_no_result(tmp_path):
    with (
        Steps(tmp_path / "s", workers=1, on_progress=silent, say=silent) as steps,
        pytest.raises(ValueError, match="told to fail"),
    ):
        steps.run(step(tmp_path, fail=True))
    assert not list((tmp_path / "s").glob(f"echo-*/{RESULT}"))


def test_what_a_killed_run_left_is_cleared(tmp_path):
    wanted = step(tmp_path, value=5)
    left = tmp_path / "s" / f".{wanted.folder}.999"
    left.mkdir(parents=True)
    (left / "half").write_text("written", "utf-8")
    with Steps(tmp_path / "s", workers=1, on_progress=silent, say=silent) as steps:
        result = steps.run(wanted)
    assert not left.exists()
    assert json.loads((Path(result["folder"]) / RESULT).read_text("utf-8"))["value"] == 5


def test_progress_of_the_worker_process_reaches_the_caller(tmp_path):
    seen: list[tuple[object, ...]] = []
    with Steps(
        tmp_path / "s", workers=1, on_progress=lambda *at: seen.append(at), say=silent
    ) as steps:
        steps.run(step(tmp_path, value=1))
    assert ("echo", "echoing", 1, 1) in seen
