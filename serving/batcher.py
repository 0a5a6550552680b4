"""One inference thread, many requests: replies asked for at the same time are generated together.

A small model on a CPU takes nearly as long for one reply as for thirty, so company is worth a few
milliseconds of waiting. Only requests with equal sampling settings share a batch; one with a seed
goes alone, so that its reply does not depend on its neighbours. Batches and streamed replies take
turns, a few tokens each; who is answered, or goes away, leaves at once, and the places of those
who went away are given to others that wait.

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
from models.policy import Piece, Reply
from models.sampling import Dials
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
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    num_top: int | None = None
    """The likeliest tokens that are told beside each token; None tells no log-probabilities."""
    seed: int | None = None
    num_choices: int = 1
    stops: tuple[str, ...] = ()

    def dials(self, room: int) -> Dials:
        """Give the sampler's settings, where the context leaves this many tokens."""
        return Dials(
            max_new_tokens=min(self.max_new_tokens, room),
            temperature=self.temperature,
            top_p=self.top_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            num_top=self.num_top or 0,
        )

    def seeds(self) -> list[int] | None:
        """Give one seed for each choice, so that choices differ and the request repeats."""
        if self.seed is None:
            return None
        return [(self.seed + choice) % SEED_RANGE for choice in range(self.num_choices)]


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream's first item: the prompt fits and generation has begun."""

    prompt_tokens: int


Made: TypeAlias = Opened | Piece | Reply


@dataclass(slots=True, eq=False)
class Job:
    """An ask under way; what came of it so far waits in `out` for its reader."""

    voice: Voice
    ask: Ask
    in_pieces: bool
    out: asyncio.Queue[tuple[int, Made] | ApiError] = field(default_factory=asyncio.Queue)
    """What was made, with the choice that it belongs to."""
    replies: dict[int, Reply] = field(default_factory=dict)
    """Those of the choices that are at their end."""
    is_left: bool = False
    """The reader went away: nothing more is generated for it."""

    def can_join(self, other: "Job") -> bool:
        """Whether both may be generated in one call of the model."""
        mine, its = self.ask, other.ask
        return (
            self.voice is other.voice
            and mine.seed is None
            and its.seed is None
            and mine.num_top == its.num_top
            and mine.dials(SEED_RANGE) == its.dials(SEED_RANGE)
        )

    def take(self, choice: int, made: Made) -> None:
        if isinstance(made, Reply):
            self.replies[choice] = made
        self.out.put_nowait((choice, made))

    @property
    def is_over(self) -> bool:
        return self.is_left or len(self.replies) == self.ask.num_choices


@dataclass(slots=True, eq=False)
class Run:
    """Jobs that are being generated together."""

    jobs: list[Job]
    steps: Iterator[list[tuple[int, Piece | Reply]]]
    left: set[int]
    """Rows whose readers went away; the generator of `steps` looks at it before each token."""
    started_s: float

    @property
    def in_pieces(self) -> bool:
        return self.jobs[0].in_pieces

    def rows(self) -> list[tuple[Job, int]]:
        """Give the job and the choice of each row."""
        return [(job, choice) for job in self.jobs for choice in range(job.ask.num_choices)]


class Batcher:
    """Queues asks, batches them, and runs them on the inference thread."""

    def __init__(self, config: ServingConfig, meters: Meters) -> None:
        self._config = config
        self._meters = meters
        self._waiting: deque[Job] = deque()
        self._runs: list[Run] = []
        self._num_freed = 0
        """Rows of running batches whose readers went away and that nobody else has taken yet."""
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
        """Let the batches that run finish, and refuse whatever waits."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task})
        self._refuse_all("the service is stopping")
        await asyncio.to_thread(self._thread.shutdown)

    async def reply(self, voice: Voice, ask: Ask) -> list[Reply]:
        """Give `num_choices` replies. Cancelled, nothing more is generated for it.

        Raises Busy, NotReady (too slow, or stopping), ContextTooLong; ApiError where the model
        fails.
        """
        job = self._enter(Job(voice, ask, in_pieces=False))
        try:
            async with asyncio.timeout(self._config.reply_timeout_s):
                while not job.is_over:
                    await self._next_of(job)
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            self._leave(job)
        return [job.replies[choice] for choice in range(ask.num_choices)]

    async def stream(self, voice: Voice, ask: Ask) -> AsyncGenerator[Made, None]:
        """Give pieces of text as they are made, then the whole reply. Raises as `reply` does."""
        job = self._enter(Job(voice, ask, in_pieces=True))
        try:
            while True:
                _, made = await asyncio.wait_for(self._next_of(job), self._config.reply_timeout_s)
                yield made
                if isinstance(made, Reply):
                    return
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            self._leave(job)

    def _enter(self, job: Job) -> Job:
        self._make_sure_there_is_room()
        self._waiting.append(job)
        self._meters.queue.set(len(self._waiting))
        self._wake.set()
        return job

    @staticmethod
    async def _next_of(job: Job) -> tuple[int, Made]:
        found = await job.out.get()
        if isinstance(found, ApiError):
            raise found
        return found

    def _leave(self, job: Job) -> None:
        """Take a job out, wherever it is; nothing happens where it is at its end."""
        if job.is_over:
            return
        job.is_left = True
        if job in self._waiting:
            self._waiting.remove(job)
            self._meters.queue.set(len(self._waiting))
            self._meters.left.labels("queue").inc()
            return
        for run in self._runs:
            if job in run.jobs:
                rows = {
                    row
                    for row, (other, choice) in enumerate(run.rows())
                    if other is job and choice not in job.replies
                }
                run.left |= rows
                self._num_freed += 0 if run.in_pieces else len(rows)
                self._meters.left.labels("batch").inc()

    async def _run(self) -> None:
        while self._runs or not self._is_stopping:
            if not self._is_stopping:
                await self._admit()
            elif not any(not run.in_pieces for run in self._runs):
                return  # Streams are not waited for.
            for run in list(self._runs):
                await self._advance(run)

    async def _admit(self) -> None:
        """Begin what may begin: every stream, and a batch where none runs or places were freed."""
        if not self._waiting and not self._runs:
            self._wake.clear()
            await self._wake.wait()
        if self._is_stopping:
            return
        if not self._runs and not any(job.in_pieces for job in self._waiting):
            await self._wait_for_company()
        for job in [job for job in self._waiting if job.in_pieces]:
            self._waiting.remove(job)
            await self._begin([job])
        if all(run.in_pieces for run in self._runs):
            self._num_freed = 0
            await self._begin(self._take_batch(self._config.batch_max, at_least_one=True))
        elif self._num_freed > 0:
            batch = self._take_batch(self._num_freed, at_least_one=False)
            self._num_freed -= sum(job.ask.num_choices for job in batch)
            await self._begin(batch)
        self._meters.queue.set(len(self._waiting))

    async def _wait_for_company(self) -> None:
        """Wait as long as others keep coming, but not beyond the limit."""
        loop = asyncio.get_running_loop()
        pause_s = self._config.batch_wait_ms / 4_000
        deadline = loop.time() + self._config.batch_wait_ms / 1_000
        seen = 0
        while seen < len(self._waiting) < self._config.batch_max and loop.time() < deadline:
            seen = len(self._waiting)
            await asyncio.sleep(pause_s)

    def _take_batch(self, rows_max: int, *, at_least_one: bool) -> list[Job]:
        """Take the oldest job and every one that may join it, as many as fit."""
        batch: list[Job] = []
        kept: deque[Job] = deque()
        rows = 0
        for job in self._waiting:
            fits = not job.in_pieces and rows + job.ask.num_choices <= rows_max
            if batch:
                fits = fits and batch[0].can_join(job)
            elif at_least_one:
                fits = not job.in_pieces
            if fits:
                batch.append(job)
                rows += job.ask.num_choices
            else:
                kept.append(job)
        self._waiting = kept
        return batch

    async def _begin(self, jobs: Sequence[Job]) -> None:
        """Look at the prompts in the thread, refuse those that do not fit, and line up the rest."""
        if not jobs:
            return
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        runs = [Run(list(jobs), iter(()), set(), started_s)]
        self._runs += runs  # Who leaves meanwhile must be found.
        work = loop.run_in_executor(self._thread, _open, jobs)
        await asyncio.wait({work})
        self._runs.remove(runs[0])
        error = work.exception()
        if error is not None:
            failed = _failed(error)
            for job in jobs:
                job.out.put_nowait(failed)
            return
        by_room: dict[int, list[Job]] = {}
        for job, found in zip(jobs, work.result(), strict=True):
            if job.is_left:
                continue
            if isinstance(found, ApiError):
                job.out.put_nowait(found)
                continue
            prompt_tokens, room = found
            by_room.setdefault(job.ask.dials(room).max_new_tokens, []).append(job)
            if job.in_pieces:
                job.take(0, Opened(prompt_tokens))
        self._runs += [_make_run(group, room, started_s) for room, group in by_room.items()]

    async def _advance(self, run: Run) -> None:
        """Generate a few tokens more of a run; where it fails, each job alone, to spare others."""
        loop = asyncio.get_running_loop()
        num = self._config.stream_pieces
        work = loop.run_in_executor(self._thread, _next_steps, run.steps, num)
        await asyncio.wait({work})
        error = work.exception()
        if error is not None:
            self._runs.remove(run)
            await self._on_failure([job for job in run.jobs if not job.is_over], error)
            return
        steps = work.result()
        rows = run.rows()
        for step in steps:
            for row, made in step:
                job, choice = rows[row]
                job.take(choice, made)
        if len(steps) < num or all(job.is_over for job in run.jobs):
            self._runs.remove(run)
            if not run.in_pieces:
                self._meters.generation.observe(loop.time() - run.started_s)
                self._meters.batch_size.observe(len(rows))

    async def _on_failure(self, jobs: Sequence[Job], error: BaseException) -> None:
        if len(jobs) == 1:
            jobs[0].out.put_nowait(_failed(error))
        elif jobs:
            logger.warning("batch failed, trying its jobs alone", exc_info=error)
            for job in jobs:
                job.replies.clear()
                await self._begin([job])

    def _make_sure_there_is_room(self) -> None:
        if self._task is None or self._task.done() or self._is_stopping:
            raise NotReady(
                f"the engine is not running {self.fault}".rstrip(),
                code="engine_not_running",
                retry_after_s=self._config.retry_after_s,
            )
        num_streams = sum(run.in_pieces for run in self._runs)
        if len(self._waiting) + num_streams >= self._config.queue_max:
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

    def _refuse_all(self, why: str) -> None:
        error = NotReady(why, retry_after_s=self._config.retry_after_s)
        for job in [*self._waiting, *(job for run in self._runs for job in run.jobs)]:
            if not job.is_over:
                job.out.put_nowait(error)
        self._waiting.clear()
        self._runs.clear()

    def _on_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self.fault = repr(error)
        logger.critical("the batcher died", exc_info=error)
        self._refuse_all("the engine failed")


def _failed(error: BaseException) -> ApiError:
    """Log a fault of the model, and give what its client may know of it."""
    logger.error("generation failed", exc_info=error)
    return ApiError("the policy failed to answer; the fault is logged", code="generation_failed")


def _make_run(jobs: list[Job], room: int, started_s: float) -> Run:
    first = jobs[0]
    left: set[int] = set()
    steps = first.voice.generate(
        [job.ask.chat for job in jobs for _ in range(job.ask.num_choices)],
        first.ask.dials(room),
        first.ask.seeds(),
        stops=[job.ask.stops for job in jobs for _ in range(job.ask.num_choices)],
        in_pieces=first.in_pieces,
        with_logprobs=first.ask.num_top is not None,
        left=left,
    )
    return Run(jobs, steps, left, started_s)


def _open(jobs: Sequence[Job]) -> list[tuple[int, int] | ApiError]:
    """On the inference thread: for each job its prompt's tokens and the room that they leave, or
    why it cannot be answered."""
    found: list[tuple[int, int] | ApiError] = []
    for job in jobs:
        try:
            prompt_tokens = _prompt_tokens(job.voice, job.ask.chat)
            found.append((prompt_tokens, _room(job.voice, prompt_tokens)))
        except ApiError as error:
            found.append(error)
    return found


def _next_steps(
    steps: Iterator[list[tuple[int, Piece | Reply]]], num: int
) -> list[list[tuple[int, Piece | Reply]]]:
    """On the inference thread."""
    return list(islice(steps, num))


def _prompt_tokens(voice: Voice, chat: Chat) -> int:
    """Give the prompt's length. Raises BadRequest where the template refuses the chat."""
    try:
        return voice.prompt_tokens(chat)
    except BadChat as error:
        raise BadRequest(
            f"the policy's chat template does not take these messages: {error}", param="messages"
        ) from error


def _room(voice: Voice, prompt_tokens: int) -> int:
    """Give the tokens that the context leaves. Raises ContextTooLong where it leaves none."""
    room = voice.context_tokens - prompt_tokens
    if room < 1:
        raise ContextTooLong(
            f"This model's maximum context length is {voice.context_tokens} tokens. However, your "
            f"messages resulted in {prompt_tokens} tokens. Please reduce the length of the "
            "messages.",
            param="messages",
            code="context_length_exceeded",
        )
    return room
