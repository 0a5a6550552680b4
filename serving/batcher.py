"""One inference thread, many requests: all that a version is asked for is generated together.

A small model on a CPU takes nearly as long for one reply as for thirty. So a request joins those
under way at the next token, whatever its settings, whole or streamed, and its place is given to
another once it is answered or its client left. Versions take turns, a few tokens each. A reply with
a seed is the same whoever is generated beside it (`models/generation.py`).

All state lives on the event loop; the thread only runs the model. So nothing here needs a lock.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

from models.chat import Chat
from models.generation import Wish
from models.replies import Piece, Reply
from models.sampling import Dials
from serving.config import ServingConfig
from serving.errors import ApiError, BadRequest, Busy, ContextTooLong, NotReady
from serving.meters import Meters
from serving.voice import BadChat, Replies, Voice

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

    def seed_of(self, choice: int) -> int | None:
        """Give one for each choice, so that choices differ and the request repeats."""
        return None if self.seed is None else (self.seed + choice) % SEED_RANGE


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

    def take(self, choice: int, made: Made) -> None:
        if isinstance(made, Reply):
            self.replies[choice] = made
        self.out.put_nowait((choice, made))

    @property
    def is_over(self) -> bool:
        return self.is_left or len(self.replies) == self.ask.num_choices


@dataclass(slots=True, eq=False)
class Run:
    """Jobs of one version that are generated together."""

    voice: Voice
    replies: Replies
    is_open: bool = True
    """Others may join."""
    jobs: list[Job] = field(default_factory=list)
    joining: list[Job] = field(default_factory=list)
    """Those that begin with the next turn."""
    wishes: dict[Wish, tuple[Job, int]] = field(default_factory=dict)
    """Of which job and choice each is."""
    made: list[tuple[Wish, Piece | Reply]] = field(default_factory=list)
    """What the last turn brought, also where it failed in the end."""
    refused: list[tuple[Job, ApiError]] = field(default_factory=list)
    opened: list[tuple[Job, int]] = field(default_factory=list)

    @property
    def num_rows(self) -> int:
        """How many replies are under way or about to begin."""
        return sum(job.ask.num_choices - len(job.replies) for job in self.jobs if not job.is_over)

    def turn(self, num_steps: int) -> None:
        """On the inference thread: begin what is to begin, then so many tokens of each reply."""
        while self.joining:
            self._open(self.joining[0])
            del self.joining[0]
        for _ in range(num_steps):
            for wish in [wish for wish, (job, _) in self.wishes.items() if job.is_left]:
                self.replies.leave(wish)
                del self.wishes[wish]
            if self.replies.num_wishes == 0:
                return
            self.made += self.replies.step()

    def _open(self, job: Job) -> None:
        """Look at the prompt, and refuse the job or let its wishes join."""
        if job.is_left:
            return
        ask = job.ask
        try:
            prompt = _prompt_ids(self.voice, ask.chat)
            dials = ask.dials(_room(self.voice, len(prompt)))
        except ApiError as error:
            self.refused.append((job, error))
            return
        self.opened.append((job, len(prompt)))
        wishes = [
            Wish(
                prompt=prompt,
                dials=dials,
                seed=ask.seed_of(choice),
                stops=ask.stops,
                in_pieces=job.in_pieces,
                with_logprobs=ask.num_top is not None,
            )
            for choice in range(ask.num_choices)
        ]
        self.wishes |= {wish: (job, choice) for choice, wish in enumerate(wishes)}
        self.replies.join(wishes)


class Batcher:
    """Queues asks, batches them, and runs them on the inference thread."""

    def __init__(self, config: ServingConfig, meters: Meters) -> None:
        self._config = config
        self._meters = meters
        self._waiting: deque[Job] = deque()
        self._runs: list[Run] = []
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
                self._meters.left.labels("batch").inc()

    async def _run(self) -> None:
        while True:
            if not self._waiting and not self._runs and not self._is_stopping:
                self._wake.clear()
                await self._wake.wait()
            if self._is_stopping and not any(
                not job.in_pieces and not job.is_over for run in self._runs for job in run.jobs
            ):
                return  # Streams are not waited for.
            if not self._is_stopping:
                self._admit()
            for run in list(self._runs):
                await self._advance(run)

    def _admit(self) -> None:
        """Let the oldest jobs begin, as many as there are places for in their version's run."""
        kept: deque[Job] = deque()
        full: set[int] = set()
        for job in self._waiting:
            run = self._run_of(job.voice)
            is_first = run is None or run.num_rows == 0
            num_rows = job.ask.num_choices + (0 if run is None else run.num_rows)
            if id(job.voice) in full or (num_rows > self._config.batch_max and not is_first):
                full.add(id(job.voice))  # Nobody overtakes a job that needs many places.
                kept.append(job)
                continue
            if run is None:
                run = Run(job.voice, job.voice.begin())
                self._runs.append(run)
            run.jobs.append(job)
            run.joining.append(job)
        self._waiting = kept
        self._meters.queue.set(len(kept))

    def _run_of(self, voice: Voice) -> Run | None:
        return next((run for run in self._runs if run.voice is voice and run.is_open), None)

    async def _advance(self, run: Run) -> None:
        """Generate a few tokens more of a run; where it fails, each job alone, to spare others."""
        loop = asyncio.get_running_loop()
        self._meters.batch_size.observe(run.num_rows)
        started_s = loop.time()
        work = loop.run_in_executor(self._thread, run.turn, self._config.stream_pieces)
        await asyncio.wait({work})
        self._meters.generation.observe(loop.time() - started_s)
        self._give_out(run)
        error = work.exception()
        if error is not None:
            self._on_failure(run, error)
        run.jobs = [job for job in run.jobs if not job.is_over]
        if not run.jobs and run in self._runs:
            self._runs.remove(run)

    @staticmethod
    def _give_out(run: Run) -> None:
        """Tell the readers what the last turn brought."""
        for job, refusal in run.refused:
            run.jobs.remove(job)
            job.out.put_nowait(refusal)
        for job, prompt_tokens in run.opened:
            if job.in_pieces and not job.is_left:
                job.take(0, Opened(prompt_tokens))
        for wish, made in run.made:
            if wish not in run.wishes:
                continue  # Its reader went away meanwhile.
            job, choice = run.wishes[wish]
            if isinstance(made, Reply):
                del run.wishes[wish]
            if not job.is_left:
                job.take(choice, made)
        run.refused, run.opened, run.made = [], [], []

    def _on_failure(self, run: Run, error: BaseException) -> None:
        """Let each job of a run that failed go on alone; one that was alone has failed."""
        self._runs.remove(run)
        jobs = [job for job in run.jobs if not job.is_over]
        if len(jobs) == 1:
            jobs[0].out.put_nowait(_failed(error))
        elif jobs:
            logger.warning("batch failed, trying its jobs alone", exc_info=error)
            wishes = [[wish for wish, (of, _) in run.wishes.items() if of is job] for job in jobs]
            for job, own, replies in zip(jobs, wishes, run.replies.split(wishes), strict=True):
                alone = Run(job.voice, replies, is_open=False, jobs=[job])
                alone.joining = [job] if job in run.joining else []
                alone.wishes = {wish: run.wishes[wish] for wish in own}
                self._runs.append(alone)
        run.jobs = []

    def _make_sure_there_is_room(self) -> None:
        if self._task is None or self._task.done() or self._is_stopping:
            raise NotReady(
                f"the engine is not running {self.fault}".rstrip(),
                code="engine_not_running",
                retry_after_s=self._config.retry_after_s,
            )
        if len(self._waiting) >= self._config.queue_max:
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


def _prompt_ids(voice: Voice, chat: Chat) -> list[int]:
    """Give the prompt. Raises BadRequest where the template refuses the chat."""
    try:
        return voice.prompt_ids(chat)
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
