"""Replies per second of the chat API with recording on, beside `transformers serve`.

    python -m benchmarks.serving [--before REV] [--seconds 4] [--runs 3]

One Kafka runs; `rluf api` and the peers serve the same folder, each in a process of its own with
one thread for torch. In turns each is asked the same questions by 1, 8 and 32 users at a time, who
ask their next once they have an answer: whole and streamed, with a seed of their own and without.
`--before REV` lets the API of another revision of this repository take part.

The policy is the demo's: 664,192 weights, trained as `rluf demo` trains it, kept under runs/cache;
`--policy` takes another folder. Ours records each answer, and the broker's acknowledgement comes
before the answer's end; the peers record nothing. The users' process shares the cores with all.
"""

import argparse
import asyncio
import io
import json
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.error import URLError

import numpy as np
import psutil

from benchmarks.serving_load import Heard, Manner, ask
from benchmarks.table import save_figures
from rluf.settings import load_settings
from streams.kafka.broker import Broker
from training.pretrain_policy import pretrain_policy, read_corpus

ROOT = Path(__file__).parents[1]
CACHE = ROOT / "runs" / "cache"
PEERS = {
    "transformers": "`transformers serve`",
    "continuous": "`transformers serve --continuous-batching`",
}
CONTINUOUS = ["--continuous-batching", "--cb-num-blocks", "256", "--cb-block-size", "32"]
CONTINUOUS += ["--cb-max-batch-tokens", "512"]
"""Left to itself it takes nine tenths of the machine's memory for its cache."""
START_S = 180.0
STOP_S = 30.0
WARM_S = 1.0
PROMPTS = 256
PROMPTS_SEED = 7
"""Not the corpus's: the questions are new."""
Command = list[str]


def main() -> None:
    """Measure, save, show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--before", help="another revision of ours that takes part")
    parser.add_argument("--policy", type=Path, help="folder of a policy; none: the demo's")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--dry", action="store_true", help="do not save the figures")
    parser.add_argument("--profile", type=Path, help="write py-spy's stacks of ours here, and end")
    options = parser.parse_args()
    policy = (options.policy or make_policy(CACHE / "serving")).resolve()
    manners = [
        Manner(is_streamed=is_streamed, is_seeded=is_seeded, concurrency=concurrency)
        for is_streamed in (False, True)
        for is_seeded in (False, True)
        for concurrency in options.concurrency
    ]
    with tempfile.TemporaryDirectory(prefix="rluf-bench-") as folder, ExitStack() as stack:
        home = Path(folder)
        broker = stack.enter_context(Broker.start(home / "kafka", cache=CACHE, on_progress=print))
        prompts = make_prompts(home / "questions.jsonl")
        servers = [stack.enter_context(ours("ours", ROOT, home / "ours", policy, broker))]
        if options.profile:
            profile(servers[0], prompts, manners[0], options.seconds, options.profile)
            return
        if options.before:
            tree = check_out(options.before, home / "before-tree")
            servers.append(
                stack.enter_context(ours("before", tree, home / "before", policy, broker))
            )
        servers += [stack.enter_context(peer(name, policy)) for name in options.peers]
        rounds = [
            measure(server, prompts, manner, options.seconds)
            for manner in manners
            for _ in range(options.runs)
            for server in servers
        ]
    columns, rows = tabulate(rounds)
    for row in rows:
        print(" | ".join(map(str, row)))
    if not options.dry:
        save_figures("serving", columns, rows)


def make_policy(folder: Path) -> Path:
    """Train the demo's policy, where that is not done yet; the folder."""
    made = folder / "policy"
    if made.is_dir():
        return made
    print(f"training the demo's policy into {made}")
    settings = load_settings(["laptop"])
    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder / "corpus.jsonl"
    make_corpus(corpus, settings.demo.corpus_chats, settings.demo.seed)
    draft = folder / "draft"
    pretrain_policy(corpus, settings.training.pretrain, draft, on_progress=lambda *_: None)
    return draft.rename(made)


def make_prompts(path: Path) -> list[str]:
    """What the simulator's users say first."""
    make_corpus(path, PROMPTS, PROMPTS_SEED)
    return [chat[0]["content"] for chat in read_corpus(path)]


def make_corpus(path: Path, num: int, seed: int) -> None:
    """Have the simulator write chats."""
    command = [sys.executable, "-m", "simulator", "corpus", "--out", str(path)]
    subprocess.run([*command, "--n", str(num), "--seed", str(seed)], cwd=ROOT, check=True)


def check_out(revision: str, folder: Path) -> Path:
    """Write a revision's files."""
    archive = ["git", "archive", "--format=tar", revision]
    found = subprocess.run(archive, cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One that answers."""

    name: str
    url: str
    model: str
    process: psutil.Process
    records: bool
    """Whether it must say of each answer that it is recorded."""


@contextmanager
def ours(name: str, tree: Path, home: Path, policy: Path, broker: Broker) -> Iterator[Server]:
    """`rluf api` of a source tree, over a home of its own."""
    port = free_port()
    environment = {
        "RLUF_HOME": str(home),
        "RLUF_CACHE": str(CACHE),
        "RLUF_SERVING__PORT": str(port),
        "RLUF_STREAMS__BROKERS": broker.brokers,
    }
    rluf = [sys.executable, "-m", "rluf"]
    register = with_environment([*rluf, "register", str(policy)], environment)
    subprocess.run(register, cwd=tree, check=True, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    with running([*rluf, "api"], tree, environment, f"{url}/readyz") as process:
        yield Server(name=name, url=url, model="chat", process=process, records=True)


@contextmanager
def peer(name: str, policy: Path) -> Iterator[Server]:
    """`transformers serve` of the same environment, on the same folder."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    serve = [str(Path(sys.executable).with_name("python")), "-m", "transformers.cli.transformers"]
    serve += ["serve", str(policy), "--device", "cpu", "--dtype", "float32", "--port", str(port)]
    serve += CONTINUOUS if name == "continuous" else []
    with running(serve, ROOT, {}, f"{url}/health") as process:
        yield Server(name=name, url=url, model=str(policy), process=process, records=False)


@contextmanager
def running(
    command: Command, folder: Path, environment: dict[str, str], ready_url: str
) -> Iterator[psutil.Process]:
    """A server's process, once it answers. Raises RuntimeError with its last words."""
    one_thread = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile() as log:
        started = with_environment(command, {**one_thread, **environment})
        process = subprocess.Popen(started, cwd=folder, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_S
            while not answers(ready_url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{command} did not come up:\n{log.read()[-4000:].decode()}")
                time.sleep(0.2)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def with_environment(command: Command, environment: dict[str, str]) -> Command:
    """The command with variables added to its environment."""
    return ["env", *(f"{name}={value}" for name, value in environment.items()), *command]


def answers(url: str) -> bool:
    """Whether a GET is answered 200."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One server, asked in one manner, once."""

    server: str
    manner: Manner
    rate: float
    """Replies/s."""
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Processor time of the server for each reply."""
    chars: float
    """Mean length of a reply."""
    rss_mb: float


def measure(server: Server, prompts: Sequence[str], manner: Manner, seconds: float) -> Round:
    """Ask one server for so long. Raises RuntimeError where an answer was not recorded."""
    asyncio.run(ask(server.url, server.model, prompts, manner, WARM_S))
    before = server.process.cpu_times()
    heard: Heard = asyncio.run(ask(server.url, server.model, prompts, manner, seconds))
    after = server.process.cpu_times()
    if server.records and heard.not_recorded:
        raise RuntimeError(f"{server.name}: {heard.not_recorded} answers were not recorded")
    num = len(heard.latencies_s)
    if num == 0:
        raise RuntimeError(f"{server.name} gave no answer within {seconds} s: allow it more")
    p50, p99 = np.quantile(np.array(heard.latencies_s) * 1e3, [0.5, 0.99])
    made = Round(
        server=server.name,
        manner=manner,
        rate=num / seconds,
        p50_ms=round(float(p50), 1),
        p99_ms=round(float(p99), 1),
        cpu_ms=round((after.user + after.system - before.user - before.system) / num * 1e3, 2),
        chars=round(heard.chars / num, 1),
        rss_mb=round(server.process.memory_info().rss / 1e6),
    )
    print(json.dumps(asdict(made)), flush=True)
    return made


def tabulate(rounds: Sequence[Round]) -> tuple[list[str], list[list[str | float]]]:
    """Columns and rows: for each manner and server the medians over its rounds."""
    columns = ["asked", "users", "server", "replies/s", "lowest", "highest", "p50, ms", "p99, ms"]
    columns += ["CPU ms a reply", "MB", "ours is × as fast", "lowest", "highest"]
    rows: list[list[str | float]] = []
    for manner in dict.fromkeys(one.manner for one in rounds):
        by_server: dict[str, list[Round]] = {}
        for one in rounds:
            if one.manner == manner:
                by_server.setdefault(one.server, []).append(one)
        for name, found in by_server.items():
            ratios = [a.rate / b.rate for a, b in zip(by_server["ours"], found, strict=True)]
            rows.append(
                [
                    manner.name,
                    manner.concurrency,
                    PEERS.get(name, name),
                    *_spread(found, lambda one: one.rate),
                    *(
                        statistics.median(getattr(one, what) for one in found)
                        for what in ("p50_ms", "p99_ms", "cpu_ms", "rss_mb")
                    ),
                    *(round(r, 2) for r in (statistics.median(ratios), min(ratios), max(ratios))),
                ]
            )
    return columns, rows


def _spread(found: Sequence[Round], value: Callable[[Round], float]) -> tuple[float, ...]:
    values = [value(one) for one in found]
    return round(statistics.median(values), 1), round(min(values), 1), round(max(values), 1)


def profile(
    server: Server, prompts: Sequence[str], manner: Manner, seconds: float, stacks: Path
) -> None:
    """Sample ours while it is asked; the stacks as py-spy writes them."""
    spy = Path(sys.executable).parent / "py-spy"
    record = [str(spy), "record", "--format", "raw", "--threads", "--nonblocking"]
    record += ["--rate", "200", "--duration", str(int(seconds)), "--pid", str(server.process.pid)]
    asyncio.run(ask(server.url, server.model, prompts, manner, WARM_S))
    with subprocess.Popen([*record, "--output", str(stacks)]) as spying:
        measure(server, prompts, manner, seconds + WARM_S)
        spying.wait()


if __name__ == "__main__":
    main()
