"""Goal: of those who change the same thing at once exactly one wins, and nothing is lost.

Method: threads of one registry and processes of their own, made to start together by a barrier, on
SQLite and PostgreSQL; afterwards the history must be one unbroken chain.
"""

import threading
from pathlib import Path

from models.arms import Arm
from models.errors import Conflict
from models.registry import Registry
from tests.models.conftest import Opened, register
from tests.models.crowd import SIZE, Crowd
from tests.models.hammer import enter_alone, race_for_alias, register_the_same
from tests.waiting import WAIT_S

ROUNDS = 12


def test_of_processes_promoting_at_once_one_wins_each_round(
    url: str, home: Path, opened: Opened, crowd: Crowd
) -> None:
    registry = opened(url)
    register(registry, "chat", 2 * SIZE)
    won = crowd.run(race_for_alias, lambda worker: (url, home, 2 * worker + 1, ROUNDS))
    assert sorted(round_ for rounds in won for round_ in rounds) == list(range(ROUNDS))
    _assert_one_chain(registry, ROUNDS)


def test_of_threads_promoting_at_once_one_wins_each_round(url: str, opened: Opened) -> None:
    registry = opened(url)
    register(registry, "chat", 2 * SIZE)
    start = threading.Barrier(SIZE, timeout=WAIT_S)
    won: list[int] = []

    def race(worker: int) -> None:
        for round_ in range(ROUNDS):
            seen = registry.alias("chat", "champion")
            mine = worker if seen != worker else worker + 1
            start.wait()
            try:
                registry.move_alias(
                    "chat", "champion", mine, expected=seen, why="race", who=str(worker)
                )
                won.append(round_)
            except Conflict:
                pass
            start.wait()

    threads = [threading.Thread(target=race, args=(2 * i + 1,)) for i in range(SIZE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(won) == list(range(ROUNDS))
    _assert_one_chain(registry, ROUNDS)


def test_the_same_registered_by_many_at_once_is_one_version(
    url: str, home: Path, opened: Opened, crowd: Crowd
) -> None:
    numbers = crowd.run(register_the_same, lambda _: (url, home, ROUNDS))
    assert numbers == [list(range(1, ROUNDS + 1))] * SIZE
    assert [v.number for v in opened(url).versions("love")] == list(range(1, ROUNDS + 1))


def test_two_processes_never_hold_a_lease_at_once(url: str, home: Path, crowd: Crowd) -> None:
    assert crowd.run(enter_alone, lambda _: (url, home, 5)) == [0] * SIZE


def test_arms_set_by_many_threads_are_all_in_the_history(url: str, opened: Opened) -> None:
    registry = opened(url)
    register(registry, "chat", SIZE)

    def divide(worker: int) -> None:
        arms = [Arm(name="all", version=worker, share=1.0)]
        for _ in range(ROUNDS):
            registry.set_arms("chat", arms, experiment="", why="race", who=str(worker))

    threads = [threading.Thread(target=divide, args=(i + 1,)) for i in range(SIZE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    divisions = registry.arm_history("chat")
    assert [d.revision for d in divisions] == list(range(1, SIZE * ROUNDS + 1))
    assert registry.arms("chat") == divisions[-1]


def _assert_one_chain(registry: Registry, length: int) -> None:
    moves = registry.history("chat")
    assert len(moves) == length
    assert [move.revision for move in moves] == list(range(1, length + 1))
    assert [move.from_number for move in moves[1:]] == [move.to_number for move in moves[:-1]]
    assert registry.alias("chat", "champion") == moves[-1].to_number
