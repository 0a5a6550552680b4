"""The verbs about what users get: experiment, promote, rollback, history.

Rooms are imported inside the verbs, so that `rluf --help` answers at once.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from rluf.console import Console
from rluf.options import TIME, JsonOption, RecipeOption, WhoOption, WhyOption, usage
from rluf.settings import load_settings, plain

if TYPE_CHECKING:
    from models.arms import Arm
    from models.registry import Registry

REFUSED = 3
"""Exit code of a verb that was refused; see rluf/cli.py."""

experiment_app = typer.Typer(help="Divide live users over versions.", no_args_is_help=True)


@experiment_app.command("start")
def experiment_start(
    experiment: Annotated[str, typer.Argument(help="Its name: users are assigned by it.")],
    arm: Annotated[list[str], typer.Option(help="name=version:share, as new=chat@2:0.1.")],
    why: WhyOption,
    who: WhoOption = "operator",
    force: Annotated[bool, typer.Option(help="Although verdicts refuse a version.")] = False,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Divide the users over versions; refused where one did not pass its gates."""
    from models.live import start_experiment
    from rluf.wiring import open_registry, prepare

    console = Console(as_json=json)
    settings = prepare(load_settings(recipe or ()))
    registry = open_registry(settings)
    arms = [_arm(registry, text) for text in arm]
    decision = start_experiment(
        registry,
        settings.refresh.policy,
        arms,
        experiment=experiment,
        who=who,
        why=why,
        force=force,
    )
    console.emit(decision, text=decision.summary())
    if not decision.done:
        raise typer.Exit(REFUSED)


@experiment_app.command("stop")
def experiment_stop(
    why: WhyOption,
    who: WhoOption = "operator",
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Give every user the champion again."""
    from models.live import stop_experiment
    from rluf.wiring import open_registry, prepare

    settings = prepare(load_settings(recipe or ()))
    decision = stop_experiment(open_registry(settings), settings.refresh.policy, who=who, why=why)
    Console(as_json=json).emit(decision, text=decision.summary())
    if not decision.done:
        raise typer.Exit(REFUSED)


def promote(
    version: Annotated[str, typer.Argument(help="For example chat@3.")],
    why: WhyOption,
    who: WhoOption = "operator",
    force: Annotated[
        bool, typer.Option(help="Promote although its verdicts refused; the reason is kept.")
    ] = False,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Put a version before all users; refused where its verdicts did not pass."""
    from models.live import promote as decide
    from rluf.wiring import open_registry, prepare

    console = Console(as_json=json)
    registry = open_registry(prepare(load_settings(recipe or ())))
    name, number = _name_and_number(registry, version)
    decision = decide(registry, name, number, who=who, why=why, force=force)
    console.emit(decision, text=decision.summary())
    if not decision.done:
        raise typer.Exit(REFUSED)


def rollback(
    why: WhyOption,
    name: Annotated[str, typer.Argument(help="The model.")] = "chat",
    who: WhoOption = "operator",
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Put the previous champion back before all users."""
    from models.live import rollback as undo
    from rluf.wiring import open_registry, prepare

    console = Console(as_json=json)
    decision = undo(open_registry(prepare(load_settings(recipe or ()))), name, who=who, why=why)
    console.emit(decision, text=decision.summary())
    if not decision.done:
        raise typer.Exit(REFUSED)


def history(
    name: Annotated[str | None, typer.Argument(help="The model; all by default.")] = None,
    at: Annotated[datetime | None, typer.Option(help="Only what was live then.", **TIME)] = None,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Show what was live when, why, and from which data."""
    from models.live_history import history as look_back
    from rluf.wiring import open_registry, prepare

    console = Console(as_json=json)
    registry = open_registry(prepare(load_settings(recipe or ())))
    rows = look_back(registry, name, at=at)
    console.rows([plain(row) for row in rows], title="What was live when")


def _name_and_number(registry: Registry, text: str) -> tuple[str, int]:
    name, _, ref = text.partition("@")
    if not ref:
        usage(f"a version looks like chat@3 or chat@challenger, not {text!r}")
    number = ref.removeprefix("v")
    return name, registry.version(name, int(number) if number.isdigit() else ref).number


def _arm(registry: Registry, text: str) -> Arm:
    """Read name=version:share."""
    arm, _, rest = text.partition("=")
    version, _, share = rest.rpartition(":")
    from models.arms import Arm

    try:
        number = _name_and_number(registry, version)[1]
        return Arm(name=arm, version=number, share=float(share))
    except ValueError:
        usage(f"an arm looks like new=chat@2:0.1, not {text!r}")
