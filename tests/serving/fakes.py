"""Fakes for the serving room: a faulty producer, a voice without weights, a clock."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from models.arms import Arm
from models.artifacts import store_artifact
from models.chat import Chat
from models.errors import CorruptArtifact
from models.generation import Wish
from models.registry import Registry
from models.replies import Piece, Reply
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

    words: list[str] = field(default_factory=list)
    """The vocabulary: a token is a place in it."""

    def prompt_ids(self, chat: Chat) -> list[int]:
        if any(turn["content"] == "bad template" for turn in chat):
            raise BadChat("roles must alternate")
        said = [word for turn in chat for word in turn["content"].split()]
        start = len(self.words)
        self.words += said
        self.heard[start] = chat[-1]["content"]
        return list(range(start, len(self.words))) or [start]

    heard: dict[int, str] = field(default_factory=dict)
    """The last message of each prompt, by the prompt's first token."""

    def begin(self) -> "FakeReplies":
        return FakeReplies(self)

    def wait(self) -> None:
        if self.gate is not None:
            assert self.gate.wait(WAIT_S), "the test never opened the gate"
        time.sleep(self.step_s)

    def reply(self, wish: Wish) -> Reply:
        words = [self.name, "heard", *self.heard[wish.prompt[0]].split()]
        words += [f"seed{wish.seed}"] if wish.seed is not None else []
        kept = words[: wish.dials.max_new_tokens]
        top = tuple(
            SpeltToken(spelling=f"other{n}".encode(), logprob=-1.0 - n)
            for n in range(wish.dials.num_top)
        )
        return Reply(
            text=" ".join(kept),
            logprob=-0.5 * len(kept),
            prompt_tokens=len(wish.prompt),
            completion_tokens=len(kept),
            finish_reason="stop" if len(kept) == len(words) else "length",
            spelt=tuple(
                SpeltToken(
                    spelling=(word if index == 0 else f" {word}").encode(), logprob=-0.5, top=top
                )
                for index, word in enumerate(kept if wish.with_logprobs else ())
            ),
        )


@dataclass
class FakeReplies:
    """What a fake voice says, all of it in one step; streamed, a word a step."""

    voice: FakeVoice
    told: dict[Wish, Iterator[Piece | Reply]] = field(default_factory=dict)
    num_joined: int = 0

    @property
    def num_wishes(self) -> int:
        return len(self.told)

    def join(self, wishes: Sequence[Wish]) -> None:
        self.num_joined += sum(not wish.in_pieces for wish in wishes)
        for wish in wishes:
            self.told[wish] = self._speak(wish)

    def leave(self, wish: Wish) -> None:
        self.told.pop(wish, None)

    def step(self) -> list[tuple[Wish, Piece | Reply]]:
        voice = self.voice
        voice.threads.add(threading.current_thread().name)
        if self.num_joined:
            voice.batches.append(self.num_joined)
            self.num_joined = 0
        voice.wait()
        if any("crash" in voice.heard[wish.prompt[0]] for wish in self.told if not wish.in_pieces):
            raise RuntimeError("the model crashed")
        made = [(wish, next(words)) for wish, words in self.told.items()]
        self.told = {w: self.told[w] for w, one in made if not isinstance(one, Reply)}
        return [(wish, one) for wish, one in made if one != Piece("")]

    def split(self, groups: Sequence[Sequence[Wish]]) -> "list[FakeReplies]":
        return [
            FakeReplies(
                self.voice,
                {wish: self.told[wish] for wish in group},
                sum(not wish.in_pieces for wish in group),
            )
            for group in groups
        ]

    def _speak(self, wish: Wish) -> Iterator[Piece | Reply]:
        reply = self.voice.reply(wish)
        if not wish.in_pieces:
            yield _cut(reply, wish.stops)
            return
        cutter = StopCutter(wish.stops)
        for index, word in enumerate(reply.text.split(" ")):
            if word == "crash":
                raise RuntimeError("the model crashed")
            self.voice.num_pieces += 1
            spelt = reply.spelt[index : index + 1]
            text = cutter.feed(word if index == 0 else f" {word}", spelt)
            yield Piece(text, cutter.take_spelt(is_over=cutter.is_cut))
            if cutter.is_cut:
                reply = replace(reply, completion_tokens=index + 1)
                break
        yield Piece(cutter.end(), cutter.take_spelt(is_over=True))
        yield _cut(reply, wish.stops)


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
