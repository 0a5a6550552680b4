"""The command `rluf`: one verb each for what the platform does.

Exit codes, the same for every verb: 0 done; 1 a fault; 2 wrong usage, settings or input; 3 refused
(a gate or a verdict says no; nothing was changed); 4 something needed is unavailable, or
refuses us (broker, database, API); 130 interrupted. With --json the result is one JSON value on
standard output, and everything else goes to standard error.

Rooms are imported inside the verbs, so that `rluf --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from rluf.cli_live import REFUSED, experiment_app, history, promote, rollback
from rluf.cli_store import compact, erase, features_app, guard_app, lag
from rluf.console import Console
from rluf.options import (
    TIME,
    JsonOption,
    RecipeOption,
    SupervisorOption,
    WhoOption,
    WhyOption,
    usage,
)
from rluf.otel import find_collector
from rluf.settings import as_toml, load_settings, shown

app = typer.Typer(
    name="rluf",
    help=__doc__.splitlines()[0] if __doc__ else "",
    epilog="Exit codes: 0 done, 1 fault, 2 wrong usage, 3 refused, 4 unavailable, 130 interrupted.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
app.add_typer(features_app, name="features")
app.add_typer(guard_app, name="guard")
app.add_typer(experiment_app, name="experiment")


def main() -> None:
    """Run the command; turn a fault into a clear line and an exit code.

    Typer itself exits where a verb is done (0), refused, interrupted, or wrongly used (2).
    """
    try:
        app()
    except Exception as fault:
        from rluf.faults import exit_code_of

        code = exit_code_of(fault)
        if code is None:
            raise  # A mistake of ours: the traceback is the message.
        Console(as_json=False).fail(str(fault))
        sys.exit(code)


@app.command()
def up(recipe: RecipeOption = None, scheduler: bool = True) -> None:
    """Start broker, worker, API and scheduler, and keep them running until Ctrl-C."""
    import threading

    from rluf.local import ALL, supervised
    from rluf.wiring import prepare

    console = Console(as_json=False)
    settings = prepare(load_settings(recipe or ()), migrate_first=True)
    with supervised(
        settings,
        say=console.say,
        recipes=tuple(recipe or ()),
        only=ALL if scheduler else ALL[:-1],
    ) as supervisor:
        console.say(f"ready: the page and the API are at {supervisor.url} (Ctrl-C stops all)")
        threading.Event().wait()


@app.command()
def worker(
    recipe: RecipeOption = None,
    ready_file: Annotated[Path | None, typer.Option(help="Touched when consuming.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Prometheus port.")] = None,
    supervisor: SupervisorOption = None,
) -> None:
    """Run one ingestion worker; start more in the same group for more throughput."""
    from rluf.wiring import end_with, prepare, start_worker

    end_with(supervisor)
    settings = prepare(load_settings(recipe or ()), log=True)
    start_worker(settings, ready_file=ready_file, metrics_port=metrics_port)


@app.command()
def api(recipe: RecipeOption = None, supervisor: SupervisorOption = None) -> None:
    """Serve the HTTP API and the page."""
    from rluf.wiring import end_with, prepare, start_api

    end_with(supervisor)
    start_api(prepare(load_settings(recipe or ()), log=True))


@app.command()
def schedule(recipe: RecipeOption = None, supervisor: SupervisorOption = None) -> None:
    """Start turns of the loop by clock, by new labels and by drift."""
    from rluf.wiring import end_with, prepare, start_scheduler

    end_with(supervisor)
    start_scheduler(prepare(load_settings(recipe or ()), log=True), tuple(recipe or ()))


@app.command()
def refresh(
    recipe: RecipeOption = None, why: WhyOption = "by hand", json: JsonOption = False
) -> None:
    """Run one turn of the loop; killed anywhere and run again, it goes on where it stopped."""
    from rluf.turn.refresh import refresh as turn_of_the_loop
    from rluf.wiring import adopt_base_policy, open_registry, prepare

    console = Console(as_json=json)
    settings = prepare(load_settings(recipe or ()), migrate_first=True)
    registry = open_registry(settings)
    adopt_base_policy(settings, registry, console.say)
    with console.progress() as on_progress:
        report = turn_of_the_loop(
            settings, registry, why=why, say=console.say, on_progress=on_progress
        )
    console.emit(report, text=report.summary())
    if not any(candidate.passed for candidate in report.candidates):
        raise typer.Exit(REFUSED)


@app.command()
def replay(
    file: Annotated[
        Path | None,
        typer.Argument(help="CloudEvents, one a line (.jsonl, .ndjson, .json; plain or .gz)."),
    ] = None,
    from_offsets: Annotated[
        str,
        typer.Option(
            help="Read the log instead: `beginning`, or topic:partition=offset with commas;"
            " partitions that are not named are read from their beginning."
        ),
    ] = "",
    from_time: Annotated[
        datetime | None, typer.Option(help="Read the log instead, as of this time.", **TIME)
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="Folder of the new store that the log is read into.")
    ] = None,
    signal: Annotated[str, typer.Option(help="Compare snapshots of this signal too.")] = "",
    recipe: RecipeOption = None,
    wait: Annotated[bool, typer.Option(help="Wait until all of the file is stored.")] = True,
    json: JsonOption = False,
) -> None:
    """Send a file of events through the platform, or read the log anew into another store.

    Exit code 3 where no line of the file was taken; 0 where some were: the others are named.
    """
    from rluf.replay import replay as send
    from rluf.replay_log import replay_log
    from rluf.wiring import find_brokers, prepare
    from streams.kafka.log import parse_offsets

    if [file is not None, bool(from_offsets), from_time is not None].count(True) != 1:
        usage("name a FILE, or --from-offsets, or --from-time, and only one of them")
    if (file is None) != (into is not None):
        usage("--into FOLDER goes with --from-offsets and --from-time, and only with them")
    console = Console(as_json=json)
    settings = prepare(load_settings(recipe or ()), migrate_first=True)
    with console.progress() as on_progress:
        if file is not None:
            report = send(
                settings,
                file,
                recipes=recipe or (),
                wait=wait,
                say=console.say,
                on_progress=on_progress,
            )
            console.emit(report, text=report.summary())
            if not report.taken:
                raise typer.Exit(REFUSED)
            return
        assert into is not None
        settings = find_brokers(settings)
        start = parse_offsets(from_offsets, settings.streams) if from_time is None else from_time
        read = replay_log(settings, start=start, into=into, on_progress=on_progress, signal=signal)
    console.emit(read, text=read.summary())


@app.command("fit-reward")
def fit_reward(
    signal: Annotated[str, typer.Option(help="The signal to learn.")] = "love",
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Fit the calibrated probability of a signal on a fresh snapshot and register it.

    Beside it stand TF-IDF and a model that reads the prompt alone, on the same rows.
    """
    from rluf.turn.fit_signal import fit_signal
    from rluf.wiring import open_registry, prepare

    console = Console(as_json=json)
    settings = prepare(load_settings(recipe or ()), migrate_first=True)
    with console.progress() as on_progress:
        fitted = fit_signal(
            settings,
            open_registry(settings),
            signal=signal,
            say=console.say,
            on_progress=on_progress,
        )
    console.emit(fitted, text=fitted.summary())


@app.command("improve-policy")
def improve_policy(
    recipe: RecipeOption = None, json: JsonOption = False, why: WhyOption = "by hand"
) -> None:
    """Train, judge and register one candidate with the settings' own policy dials."""
    from rluf.turn.refresh import refresh as turn_of_the_loop
    from rluf.wiring import adopt_base_policy, open_registry, prepare

    console = Console(as_json=json)
    settings = prepare(load_settings(recipe or ()), migrate_first=True)
    settings = replace(settings, refresh=replace(settings.refresh, recipes=("",)))
    registry = open_registry(settings)
    adopt_base_policy(settings, registry, console.say)
    with console.progress() as on_progress:
        report = turn_of_the_loop(
            settings, registry, why=why, say=console.say, on_progress=on_progress
        )
    console.emit(report, text=report.summary())
    if not report.candidates[0].passed:
        raise typer.Exit(REFUSED)


@app.command()
def register(
    source: Annotated[str, typer.Argument(help="Folder or hub name of a causal language model.")],
    why: WhyOption = "registered by hand",
    who: WhoOption = "operator",
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a model from outside a version of the policy; the first one goes live."""
    from rluf.register import register_policy
    from rluf.wiring import open_registry, prepare

    settings = prepare(load_settings(recipe or ()), migrate_first=True)
    made = register_policy(settings, open_registry(settings), source, who=who, why=why)
    Console(as_json=json).emit(made, text=made.summary())


app.command()(promote)
app.command()(rollback)
app.command()(history)


@app.command()
def migrate(recipe: RecipeOption = None, json: JsonOption = False) -> None:
    """Bring the registry's database to this version's schema."""
    from models.migrate import migrate as bring_to_head
    from rluf.wiring import prepare

    settings = prepare(load_settings(recipe or ()))
    revision = bring_to_head(settings.models.registry_url)
    Console(as_json=json).emit({"revision": revision}, text=f"registry is at {revision}")


@app.command("settings")
def show_settings(recipe: RecipeOption = None, json: JsonOption = False) -> None:
    """Print every setting in force, after recipe and environment."""
    settings = load_settings(recipe or ())
    collector = find_collector(settings.tracing, os.environ)
    tracing = replace(settings.tracing, endpoint=collector.shown())
    settings = replace(settings, tracing=tracing)
    origins = {"tracing.endpoint": collector.origin()} if collector.variable else {}
    value = {**shown(settings), "origins": origins}
    Console(as_json=json).emit(value, text=as_toml(settings, origins))


for verb in (lag, compact, erase):
    app.command()(verb)


@app.command()
def demo(json: JsonOption = False) -> None:
    """Run the whole loop once against simulated users and write runs/demo/report.html."""
    from rluf.demo.report import summarise
    from rluf.demo.run import run_demo
    from rluf.wiring import prepare

    console = Console(as_json=json)
    settings = prepare(load_settings())
    with console.progress() as on_progress:
        report = run_demo(settings.home / "demo", say=console.say, on_progress=on_progress)
    console.emit(report.facts, text=summarise(report.facts))
    console.say(f"the report: {report.page}")
