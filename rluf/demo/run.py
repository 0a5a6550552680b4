"""`rluf demo`: the whole loop once, for real, against simulated users.

Real: Kafka, the worker, the store, P[Love], the RL, the gates, the API, the assignment and the
statistics. Simulated, and said so wherever it is shown: the users, their tastes and the annotators'
pairs, all made by the project's own simulator, which talks to the API like anyone else.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from models.arms import Arm
from models.artifacts import store_artifact
from models.live import Decision, promote, start_experiment, stop_experiment
from models.live_history import history
from models.migrate import migrate
from models.registry import Registry
from rluf.demo.findings import (
    CONTROL,
    DemoFailed,
    Rounds,
    compare_experiment,
    find,
    run_simulator,
)
from rluf.demo.report import Report, write_report
from rluf.demo.usage import PeakMemory
from rluf.local import AlreadyUp, Supervisor, is_up, supervised
from rluf.settings import Settings, load_settings, plain, settings_hash
from rluf.turn.inputs import Content, PretrainPolicy
from rluf.turn.refresh import STEPS, preference_steps, refresh
from rluf.turn.report import Candidate, TurnReport
from rluf.turn.steps import OnProgress, Say, Step, Steps
from streams.kafka.topics import lag
from training.evidence.online import OnlineReport

RECIPE = "laptop"
WHO = "rluf demo"
EXPERIMENT = "demo-round-1"
DRAIN_WAIT_S = 90.0
SWAP_WAIT_S = 60.0


def run_demo(home: Path, *, say: Say, on_progress: OnProgress) -> Report:
    """Run the loop once in `home`, which is emptied first; give the path of report.html.

    Raises DemoFailed, ChildFailed or AlreadyUp with the reason.
    """
    began = time.monotonic()
    settings = _prepare(home)
    phases: dict[str, float] = {}

    def phase(name: str, title: str) -> None:
        phases[name] = round(time.monotonic() - began, 1)
        say(f"[bold]{title}[/bold]")

    with PeakMemory() as memory:
        migrate(settings.models.registry_url)
        registry = Registry(settings.models.registry_url, root=settings.home)
        phase("setup", "Setting up: a small policy is trained on the simulator's own grammar")
        pairs = _make_pairs(settings)
        with supervised(settings, say=say, recipes=(RECIPE,), only=("worker", "api")) as supervisor:
            settings = _with_brokers(settings, supervisor, pairs)
            with ThreadPoolExecutor(1) as beside:
                judging = beside.submit(_fit_preferences, settings, say, on_progress)
                baseline = _make_baseline(settings, registry, say, on_progress)
                judging.result()
            _wait_for_arms(supervisor, registry)
            rounds = Rounds(folder=home / "simulator")
            phase("round_0", "Round 0: the baseline policy answers simulated users")
            _simulate(settings, rounds, users=settings.demo.users_baseline, url=supervisor.url)
            _drain(settings, rounds)
            phase("refresh", "Refresh: P[Love] is fitted, candidates are trained and judged")
            turn = refresh(settings, registry, why="demo", say=say, on_progress=on_progress)
            challenger = _challenger(turn)
            if challenger is not None:
                phase("round_1", f"Round 1: the baseline and {challenger.ref} before new users")
                _start_experiment(registry, settings, challenger, baseline)
                _wait_for_arms(supervisor, registry)
                users = settings.demo.users_experiment
                _simulate(settings, rounds, users=users, url=supervisor.url)
                _drain(settings, rounds)
            phase("report", "Report: what was measured")
            comparison = None if challenger is None else _compare(settings, turn)
            facts = find(settings, registry, turn, rounds, comparison, baseline=baseline)
            facts["decision"] = plain(_decide(registry, settings, challenger, comparison))
            facts["history"] = [plain(row) for row in history(registry, settings.refresh.policy)]
    facts["wall_seconds"] = round(time.monotonic() - began, 1)
    facts["peak_rss_mb"] = memory.peak_mb
    facts["phases"] = phases
    return write_report(home, facts)


def _prepare(home: Path) -> Settings:
    if is_up(home):
        raise AlreadyUp(f"a demo is running in {home}; wait for it or stop it")
    cache = load_settings().cache
    if home.exists():
        shutil.rmtree(home)
    home.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "RLUF_HOME": str(home),
        "RLUF_CACHE": str(cache),
        "RLUF_SERVING__PORT": str(port),
    }
    return load_settings([RECIPE], environment)


def _with_brokers(
    settings: Settings, supervisor: Supervisor, pairs: Mapping[str, Path]
) -> Settings:
    environment = {
        **os.environ,
        "RLUF_HOME": str(settings.home),
        "RLUF_CACHE": str(settings.cache),
        "RLUF_SERVING__PORT": str(settings.serving.port),
        "RLUF_STREAMS__BROKERS": supervisor.brokers,
        "RLUF_REFRESH__HELPFULNESS_PAIRS": str(pairs["helpfulness"]),
        "RLUF_REFRESH__SAFETY_PAIRS": str(pairs["safety"]),
        "RLUF_REFRESH__HARMFUL_PROMPTS": str(pairs["harmful"]),
    }
    return load_settings([RECIPE], environment)


def _make_pairs(settings: Settings) -> dict[str, Path]:
    folder = settings.home / "simulator"
    folder.mkdir(parents=True, exist_ok=True)
    pairs = {}
    counts = {
        "helpfulness": settings.demo.preference_pairs,
        "safety": settings.demo.preference_pairs,
        "harmful": settings.demo.harmful_prompts,
    }
    for number, (kind, count) in enumerate(counts.items()):
        pairs[kind] = folder / f"pairs-{kind}.jsonl"
        seed = settings.demo.seed + number
        run_simulator(
            "pairs", "--kind", kind, "--out", str(pairs[kind]), "--n", str(count),
            "--seed", str(seed),
        )  # fmt: skip
    return pairs


def _fit_preferences(settings: Settings, say: Say, on_progress: OnProgress) -> None:
    """Fit what needs no users while the policy is made; the turn finds it done."""
    with Steps(settings.home / STEPS, workers=1, on_progress=on_progress, say=say) as steps:
        steps.run_all(list(preference_steps(settings).values()))


def _make_baseline(
    settings: Settings,
    registry: Registry,
    say: Say,
    on_progress: OnProgress,
) -> int:
    """Pretrain the demo's policy (cached by content) and put it before everybody."""
    corpus = settings.home / "simulator" / "corpus.jsonl"
    run_simulator(
        "corpus", "--out", str(corpus), "--n", str(settings.demo.corpus_chats),
        "--seed", str(settings.demo.seed),
    )  # fmt: skip
    pretrain = settings.training.pretrain
    content = Content(path=corpus, hash=settings_hash(corpus.read_text("utf-8")))
    step = Step(name="policy", job=PretrainPolicy(corpus=content, config=pretrain))
    with Steps(settings.cache / "steps", workers=1, on_progress=on_progress, say=say) as steps:
        made = steps.run(step)
    artifact = store_artifact(
        settings.home, settings.refresh.policy, Path(made["folder"]) / "model"
    )
    version = registry.register(
        settings.refresh.policy,
        artifact=artifact,
        kind="policy",
        config_hash=settings_hash(step.key),
        snapshot_hash=None,
        recipe="pretrained on the simulator's grammar",
    )
    promote(
        registry,
        version.name,
        version.number,
        who=WHO,
        why="the demo's baseline: there is nothing yet to hold it against",
        force=True,
    )
    return version.number


def _challenger(turn: TurnReport) -> Candidate | None:
    """Give the candidate that goes before users: of those that passed, the one that the judge of
    love prefers most over production; None where none passed."""

    def love_rise(candidate: Candidate) -> float:
        rise = candidate.measure("love_rise")
        return 0.0 if rise is None else rise.value

    passed = [candidate for candidate in turn.candidates if candidate.passed]
    return max(passed, key=love_rise, default=None)


def _start_experiment(
    registry: Registry, settings: Settings, challenger: Candidate, baseline: int
) -> None:
    """Put the challenger before half of the users, and the baseline before the others."""
    started = start_experiment(
        registry,
        settings.refresh.policy,
        [
            Arm(name=CONTROL, version=baseline, share=0.5),
            Arm(name=challenger.recipe, version=challenger.number, share=0.5),
        ],
        experiment=EXPERIMENT,
        who=WHO,
        why="it passed its gates: do users love it more?",
    )
    if not started.done:
        raise DemoFailed(started.summary())


def _compare(settings: Settings, turn: TurnReport) -> OnlineReport:
    return compare_experiment(
        settings.home,
        experiment=EXPERIMENT,
        signal=settings.refresh.signal,
        seed=settings.demo.seed,
        snapshot=settings.home / "snapshots" / turn.snapshot_hash,
    )


def _decide(
    registry: Registry,
    settings: Settings,
    challenger: Candidate | None,
    comparison: OnlineReport | None,
) -> Decision:
    """Promote the challenger where users loved it more with 95 % confidence."""

    def stop(why: str) -> Decision:
        return stop_experiment(registry, settings.refresh.policy, who=WHO, why=why)

    if challenger is None or comparison is None:
        return stop("no candidate passed its gates, so none went before users")
    if comparison.sample_ratio.is_void:
        return stop("the users did not fall to the arms as they should have: the test is void")
    [lift] = comparison.lifts
    if not lift.adjusted_ci[0] > 0:
        return stop("users did not love the candidate more with 95 % confidence")
    return promote(
        registry,
        challenger.name,
        challenger.number,
        who=WHO,
        why=f"passed its gates, and users loved it more (experiment {EXPERIMENT})",
    )


def _wait_for_arms(supervisor: Supervisor, registry: Registry) -> None:
    """Wait until the API serves the arms that the registry holds."""
    name = supervisor.settings.refresh.policy
    wanted = {arm.name: f"{name}@{arm.version}" for arm in registry.arms(name).arms}
    deadline = time.monotonic() + SWAP_WAIT_S
    seen: dict[str, str] = {}
    while time.monotonic() < deadline:
        service = httpx.get(f"{supervisor.url}/v1/status", timeout=10).json()["service"]
        seen = {row["arm"]: row["policy"] for row in service["serving"]}
        if service["is_ready"] and seen == wanted:
            return
        time.sleep(0.2)
    raise DemoFailed(f"the API was to serve {wanted}, it serves {seen}")


def _simulate(settings: Settings, rounds: Rounds, *, users: int, url: str) -> None:
    number = len(rounds.summaries)
    out = run_simulator(
        "live",
        "--url", url,
        "--users", str(users),
        "--seed", str(settings.demo.seed + 1000 * (number + 1)),
        "--concurrency", str(settings.demo.concurrency),
        "--time-scale", str(settings.demo.time_scale),
        "--out", str(rounds.folder / f"ledger-{number}.jsonl"),
        "--sealed", str(rounds.folder / f"sealed-{number}.jsonl"),
        "--progress", "--json",
    )  # fmt: skip
    rounds.summaries.append(json.loads(out))


def _drain(settings: Settings, rounds: Rounds) -> None:
    """Wait until every event on the broker is a durable fact with a committed offset."""
    deadline = time.monotonic() + DRAIN_WAIT_S
    while time.monotonic() < deadline:
        behind = sum(lag(settings.streams).values())
        if behind == 0:
            return
        time.sleep(0.2)
    raise DemoFailed(f"the worker is still {behind} events behind after {DRAIN_WAIT_S:.0f} s")
