"""Goal: of several processes that train one policy, all decide alike, on the replies of all.

Method: two real processes on the CPU, joined by gloo, on a tiny random policy; each notes what
it sampled and decided.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_policy import save_tiny_policy
from tests.waiting import WAIT_S
from training.algorithms.crpg import seed_of_rank

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    save_tiny_policy(folder / "production")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.two_ranks", str(folder)],
            cwd=ROOT,
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
                "ACCELERATE_USE_CPU": "true",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        ends = [
            (process.communicate(timeout=WAIT_S)[1], process.returncode) for process in processes
        ]
    finally:
        for process in processes:
            process.kill()
    for stderr, code in ends:
        assert code == 0, stderr[-3000:]
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


def test_every_rank_draws_from_its_own_seed(told):
    one, other = (each["texts"] for each in told)
    assert len(one) == len(other)
    assert len(set(one) & set(other)) < len(set(one)) / 2


def test_steps_and_multipliers_are_those_of_all_replies(told):
    """One rank finds replies unhelpful (0.1), the other helpful (0.6): the mean is 0.35."""
    assert told[0]["curve"] == told[1]["curve"]
    for step in told[0]["curve"]:
        assert step["rewards"]["helpfulness"] == pytest.approx(0.35)
    weights = [step["weights"]["helpfulness"] for step in told[0]["curve"]]
    assert weights == pytest.approx([0.7 + number * 0.05 * (0.48 - 0.35) for number in range(4)])


def test_the_win_rate_that_stops_is_that_of_all_prompts(told):
    assert told[0]["win_rates"] == told[1]["win_rates"]
    assert told[0]["win_rates"][-1] == pytest.approx(told[0]["win_rate_alone"], abs=1e-6)


def test_the_first_rank_has_the_seed_that_was_given():
    assert seed_of_rank(5, 0) == 5
    assert len({seed_of_rank(5, rank) for rank in range(8)}) == 8
