"""Goal: /metrics tells what the registry holds, and answers as ever where the registry does not.

Method: an API over a registry of its own, whose file is taken away; a look that is held up by the
test; swaps of arms at times that the test sets.
"""

import asyncio
import threading
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.figures import Rollback
from models.live import promote, rollback
from models.registry import Registry
from serving import registry_meters
from serving.meters import NUM_SWAPS_MAX, Meters
from serving.registry_meters import REST, REST_S, RegistryMeters
from tests.serving.conftest import Place, StartApi
from tests.serving.fakes import register
from tests.verdicts import said
from tests.waiting import WAIT_S, wait_for


def told(text: str | bytes) -> dict[tuple[str, ...], float]:
    """Each sample by its name and its labels' values, in the order of the labels' names."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(
            text if isinstance(text, str) else text.decode()
        )
        for sample in family.samples
    }


@pytest.fixture
def judged(live: Place) -> Place:
    """A policy that gates judged and a reward model that is in use."""
    registry = live.registry
    love = register(registry, "love", text="love", kind="reward")
    registry.move_alias("love", "champion", 1, expected=None, why="a test", who="tester")
    assert love.measures == {}  # An older program's: no calibration error is on record.
    registry.move_alias("chat", "champion", 2, expected=None, why="a test", who="tester")
    for gate, ruling in [
        ("reward_hacking", "passed"),
        ("style", "refused"),
        ("safety", "undecided"),
    ]:
        registry.record_verdict("chat", 2, said(gate, ruling, kl_nats=3.25))
    return live


def test_a_scrape_tells_what_the_registry_holds(start: StartApi, judged: Place):
    found = told(start(judged.room()).get("/metrics").text)
    expected = {
        ("rluf_registry_up",): 1,
        ("rluf_registry_alias_info", "champion", "chat", "v2"): 1,
        ("rluf_registry_alias_info", "champion", "love", "v1"): 1,
        ("rluf_policy_kl_nats", "chat", "v2"): 3.25,
        ("rluf_promotion_decisions_total", "reward_hacking", "passed"): 1,
        ("rluf_promotion_decisions_total", "style", "refused"): 1,
        ("rluf_promotion_decisions_total", "safety", "undecided"): 1,
    }
    assert expected.items() <= found.items()
    assert not any(name[0] == "rluf_reward_model_ece_ratio" for name in found)
    assert ("rluf_model_info", "champion", "chat", "v1") in found  # What serves stays apart.


def test_a_registry_that_is_gone_breaks_no_scrape_and_leaves_the_last_values(judged: Place):
    meters = RegistryMeters(judged.registry, judged.meters)
    meters.look()
    before = told(meters.text())
    judged.registry.close()
    (judged.root / "registry.db").unlink()
    meters.look()
    assert told(meters.text()) == before | {("rluf_registry_up",): 0}


def test_an_api_without_a_registry_still_tells_its_own_meters(start: StartApi, live: Place):
    api = start()
    live.registry.close()
    (live.root / "registry.db").unlink()
    response = api.get("/metrics")
    assert response.status_code == 200
    found = told(response.text)
    assert found["rluf_registry_up",] == 0
    assert ("rluf_broker_up",) in found


class Held(RegistryMeters):
    """Looks that wait until the test lets them go."""

    def __init__(self, registry: Registry, clock_s: list[float]) -> None:
        super().__init__(registry, Meters(), clock=lambda: clock_s[0])
        self.gate = threading.Event()
        self.num_looks = 0

    def look(self) -> None:
        self.num_looks += 1
        assert self.gate.wait(WAIT_S), "the test never opened the gate"
        super().look()


def test_a_slow_registry_is_not_waited_for_and_not_asked_twice(live: Place, monkeypatch):
    monkeypatch.setattr(registry_meters, "WAIT_S", 0.01)
    held = Held(live.registry, [0.0])

    async def scrape_thrice() -> None:
        for _ in range(3):
            await held.refresh()
            assert told(held.text()) == {("rluf_registry_up",): 0}
        held.gate.set()
        await held.refresh()

    asyncio.run(scrape_thrice())
    assert held.num_looks == 1
    assert told(held.text())["rluf_registry_up",] == 1


def test_between_looks_it_rests_and_longer_after_a_slow_one(live: Place):
    clock_s = [100.0]
    held = Held(live.registry, clock_s)
    held.gate.set()

    async def looks_at(*times_s: float) -> list[int]:
        seen = []
        for clock_s[0] in times_s:
            await held.refresh()
            seen.append(held.num_looks)
        return seen

    assert asyncio.run(looks_at(100, 100 + REST_S - 1, 100 + REST_S)) == [1, 1, 2]
    clock_s[0] = 200.0
    started = iter([200.0, 210.0])
    held._clock = lambda: next(started)
    RegistryMeters.look(held)
    held._clock = lambda: clock_s[0]
    assert asyncio.run(looks_at(210 + 10 * REST - 1, 210 + 10 * REST)) == [2, 3]


def gone_back(at_s: float, *, revision: int = 3, until_s: float | None = None) -> Rollback:
    """A rollback of chat to version 1."""
    return Rollback(
        name="chat",
        revision=revision,
        to_number=1,
        at=datetime.fromtimestamp(at_s, UTC),
        next_at=None if until_s is None else datetime.fromtimestamp(until_s, UTC),
    )


ONE = [("chat", "v1", "champion")]
TWO = [("chat", "v2", "champion")]


def timed(swaps, rollbacks):
    """How many rollbacks were observed, and the sum of their seconds; asked for again and again."""
    clock_s = [0.0]
    meters = Meters(clock=lambda: clock_s[0])
    for clock_s[0], policies in swaps:
        meters.show(policies)
        meters.time_rollbacks(rollbacks)
    meters.time_rollbacks(rollbacks)
    found = told(meters.text())
    return (
        found["rluf_rollback_duration_seconds_count",],
        found["rluf_rollback_duration_seconds_sum",],
    )


@pytest.mark.parametrize(
    ("swaps", "rollbacks", "observed"),
    [
        ([(100, TWO), (203, ONE)], [gone_back(200)], (1, 3)),
        ([(100, TWO), (203, ONE), (300, TWO), (400, ONE)], [gone_back(200)], (1, 3)),
        ([(100, TWO)], [gone_back(200)], (0, 0)),
        ([], [gone_back(200)], (0, 0)),
        ([(203, ONE)], [gone_back(200)], (0, 0)),  # It was started after.
        ([(100, TWO), (203, [*ONE, ("chat", "v2", "new")])], [gone_back(200)], (0, 0)),
        ([(100, TWO), (203, ONE)], [gone_back(200, until_s=202)], (0, 0)),  # Never served.
        (
            [(100, TWO), (203, ONE), (250, TWO), (305, ONE)],
            [gone_back(200, until_s=250), gone_back(300, revision=5)],
            (2, 8),
        ),
    ],
)
def test_a_rollback_takes_until_the_version_of_before_serves_alone(swaps, rollbacks, observed):
    assert timed(swaps, rollbacks) == observed


def test_swaps_are_remembered_in_bounds():
    many = [(100 + number, (ONE, TWO)[number % 2]) for number in range(3 * NUM_SWAPS_MAX)]
    assert timed([*many, (10_003, ONE)], [gone_back(10_000)]) == (1, 3)


def test_a_rollback_under_a_running_api_is_timed(start: StartApi, live: Place):
    registry = live.registry
    for number in (1, 2):
        promote(registry, "chat", number, who="tester", why="a test", force=True)
    api = start()
    rollback(registry, "chat", who="tester", why="it went wrong")
    name = ("rluf_rollback_duration_seconds_count",)
    live_version = ("rluf_model_info", "champion", "chat", "v1")
    wait_for(lambda: live_version in told(api.get("/metrics").text))
    meters = RegistryMeters(registry, live.meters)
    meters.look()
    found = told(live.meters.text())
    assert found[name] == 1
    assert 0 <= found["rluf_rollback_duration_seconds_sum",] < 20
