"""The verbs that ask and keep the store: features, guard, erase, lag, compact.

Rooms are imported inside the verbs, so that `rluf --help` answers at once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from rluf.console import Console
from rluf.options import TIME, JsonOption, RecipeOption, WhoOption, WhyOption, usage
from rluf.settings import load_settings

features_app = typer.Typer(help="Ask the feature store.", no_args_is_help=True)
guard_app = typer.Typer(help="See what is quarantined and why; overrule it.", no_args_is_help=True)
UserArgument = Annotated[str, typer.Argument(help="User id, or the pseudonym stored of it.")]
StoredOption = Annotated[
    bool, typer.Option("--as-stored", help="Ids are as events have them: make no pseudonyms.")
]
ResponseOption = Annotated[str, typer.Option(help="Only reactions to this response.")]


@features_app.command("online")
def features_online(
    user: Annotated[list[str] | None, typer.Option(help="User id. Repeatable.")] = None,
    policy: Annotated[list[str] | None, typer.Option(help="Policy version. Repeatable.")] = None,
    as_stored: StoredOption = False,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Look up the online features of users and policy versions."""
    from rluf.wiring import prepare, read_online, stored_user

    if not user and not policy:
        usage("name at least one --user or --policy")
    settings = prepare(load_settings(recipe or ()))
    users = [stored_user(settings, each, as_stored=as_stored) for each in user or ()]
    Console(as_json=json).rows(read_online(settings, users=users, policies=policy or []))


@features_app.command("as-of")
def features_as_of(
    at: Annotated[datetime, typer.Argument(help="The time.", **TIME)],
    user: Annotated[list[str], typer.Option(help="User id. Repeatable.")],
    as_stored: StoredOption = False,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Give users' features as they were at a time, joined by Feast."""
    from rluf.wiring import prepare, read_as_of, stored_user

    settings = prepare(load_settings(recipe or ()))
    users = [stored_user(settings, each, as_stored=as_stored) for each in user]
    Console(as_json=json).rows(read_as_of(settings, users=users, at=at))


@features_app.command("sql")
def features_sql(
    sql: Annotated[str, typer.Argument(help="SELECT over the views, such as labels.")],
    as_of: Annotated[datetime | None, typer.Option(help="As known at this time.", **TIME)] = None,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Run a SELECT over shown, reactions, labels, quarantine, verdicts, dead_letters."""
    from features.views import query
    from rluf.wiring import prepare

    settings = prepare(load_settings(recipe or ()))
    Console(as_json=json).rows(query(settings.home, sql, as_of=as_of).to_pylist())


@features_app.command("repair")
def features_repair(recipe: RecipeOption = None, json: JsonOption = False) -> None:
    """Compute every online row anew from the facts; rows that no fact supports are emptied."""
    from features.repair import repair_online
    from rluf.wiring import prepare

    settings = prepare(load_settings(recipe or ()))
    num_rows = repair_online(settings.features)
    Console(as_json=json).emit({"rows": num_rows}, text=f"{num_rows:,} rows written")


@guard_app.command("list")
def guard_list(recipe: RecipeOption = None, json: JsonOption = False) -> None:
    """List what is quarantined now, by which rule, and on what evidence."""
    from rluf.guard import list_quarantined
    from rluf.wiring import prepare

    Console(as_json=json).rows(list_quarantined(prepare(load_settings(recipe or ()))))


@guard_app.command("check")
def guard_check(recipe: RecipeOption = None, json: JsonOption = False) -> None:
    """List what the rules, as they are set now, find in all facts; changes nothing."""
    from rluf.guard import check
    from rluf.wiring import prepare

    Console(as_json=json).rows(check(prepare(load_settings(recipe or ()))))


@guard_app.command("release")
def guard_release(
    user: UserArgument,
    why: WhyOption,
    response: ResponseOption = "",
    as_stored: StoredOption = False,
    who: WhoOption = "operator",
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Let a user's reactions count again, whatever the rules find."""
    from rluf.guard import overrule
    from rluf.wiring import find_brokers, prepare, stored_user

    settings = find_brokers(prepare(load_settings(recipe or ())))
    user = stored_user(settings, user, as_stored=as_stored)
    made = overrule(settings, user, "release", response_id=response, who=who, why=why)
    Console(as_json=json).emit(made, text=f"{user} is released; it counts once it is stored")


@guard_app.command("quarantine")
def guard_quarantine(
    user: UserArgument,
    why: WhyOption,
    response: ResponseOption = "",
    as_stored: StoredOption = False,
    who: WhoOption = "operator",
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Leave a user's reactions out of labels and features; they stay stored."""
    from rluf.guard import overrule
    from rluf.wiring import find_brokers, prepare, stored_user

    settings = find_brokers(prepare(load_settings(recipe or ())))
    user = stored_user(settings, user, as_stored=as_stored)
    made = overrule(settings, user, "quarantine", response_id=response, who=who, why=why)
    Console(as_json=json).emit(made, text=f"{user} is quarantined; it counts once it is stored")


def erase(
    user: UserArgument,
    why: WhyOption = "asked to be forgotten",
    as_stored: StoredOption = False,
    who: WhoOption = "operator",
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Forget a user everywhere, and prove it: the erasure travels as an event."""
    from rluf.erase import erase_user
    from rluf.wiring import find_brokers, open_registry, prepare, stored_user

    console = Console(as_json=json)
    settings = find_brokers(prepare(load_settings(recipe or ()), migrate_first=True))
    stored = stored_user(settings, user, as_stored=as_stored)
    report = erase_user(settings, open_registry(settings), stored, given=user, who=who, why=why)
    console.emit(report, text=report.summary())
    if not report.is_clean:
        raise typer.Exit(1)


def lag(recipe: RecipeOption = None, json: JsonOption = False) -> None:
    """Show how many events the worker is behind, by partition, and what it can never read.

    `lost` was deleted before it was committed; `undecided` waits for an open transaction.
    """
    from rluf.wiring import find_brokers, prepare
    from streams.kafka.topics import standings

    settings = find_brokers(prepare(load_settings(recipe or ())))
    rows = [
        {
            "topic": topic,
            "partition": partition,
            "behind": standing.lag,
            "lost": standing.lost,
            "undecided": standing.undecided,
        }
        for (topic, partition), standing in sorted(standings(settings.streams).items())
    ]
    Console(as_json=json).rows(rows)


def compact(recipe: RecipeOption = None, json: JsonOption = False) -> None:
    """Merge the store's small files; readers never notice."""
    from rluf.wiring import compact_store, prepare

    report = compact_store(prepare(load_settings(recipe or ())))
    Console(as_json=json).emit(report, text=str(report))
