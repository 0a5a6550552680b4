"""Goal: facts are durable before anything is acknowledged, whatever is down meanwhile.

Method: the writer with a fake sink, fake dead-letter topic and fake consumer that write down what
happened in which order; the batch alone with a clock that we set.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from streams import writer as writer_module
from streams.codec import encode
from streams.config import StreamsConfig
from streams.errors import Unavailable
from streams.events import DeadLetter, Reaction
from streams.ledger import Chunk
from streams.pipeline import Facts, Record
from streams.writer import Batch, Writer

NOW = datetime(2026, 11, 23, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def reaction(number: int) -> bytes:
    event = Reaction(
        id=f"e{number}",
        source="/test",
        response_id="r1",
        user_id="u1",
        signal="love",
        action="add",
        occurred_at=NOW,
        known_at=NOW,
    )
    return encode(event)


@dataclass
class FakeEvent:
    """A stream event that notes when it is acknowledged."""

    value: Chunk
    steps: list[str]

    def ack(self) -> None:
        self.steps.append(f"ack {self.value.first}-{self.value.next}")


@dataclass
class World:
    """Everything around a writer, with dials for failure."""

    steps: list[str] = field(default_factory=list)
    stored: list[Facts] = field(default_factory=list)
    sink_failures: int = 0
    dead_letter_failures: int = 0
    next_offset: int = 0

    def append(self, facts: Facts) -> None:
        if self.sink_failures:
            self.sink_failures -= 1
            self.steps.append("sink is down")
            raise Unavailable("disk is full")
        self.stored.append(facts)
        self.steps.append(f"append {len(facts.reactions)}+{len(facts.dead_letters)}")

    async def send_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        if self.dead_letter_failures:
            self.dead_letter_failures -= 1
            self.steps.append("broker is down")
            raise Unavailable("no leader")
        self.steps.append(f"dead letters {len(letters)}")

    async def commit(self) -> None:
        self.steps.append("commit")

    def event(self, *values: bytes) -> FakeEvent:
        first = self.next_offset
        self.next_offset += len(values)
        records = [
            Record("rluf.reactions.v1", 0, first + i, NOW_MS, None, value, [])
            for i, value in enumerate(values)
        ]
        chunk = Chunk(
            records=records,
            first=first,
            next=self.next_offset,
            num_bytes=sum(map(len, values)),
            generation=1,
        )
        return FakeEvent(chunk, self.steps)


def written(
    world: World, act: Callable[[Writer], Awaitable[None]], *, linger_ms: int = 0
) -> Writer:
    """Let a writer run in `world` while `act` does what it does, then drain it."""

    async def run() -> Writer:
        writer = Writer(
            StreamsConfig(linger_ms=linger_ms),
            append=world.append,
            send_dead_letters=world.send_dead_letters,
            commit=world.commit,
        )
        running = asyncio.create_task(writer.run())
        await act(writer)
        drained = asyncio.create_task(writer.drain(10))
        await asyncio.wait({running, drained}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        running.cancel()
        assert await drained
        return writer

    return asyncio.run(run())


def putting(*events: FakeEvent) -> Callable[[Writer], Awaitable[None]]:
    async def act(writer: Writer) -> None:
        for event in events:
            writer.put(event)

    return act


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Retries without pause: the tests are about order."""
    monkeypatch.setattr(writer_module, "RETRY_S_MIN", 0.0)


def test_facts_are_durable_before_they_are_acknowledged_and_committed():
    world = World()
    written(world, putting(world.event(reaction(1), reaction(2))))
    assert world.steps == ["append 2+0", "ack 0-2", "commit"]


def test_a_malformed_record_is_dead_lettered_before_the_range_is_acknowledged():
    world = World()
    written(world, putting(world.event(reaction(1), b"{not json", reaction(2))))
    assert world.steps == ["append 2+1", "dead letters 1", "ack 0-3", "commit"]
    (letter,) = world.stored[0].dead_letters
    assert (letter.offset, letter.value, letter.reason) == (1, b"{not json", "malformed_json")


def test_while_the_sink_is_unavailable_nothing_is_acknowledged_and_nothing_dropped():
    world = World(sink_failures=5)
    written(world, putting(world.event(reaction(1))))
    assert world.steps == ["sink is down"] * 5 + ["append 1+0", "ack 0-1", "commit"]


def test_dead_letters_that_fail_are_sent_again_without_storing_the_facts_again():
    world = World(dead_letter_failures=2)
    written(world, putting(world.event(b"oops", reaction(1))))
    assert world.steps == [
        "append 1+1",
        "broker is down",
        "broker is down",
        "dead letters 1",
        "ack 0-2",
        "commit",
    ]


def test_a_retry_is_not_taken_for_a_duplicate_of_itself():
    world = World(sink_failures=1)
    written(world, putting(world.event(reaction(1))))
    assert [len(facts.reactions) for facts in world.stored] == [1]


def test_what_was_stored_is_known_as_a_duplicate_later():
    world = World()
    first, again = world.event(reaction(1)), world.event(reaction(1))

    async def act(writer: Writer) -> None:
        writer.put(first)
        await writer.drain(10)
        writer.put(again)

    written(world, act)
    assert [len(facts.reactions) for facts in world.stored] == [1]
    assert world.steps == ["append 1+0", "ack 0-1", "commit", "ack 1-2", "commit"]


def test_a_chunk_without_records_is_acknowledged_without_a_write():
    world = World()
    written(world, putting(world.event()))
    assert world.steps == ["ack 0-0", "commit"]


def test_what_the_sink_raises_otherwise_ends_the_writer():
    world = World()

    def broken(facts: Facts) -> None:
        raise RuntimeError("a bug")

    world.append = broken
    with pytest.raises(RuntimeError, match="a bug"):
        written(world, putting(world.event(reaction(1))))
    assert world.steps == []


def test_the_writer_says_since_when_it_waits():
    world = World(sink_failures=3)
    seen: list[float | None] = []

    async def act(writer: Writer) -> None:
        normal = world.append

        def append(facts: Facts) -> None:
            seen.append(writer.waits_since)
            normal(facts)

        writer._append = append
        writer.put(world.event(reaction(1)))

    writer = written(world, act)
    assert seen[0] is None
    assert all(since is not None for since in seen[1:])
    assert writer.waits_since is None


def test_chunks_that_come_within_the_linger_are_written_together():
    world = World()
    events = [world.event(reaction(i)) for i in range(3)]
    written(world, putting(*events), linger_ms=50)
    assert world.steps == ["append 3+0", "ack 0-1", "ack 1-2", "ack 2-3", "commit"]


def test_draining_does_not_linger():
    world = World()

    async def act(writer: Writer) -> None:
        writer.put(world.event(reaction(1)))
        assert await writer.drain(5)

    written(world, act, linger_ms=60_000)
    assert world.steps[0] == "append 1+0"


def test_draining_gives_up_when_the_sink_stays_away():
    world = World(sink_failures=10**9)

    async def act(writer: Writer) -> None:
        writer.put(world.event(reaction(1)))
        assert not await writer.drain(0.05)
        world.sink_failures = 0

    written(world, act)
    assert world.steps[-3:] == ["append 1+0", "ack 0-1", "commit"]


def test_what_is_dropped_is_never_written():
    world = World()

    async def act(writer: Writer) -> None:
        writer.put(world.event(reaction(1)))
        writer.drop()

    written(world, act, linger_ms=60_000)
    assert world.steps == []


def batch(**dials) -> Batch:
    return Batch(**{"linger_s": 0.2, "events_max": 10, "bytes_max": 1_000, **dials})


def test_a_batch_waits_for_company_as_long_as_it_may():
    gathered, world = batch(), World()
    assert gathered.wait_s(now=5.0) is None
    gathered.put(world.event(b"x"), now=5.0)
    gathered.put(world.event(b"x"), now=5.1)
    assert gathered.wait_s(now=5.1) == pytest.approx(0.1)
    assert gathered.wait_s(now=9.0) == 0.0


def test_a_batch_with_enough_events_or_bytes_waits_no_longer():
    world = World()
    by_events, by_bytes = batch(), batch()
    by_events.put(world.event(*[b"x"] * 10), now=0.0)
    by_bytes.put(world.event(b"x" * 1_000), now=0.0)
    assert (by_events.wait_s(now=0.0), by_bytes.wait_s(now=0.0)) == (0.0, 0.0)


def test_one_write_takes_no_more_than_it_may_but_always_one_chunk():
    gathered, world = batch(), World()
    events = [world.event(*[b"x"] * size) for size in (25, 4, 6, 1)]
    for event in events:
        gathered.put(event, now=0.0)
    assert gathered.take() == events[:1]
    assert gathered.take() == events[1:3]
    assert gathered.take() == events[3:]
    assert (gathered.take(), len(gathered)) == ([], 0)
