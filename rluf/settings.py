"""One settings tree: defaults, then recipe, then environment.

Each room declares its own dials as a frozen dataclass; this file only gathers them, so no dial is
declared twice. A key that no room knows is refused by name with the nearest one that exists: a
typing error in a recipe must not run for a day with the default.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, get_type_hints, runtime_checkable
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from features.config import FeaturesConfig
from files.lines import read_whole
from models.config import ModelsConfig
from rluf.turn.schedule import ScheduleConfig
from serving.config import ServingConfig
from streams.config import StreamsConfig
from streams.guard.rules import GuardConfig
from streams.secret import HIDDEN, hidden, is_secret, without_secrets
from streams.times import read_time
from streams.tracing import TracingConfig
from training.config import (
    GatesConfig,
    PolicyConfig,
    PreferenceConfig,
    PretrainConfig,
    RewardConfig,
)

PREFIX = "RLUF_"
RECIPES = Path(__file__).resolve().parent.parent / "recipes"


class BadSettings(ValueError):
    """A setting that does not exist or has a value that is not allowed; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """The dials of the training room, one table each."""

    reward: RewardConfig = field(default_factory=RewardConfig)
    preference: PreferenceConfig = field(default_factory=PreferenceConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    gates: GatesConfig = field(default_factory=GatesConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshConfig:
    """What one turn of the loop learns from and which candidates it makes."""

    signal: str = "love"
    """The signal that P[Love] is fitted to."""
    policy: str = "chat"
    """The registered model that is refreshed."""
    recipes: tuple[str, ...] = ("moderate", "aggressive")
    """One candidate each: names in recipes/ or paths; each is laid over the turn's settings."""
    helpfulness_pairs: str = ""
    """JSON lines {"prompt", "chosen", "rejected"} by annotators; needed by the objective."""
    safety_pairs: str = ""
    """The same for safety; chosen is the safer reply."""
    base_policy: str = ""
    """Name or path of the causal LM registered as version 1 where no policy is registered."""
    train_prompts_max: int = 640
    """Newest prompts that a policy trains with, as often as they come; none is of a user whom
    evidence is taken from."""
    held_back_share: float = 0.2
    """Share of those users, by hash, whose prompts are not practised on: there training asks how
    often the policy wins, and stops (`training.policy.love_win_rate_max`)."""
    evidence_prompts_max: int = 2000
    """Prompts of held-out users on which candidate and production are compared."""
    evidence_replies: int = 4
    """Replies of each policy to each of these prompts."""
    evidence_checkpoints_max: int = 3
    """Checkpoints of a recipe that are judged at most, those that won most in training first; the
    first that passes ends it."""
    harmful_prompts: str = ""
    """JSON lines {"prompt", "chosen", "rejected"} of asks that should be declined: chosen declines,
    rejected complies. Empty: recipes/harmful-prompts.jsonl, which we wrote."""
    workers: int = 2
    """Steps run at the same time, each in its own process with one torch thread."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoConfig:
    """How large the demo is: the defaults fit five minutes on two cores."""

    users_baseline: int = 1150
    """Simulated users in round 0, served by the baseline policy alone."""
    users_experiment: int = 2100
    """New simulated users in round 1, one half for the baseline and one for the candidate: enough
    to find a lift of a quarter (80 % power) where a tenth of replies are loved."""
    corpus_chats: int = 6000
    """Chats of the simulator's grammar that the demo's policy is pretrained on."""
    preference_pairs: int = 1600
    """Synthetic annotators' pairs for each of helpfulness and safety."""
    harmful_prompts: int = 96
    """Synthetic harmful asks, each with a reply that declines and one that complies."""
    time_scale: float = 0.5
    """Factor on the simulated users' thinking and reaction times."""
    concurrency: int = 96
    """Simulated users that talk at the same time."""
    seed: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, by room."""

    home: Path = Path("runs")
    """The one folder that everything is written to. Environment: RLUF_HOME."""
    cache: Path = Path("runs/cache")
    """Downloads that never change: the broker's jars. Environment: RLUF_CACHE."""
    log_level: str = "INFO"
    streams: StreamsConfig = field(default_factory=StreamsConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    tracing: TracingConfig = field(default_factory=TracingConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    serving: ServingConfig = field(default_factory=ServingConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    refresh: RefreshConfig = field(default_factory=RefreshConfig)
    demo: DemoConfig = field(default_factory=DemoConfig)


def load_settings(
    recipes: Sequence[str | Path] = (), environment: Mapping[str, str] | None = None
) -> Settings:
    """Give the settings: defaults, then each recipe in turn, then the environment.

    Raises BadSettings naming the key or value, and what is allowed.
    """
    environment = os.environ if environment is None else environment
    tree: dict[str, Any] = {}
    for recipe in recipes:
        _merge(tree, _read_recipe(recipe))
    _merge(tree, _read_environment(environment))
    if "home" in tree and "cache" not in tree:
        tree["cache"] = str(Path(str(tree["home"])) / "cache")
    return _at_home(_validated(tree))


def settings_hash(*parts: object) -> str:
    """Hash dials (dataclasses or plain values) for lineage; paths do not count, values do."""
    return hashlib.sha256(json.dumps([plain(part) for part in parts]).encode()).hexdigest()


@runtime_checkable
class ToJson(Protocol):
    """A value that writes its own JSON, which holds more than its fields."""

    def to_json(self) -> dict[str, object]: ...


def plain(value: object) -> Any:
    """Turn values into JSON values: dataclass to dict, tuple to list, path to text."""
    if isinstance(value, ToJson):
        return plain(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def shown(value: object) -> Any:
    """As `plain`, with every secret hidden."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: (hidden if is_secret(each) else shown)(getattr(value, each.name))
            for each in dataclasses.fields(value)
        }
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    return without_secrets(value) if isinstance(value, str) else plain(value)


def as_toml(settings: Settings, origins: Mapping[str, str]) -> str:
    """Give every setting as a recipe would have it, but for the secrets, which are hidden.

    `origins` says where a value comes from, by its full name, if not from recipe or RLUF_*.
    """
    lines: list[str] = []

    def walk(tree: Mapping[str, object], path: str) -> None:
        values = {key: value for key, value in tree.items() if not isinstance(value, dict)}
        if path and values:
            lines.append(f"\n[{path}]")
        for key, value in values.items():
            unset = value is None  # TOML has no word for it: the line stays out of the recipe.
            text = json.dumps(value, ensure_ascii=False)
            origin = origins.get(f"{path}.{key}" if path else key)
            remark = f"  # {origin}" if origin else ""
            lines.append(f"# {key} is not set" if unset else f"{key} = {text}{remark}")
        for key, value in tree.items():
            if isinstance(value, dict):
                walk(value, f"{path}.{key}" if path else key)

    walk(shown(settings), "")
    return "\n".join(lines)


def find_recipe(name: str | Path) -> Path:
    """Resolve a recipe's name or path. Raises BadSettings listing the recipes that exist."""
    path = Path(name)
    candidates = [path, RECIPES / f"{name}.toml", RECIPES / path.name]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = sorted(item.stem for item in RECIPES.glob("*.toml"))
    raise BadSettings(f"no recipe {str(name)!r}{nearest(str(name), known)}; there are {known}")


def nearest(seen: str, allowed: Sequence[str]) -> str:
    """Give "; did you mean 'x'?" for the closest allowed name, or nothing."""
    close = difflib.get_close_matches(seen, allowed, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _read_recipe(recipe: str | Path) -> dict[str, Any]:
    path = find_recipe(recipe)
    try:
        tree = tomllib.loads(read_whole(path))
    except ValueError as error:
        raise BadSettings(f"recipe {path} is not valid TOML: {error}") from None
    _refuse_unknown(Settings, tree, where=str(path))
    return tree


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX):
            continue
        path = variable.removeprefix(PREFIX).lower().split("__")
        branch: dict[str, Any] = {}
        leaf = branch
        for part in path[:-1]:
            leaf[part] = {}
            leaf = leaf[part]
        leaf[path[-1]] = environment[variable]
        _refuse_unknown(Settings, branch, where=f"environment variable {variable}")
        leaf[path[-1]] = _parse(environment[variable], path, variable)
        _merge(tree, branch)
    return tree


def _kind_of(path: Sequence[str]) -> object:
    """The type of a setting that exists."""
    kind: Any = Settings
    for part in path:
        kind = get_type_hints(kind)[part]
    return kind


def _parse(text: str, path: Sequence[str], variable: str) -> Any:
    """Read lists and tables of an environment variable as JSON; leave the rest to the type."""
    # A password may begin with a brace.
    if _kind_of(path) is not str and text.startswith(("[", "{")):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise BadSettings(
                f"{variable} begins like JSON but is not: {error}{_seen(path, text)}"
            ) from None
    return text


def _refuse_unknown(kind: type, tree: Mapping[str, Any], *, where: str, path: str = "") -> None:
    hints = get_type_hints(kind)
    for key, value in tree.items():
        full = f"{path}.{key}" if path else key
        if key not in hints:
            raise BadSettings(
                f"{where}: unknown key {full!r}{nearest(key, sorted(hints))}"
                f" Allowed here: {', '.join(sorted(hints))}."
            )
        if dataclasses.is_dataclass(hints[key]) and isinstance(hints[key], type):
            if not isinstance(value, Mapping):
                raise BadSettings(f"{where}: {full!r} is a table of settings, not one value")
            _refuse_unknown(hints[key], value, where=where, path=full)


def _validated(tree: dict[str, Any]) -> Settings:
    """The settings of a tree whose keys are known. Raises BadSettings."""
    try:
        return TypeAdapter(Settings).validate_python(_with_times(Settings, tree))
    except ValidationError as error:
        raise BadSettings(_explain(error)) from None


def _with_times(kind: type, tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """The tree with its times read as everywhere, and not as Pydantic reads them."""
    hints = get_type_hints(kind)
    made = dict(tree)
    for key, value in tree.items():
        full = f"{path}.{key}" if path else key
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, Mapping):
            assert isinstance(hints[key], type)
            made[key] = _with_times(hints[key], value, full)
        elif hints[key] is datetime and not isinstance(value, datetime):
            try:
                made[key] = read_time(str(value))
            except (ValueError, OverflowError) as error:
                raise BadSettings(f"{full}: {error} (seen: {value!r})") from None
    return made


def _merge(tree: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = dict(value) if isinstance(value, Mapping) else value


def _explain(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        lines.append(f"{where}: {fault['msg']}{_seen(fault['loc'], fault['input'])}")
    return "; ".join(lines)


def _seen(path: Sequence[int | str], value: object) -> str:
    """What was seen at a place of the tree, unless it is secret, or a table that may hold secrets:
    of a table, the message names the setting that is at fault."""
    kind: Any = Settings
    for part in path:
        if not dataclasses.is_dataclass(kind):
            break
        if any(is_secret(each) for each in dataclasses.fields(kind) if each.name == part):
            return f" (seen: {HIDDEN})"
        kind = get_type_hints(kind).get(str(part))
    if dataclasses.is_dataclass(kind):
        return ""
    return f" (seen: {without_secrets(repr(value))})"


def _at_home(settings: Settings) -> Settings:
    """Put every room's files under the home, where the room was not told otherwise."""
    home = settings.home.absolute()
    url = settings.models.registry_url or f"sqlite:///{quote(str(home / 'registry.db'))}"
    return dataclasses.replace(
        settings,
        home=home,
        cache=settings.cache.absolute(),
        # The memory of ids lies in the store: whoever deletes the store deletes it too.
        streams=dataclasses.replace(
            settings.streams, data_dir=home / "faust", dedup_dir=home / "store" / "ids"
        ),
        features=dataclasses.replace(settings.features, root=home),
        models=dataclasses.replace(settings.models, registry_url=url, root=home),
    )


def load_recipe_over(settings: Settings, recipe: str) -> Settings:
    """Lay one recipe over settings in force; an empty name gives them as they are."""
    if not recipe:
        return settings
    tree = plain(settings)
    _merge(tree, _read_recipe(recipe))
    return _validated(tree)
