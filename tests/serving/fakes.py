"""Fakes for the serving room: a faulty producer, a voice without weights, a clock."""

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from models.arms import Arm
from models.artifacts import store_artifact
from models.chat import Chat
from models.errors import CorruptArtifact
from models.policy import Piece, Reply
from models.registry import Registry
from models.sampling import Dials
from models.spelling import SpeltToken
from models.stops import StopCutter
from models.versions import Version
from serving.voice import BadChat, Voice
from streams.errors import BadEvent, Unavailable
from streams.events import Event, Reaction, Shown
from streams.kafka.producer import RecordPlace
from tests.waiting import WAIT_S, wait_for

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@dataclass
class FakeClock:
    """A clock that stands until it is moved."""

    at: datetime = NOON

    def __call__(self) -> datetime:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class FakeProducer:
    """Meets serving.recorder.EventProducer. Dials: `mode` up, down, silent or held."""

    mode: str = "up"
    event_bytes_max: int = 1_000_000
    events: list[Event] = field(default_factory=list)
    """Those that were acknowledged."""
    held: list[tuple[Event, "Future[RecordPlace]"]] = field(default_factory=list)
    num_sends: int = 0

    def send(self, event: Event) -> "Future[RecordPlace]":
        self.num_sends += 1
        if isinstance(event, Shown) and len(event.response) > self.event_bytes_max:
            raise BadEvent("too_large", "too large for this test")
        if self.mode == "down":
            raise Unavailable("no broker in this test")
        future: Future[RecordPlace] = Future()
        future.set_running_or_notify_cancel()
        if self.mode in ("silent", "held"):
            self.held.append((event, future))
            return future
        self._acknowledge(event, future)
        return future

    def release(self) -> None:
        """Acknowledge what is held."""
        while self.held:
            self._acknowledge(*self.held.pop(0))

    def _acknowledge(self, event: Event, future: "Future[RecordPlace]") -> None:
        self.events.append(event)
        future.set_result(RecordPlace("topic", 0, len(self.events) - 1))

    @property
    def shown(self) -> list[Shown]:
        return [event for event in self.events if isinstance(event, Shown)]

    @property
    def reactions(self) -> list[Reaction]:
        return [event for event in self.events if isinstance(event, Reaction)]


@dataclass
class FakeVoice:
    """A policy that says its name and the last message, one token a word."""

    name: str = "v1"
    context_tokens: int = 64
    step_s: float = 0.0
    """How long a batch takes, whatever its size."""
    gate: threading.Event | None = None
    """Where given, generation waits until it is set."""
    batches: list[int] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    num_pieces: int = 0

    def prompt_tokens(self, chat: Chat) -> int:
        if any(turn["content"] == "bad template" for turn in chat):
            raise BadChat("roles must alternate")
        return sum(len(turn["content"].split()) for turn in chat)

    def generate(
        self,
        chats: Sequence[Chat],
        dials: Dials,
        seeds: Sequence[int] | None,
        *,
        stops: Sequence[Sequence[str]],
        in_pieces: bool,
        with_logprobs: bool,
        left: set[int],
    ) -> Iterator[list[tuple[int, Piece | Reply]]]:
        self.threads.add(threading.current_thread().name)
        if in_pieces:
            seed = seeds[0] if seeds is not None else None
            yield from self._speak(
                self._reply(chats[0], dials, seed, with_logprobs), stops[0], left
            )
            return
        self.batches.append(len(chats))
        self._wait()
        if any(chat[-1]["content"] == "crash" for chat in chats):
            raise RuntimeError("the model crashed")
        replies = [
            self._reply(chat, dials, seeds[row] if seeds is not None else None, with_logprobs)
            for row, chat in enumerate(chats)
        ]
        yield [(n, _cut(reply, stops[n])) for n, reply in enumerate(replies) if n not in left]

    def _speak(
        self, reply: Reply, stops: Sequence[str], left: Collection[int]
    ) -> Iterator[list[tuple[int, Piece | Reply]]]:
        cutter = StopCutter(stops)
        for index, word in enumerate(reply.text.split(" ")):
            if 0 in left:
                return
            self._wait()
            if word == "crash":
                raise RuntimeError("the model crashed")
            self.num_pieces += 1
            spelt = reply.spelt[index : index + 1]
            text = cutter.feed(word if index == 0 else f" {word}", spelt)
            yield [(0, Piece(text, cutter.take_spelt(is_over=cutter.is_cut)))] if text else []
            if cutter.is_cut:
                reply = replace(reply, completion_tokens=index + 1)
                break
        last = cutter.end()
        yield [(0, Piece(last, cutter.take_spelt(is_over=True)))] if last else []
        yield [(0, _cut(reply, stops))]

    def _wait(self) -> None:
        if self.gate is not None:
            assert self.gate.wait(WAIT_S), "the test never opened the gate"
        time.sleep(self.step_s)

    def _reply(self, chat: Chat, dials: Dials, seed: int | None, with_logprobs: bool) -> Reply:
        words = [self.name, "heard", *chat[-1]["content"].split()]
        words += [f"seed{seed}"] if seed is not None else []
        kept = words[: dials.max_new_tokens]
        top = tuple(
            SpeltToken(spelling=f"other{n}".encode(), logprob=-1.0 - n)
            for n in range(dials.num_top)
        )
        return Reply(
            text=" ".join(kept),
            logprob=-0.5 * len(kept),
            prompt_tokens=self.prompt_tokens(chat),
            completion_tokens=len(kept),
            finish_reason="stop" if len(kept) == len(words) else "length",
            spelt=tuple(
                SpeltToken(
                    spelling=(word if index == 0 else f" {word}").encode(), logprob=-0.5, top=top
                )
                for index, word in enumerate(kept if with_logprobs else ())
            ),
        )


def _cut(reply: Reply, stops: Sequence[str]) -> Reply:
    cutter = StopCutter(stops)
    cutter.feed(reply.text, reply.spelt)
    cutter.end()
    spelt = cutter.take_spelt(is_over=True)
    if not cutter.is_cut:
        return reply
    return replace(reply, text=cutter.text, spelt=spelt, is_cut=True, finish_reason="stop")


@dataclass
class FakeLoader:
    """Loads fake voices; refuses versions that a test declares broken."""

    broken: dict[int, str] = field(default_factory=dict)
    voices: dict[int, FakeVoice] = field(default_factory=dict)
    loads: list[int] = field(default_factory=list)
    context_tokens: int = 64

    def __call__(self, version: Version) -> Voice:
        self.loads.append(version.number)
        if version.number in self.broken:
            raise CorruptArtifact(self.broken[version.number])
        voice = FakeVoice(name=f"v{version.number}", context_tokens=self.context_tokens)
        return self.voices.setdefault(version.number, voice)


def register(registry: Registry, name: str = "chat", *, text: str, kind: str = "policy") -> Version:
    """Register a version whose artifact is one small file."""
    source = registry.root / "made" / f"{name}-{text}"
    source.mkdir(parents=True, exist_ok=True)
    (source / "config.json").write_text(text)
    artifact = store_artifact(registry.root, name, source)
    return registry.register(
        name, artifact=artifact, kind=kind, config_hash="c" * 64, snapshot_hash=None, recipe=text
    )


def set_arms(
    registry: Registry, shares: Sequence[tuple[str, int, float]], why: str = "a test"
) -> None:
    """Make these (arm, version, share) live."""
    registry.set_arms(
        "chat",
        [Arm(name=name, version=number, share=share) for name, number, share in shares],
        experiment="weights-2026-11",
        why=why,
        who="tester",
    )


def damage(path: Path) -> None:
    """Change a byte of an artifact's first file."""
    file = next(item for item in sorted(path.rglob("*")) if item.is_file())
    file.write_bytes(b"x" + file.read_bytes())


wait_until = wait_for
