"""One inference thread, many requests: replies asked for at the same time are generated together.

A small model on a CPU takes nearly as long for one reply as for thirty, so company is worth a few
milliseconds of waiting. Only requests with equal sampling settings share a batch; one with a seed
goes alone, so that its reply does not depend on its neighbours. Streamed replies take turns with
batches, a few pieces each.

All state lives on the event loop; the thread only runs the model. So nothing here needs a lock.
"""

# N rows of one batch

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from models.chat import Chat
from models.policy import Reply
from serving.config import ServingConfig
from serving.errors import ApiError, BadRequest, Busy, ContextTooLong, NotReady
from serving.meters import Meters
from serving.voice import BadChat, Voice

logger = logging.getLogger(__name__)

SEED_RANGE = 2**63
"""torch's generators take seeds of 64 bits; ours are kept positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What to generate."""

    chat: Chat
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int | None = None
    num_choices: int = 1


@dataclass(slots=True, eq=False)
class Job:
    """An ask that waits for its replies."""

    voice: Voice
    ask: Ask
    replies: asyncio.Future[list[Reply]]

    def can_join(self, other: "Job") -> bool:
        """Whether both may be generated in one call of the model."""
        mine, its = self.ask, other.ask
        return (
            self.voice is other.voice
            and mine.seed is None
            and its.seed is None
            and mine.max_new_tokens == its.max_new_tokens
            and mine.temperature == its.temperature
            and mine.top_p == its.top_p
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream's first item: the prompt fits and generation has begun."""

    prompt_tokens: int


Piece: TypeAlias = Opened | str | Reply


@dataclass(slots=True, eq=False)
class Stream:
    """A reply under way; what came of it so far waits in `out` for its reader."""

    pieces: Iterator[Piece]
    out: asyncio.Queue[Piece | ApiError] = field(default_factory=asyncio.Queue)
    is_left: bool = False
    """The reader went away: stop generating."""


class Batcher:
    """Queues asks, batches them, and runs them on the inference thread."""

    def __init__(self, config: ServingConfig, meters: Meters) -> None:
        self._config = config
        self._meters = meters
        self._waiting: deque[Job] = deque()
        self._streams: list[Stream] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rluf-inference")
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self.fault = ""
        """Why the batcher died, if it did; nothing but a mistake of ours brings that about."""

    def start(self) -> None:
        """Begin to answer. Called on the event loop that will ask."""
        self._task = asyncio.create_task(self._run(), name="rluf-batcher")
        self._task.add_done_callback(self._on_end)

    async def stop(self) -> None:
        """Let the batch that runs finish, and refuse whatever waits."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task})
        self._refuse_waiting("the service is stopping")
        await asyncio.to_thread(self._thread.shutdown)

    async def reply(self, voice: Voice, ask: Ask) -> list[Reply]:
        """Give `num_choices` replies.

        Raises Busy, NotReady (too slow, or stopping), ContextTooLong; ApiError where the model
        fails.
        """
        self._make_sure_there_is_room()
        job = Job(voice, ask, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._meters.queue.set(len(self._waiting))
        self._wake.set()
        try:
            async with asyncio.timeout(self._config.reply_timeout_s):
                return await job.replies
        except TimeoutError:
            raise self._too_slow() from None

    async def stream(self, voice: Voice, ask: Ask) -> AsyncGenerator[Piece, None]:
        """Give pieces of text as they are made, then the whole reply. Raises as `reply` does."""
        self._make_sure_there_is_room()
        stream = Stream(_speak(voice, ask))
        self._streams.append(stream)
        self._wake.set()
        try:
            while True:
                piece = await asyncio.wait_for(stream.out.get(), self._config.reply_timeout_s)
                if isinstance(piece, ApiError):
                    raise piece
                yield piece
                if isinstance(piece, Reply):
                    return
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            stream.is_left = True

    async def _run(self) -> None:
        while not self._is_stopping:
            if not self._waiting and not self._streams:
                self._wake.clear()
                await self._wake.wait()
            if self._waiting and not self._is_stopping:
                if not self._streams:
                    await self._wait_for_company()
                await self._answer(self._take_batch())
            for stream in list(self._streams):
                await self._advance(stream)

    async def _wait_for_company(self) -> None:
        """Wait as long as others keep coming, but not beyond the limit."""
        loop = asyncio.get_running_loop()
        pause_s = self._config.batch_wait_ms / 4_000
        deadline = loop.time() + self._config.batch_wait_ms / 1_000
        seen = 0
        while seen < len(self._waiting) < self._config.batch_max and loop.time() < deadline:
            seen = len(self._waiting)
            await asyncio.sleep(pause_s)

    def _take_batch(self) -> list[Job]:
        """Take the oldest job and every one that may join it, as many as fit."""
        batch: list[Job] = []
        left: deque[Job] = deque()
        rows = 0
        for job in self._waiting:
            if job.replies.done():
                continue  # Its request was given up.
            num_choices = job.ask.num_choices
            fits = not batch or (
                rows + num_choices <= self._config.batch_max and batch[0].can_join(job)
            )
            if fits:
                batch.append(job)
                rows += num_choices
            else:
                left.append(job)
        self._waiting = left
        self._meters.queue.set(len(left))
        return batch

    async def _answer(self, batch: Sequence[Job]) -> None:
        """Generate a batch; where it fails as a whole, each job alone, to spare its neighbours."""
        if not batch:
            return
        loop = asyncio.get_running_loop()
        started = loop.time()
        work = loop.run_in_executor(self._thread, _generate, batch)
        await asyncio.wait({work})
        error = work.exception()
        if error is not None and len(batch) > 1:
            logger.warning("batch failed, trying its jobs alone", exc_info=error)
            for job in batch:
                await self._answer([job])
            return
        if error is not None:
            _settle(batch[0], _failed(error))
            return
        self._meters.generation.observe(loop.time() - started)
        self._meters.batch_size.observe(sum(job.ask.num_choices for job in batch))
        for job, outcome in zip(batch, work.result(), strict=True):
            _settle(job, outcome)

    async def _advance(self, stream: Stream) -> None:
        if stream.is_left:
            self._streams.remove(stream)
            return
        loop = asyncio.get_running_loop()
        num_pieces = self._config.stream_pieces
        work = loop.run_in_executor(self._thread, _next_pieces, stream.pieces, num_pieces)
        await asyncio.wait({work})
        error = work.exception()
        if error is not None:
            self._streams.remove(stream)
            stream.out.put_nowait(error if isinstance(error, ApiError) else _failed(error))
            return
        for piece in work.result():
            stream.out.put_nowait(piece)
            if isinstance(piece, Reply):
                self._streams.remove(stream)

    def _make_sure_there_is_room(self) -> None:
        if self._task is None or self._task.done() or self._is_stopping:
            raise NotReady(
                f"the engine is not running {self.fault}".rstrip(),
                code="engine_not_running",
                retry_after_s=self._config.retry_after_s,
            )
        if len(self._waiting) + len(self._streams) >= self._config.queue_max:
            raise Busy(
                f"{self._config.queue_max} requests are waiting already; retry after "
                f"{self._config.retry_after_s} s",
                code="queue_full",
                retry_after_s=self._config.retry_after_s,
            )

    def _too_slow(self) -> NotReady:
        return NotReady(
            f"no reply within {self._config.reply_timeout_s:g} s",
            code="reply_timeout",
            retry_after_s=self._config.retry_after_s,
        )

    def _refuse_waiting(self, why: str) -> None:
        error = NotReady(why, retry_after_s=self._config.retry_after_s)
        for job in self._waiting:
            _settle(job, error)
        for stream in self._streams:
            stream.out.put_nowait(error)
        self._waiting.clear()
        self._streams.clear()

    def _on_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self.fault = repr(error)
        logger.critical("the batcher died", exc_info=error)
        self._refuse_waiting("the engine failed")


def _failed(error: BaseException) -> ApiError:
    """Log a fault of the model, and give what its client may know of it."""
    logger.error("generation failed", exc_info=error)
    return ApiError("the policy failed to answer; the fault is logged", code="generation_failed")


def _settle(job: Job, outcome: list[Reply] | ApiError) -> None:
    if job.replies.done():
        return
    if isinstance(outcome, ApiError):
        job.replies.set_exception(outcome)
    else:
        job.replies.set_result(outcome)


def _generate(batch: Sequence[Job]) -> list[list[Reply] | ApiError]:
    """On the inference thread: each job's replies, or why its prompt cannot be answered."""
    outcomes: dict[int, list[Reply] | ApiError] = {}
    by_length: dict[int, list[int]] = {}
    for index, job in enumerate(batch):
        try:
            prompt_tokens = _prompt_tokens(job.voice, job.ask.chat)
            room = _room(job.voice, job.ask, prompt_tokens)
        except ApiError as error:
            outcomes[index] = error
        else:
            by_length.setdefault(room, []).append(index)
    for max_new_tokens, indices in by_length.items():
        jobs = [batch[index] for index in indices]
        first = jobs[0].ask
        replies = jobs[0].voice.reply(
            [job.ask.chat for job in jobs for _ in range(job.ask.num_choices)],
            max_new_tokens=max_new_tokens,
            temperature=first.temperature,
            top_p=first.top_p,
            seeds=_seeds(first),
        )
        rows = iter(replies)
        for index, job in zip(indices, jobs, strict=True):
            outcomes[index] = list(islice(rows, job.ask.num_choices))
    return [outcomes[index] for index in range(len(batch))]


def _speak(voice: Voice, ask: Ask) -> Iterator[Piece]:
    """On the inference thread: the pieces of one reply."""
    prompt_tokens = _prompt_tokens(voice, ask.chat)
    max_new_tokens = _room(voice, ask, prompt_tokens)
    yield Opened(prompt_tokens)
    yield from voice.stream(
        ask.chat,
        max_new_tokens=max_new_tokens,
        temperature=ask.temperature,
        top_p=ask.top_p,
        seed=None if ask.seed is None else ask.seed % SEED_RANGE,
    )


def _next_pieces(pieces: Iterator[Piece], num: int) -> list[Piece]:
    return list(islice(pieces, num))


def _prompt_tokens(voice: Voice, chat: Chat) -> int:
    """Give the prompt's length. Raises BadRequest where the template refuses the chat."""
    try:
        return voice.prompt_tokens(chat)
    except BadChat as error:
        raise BadRequest(
            f"the policy's chat template does not take these messages: {error}", param="messages"
        ) from error


def _room(voice: Voice, ask: Ask, prompt_tokens: int) -> int:
    """Give the tokens that the reply may have: what was asked for, or what the context leaves.

    Raises ContextTooLong where it leaves none.
    """
    room = voice.context_tokens - prompt_tokens
    if room < 1:
        raise ContextTooLong(
            f"This model's maximum context length is {voice.context_tokens} tokens. However, your "
            f"messages resulted in {prompt_tokens} tokens. Please reduce the length of the "
            "messages.",
            param="messages",
            code="context_length_exceeded",
        )
    return min(ask.max_new_tokens, room)


def _seeds(ask: Ask) -> list[int] | None:
    """Give one seed for each choice, so that choices differ and the request repeats."""
    if ask.seed is None:
        return None
    return [(ask.seed + choice) % SEED_RANGE for choice in range(ask.num_choices)]
