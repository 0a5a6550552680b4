"""Goal: no text and no number that somebody thinks up breaks the registry, on either database.

Method: every public method, found by its signature, called with hostile values in each place; what
may come of it is an answer, a ModelsError or a ValueError, and nothing of it may be stored.
"""

import inspect
import typing
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from models.arms import Arm
from models.artifacts import Artifact, check_model_name
from models.errors import Conflict, ModelsError, NotFound
from models.names import NAME_CHARS_MAX, check_name, check_text
from models.registry import Registry
from models.verdicts import Verdict
from tests.models.conftest import artifact_at

TEXTS = ["\x00", "a\x00b", "\ud800", "a\r\nx-evil: 1", "é❤️", "x" * 100_000, "", " ", "\u2028", "'"]
NUMBERS = [-1, 0, 2**31, 2**63, 2**64, -(2**70), 10**5000]
FAULTS = (ModelsError, ValueError)
NOT_SWEPT = {"close", "atomic", "open_artifact", "break_lease", "lease"}
"""Those that take no text or number of a caller's; `lease` has a test of its own."""


def fine(registry: Registry, hint: Any) -> Any:
    """A value of the type that is harmless."""
    version = registry.version("chat", 1)
    artifact = Artifact(hash=version.artifact_hash, path=version.artifact_path)
    by_type: dict[Any, Any] = {
        str: "chat",
        int: 1,
        int | None: 1,
        int | str: 1,
        bool: True,
        Path: registry.root / "snapshots",
        datetime: version.created_at,
        Artifact: artifact,
        Sequence[Arm]: [Arm(name="champion", version=1, share=1.0)],
        Sequence[str]: [],
        Verdict: Verdict(gate="style"),
    }
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)[0]
    return by_type.get(hint, {} if "Mapping" in str(hint) and "Sequence" not in str(hint) else [])


def hostile_calls(registry: Registry, method: str) -> list[dict[str, Any]]:
    function = getattr(registry, method)
    hints = typing.get_type_hints(function)
    names = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is inspect.Parameter.empty
        or hints[name] in (str | None, int | None, int | str)
    ]
    base = {
        name: fine(registry, hints[name])
        for name in names
        if inspect.signature(function).parameters[name].default is inspect.Parameter.empty
    }
    calls = []
    for name in names:
        hint = str(hints[name])
        values: list[Any] = [*TEXTS] if "str" in hint else []
        values += NUMBERS if "int" in hint else []
        if hints[name] == Sequence[Arm]:
            values = [[Arm(name=text, version=1, share=1.0)] for text in TEXTS]
            values += [[Arm(name="a", version=number, share=1.0)] for number in NUMBERS]
        if hints[name] == Verdict:
            values = [Verdict(gate=text) for text in TEXTS]
        calls += [base | {name: value} for value in values]
    return calls


@pytest.fixture
def filled(registry: Registry, home: Path) -> Registry:
    registry.register(
        "chat",
        artifact=artifact_at(home, "chat", "a" * 64),
        kind="policy",
        config_hash="c" * 64,
        snapshot_hash=None,
        recipe="test",
    )
    return registry


METHODS = [
    name
    for name, member in vars(Registry).items()
    if callable(member) and not name.startswith("_") and name not in NOT_SWEPT
]


@pytest.mark.parametrize("method", METHODS)
def test_hostile_values_are_answered_or_refused(filled: Registry, method: str):
    for call in hostile_calls(filled, method):
        try:
            getattr(filled, method)(**call)
        except FAULTS:
            continue
    assert filled.version("chat", 1).number == 1


def test_a_lease_of_a_hostile_name_is_refused(registry: Registry):
    for name in ("\x00", "\ud800"):
        with (
            pytest.raises(ValueError, match="text"),
            registry.lease(name, holder="me", ttl=timedelta(seconds=5)),
        ):
            pass


@pytest.mark.parametrize(
    "ref", ["v99999999999999999999", "9" * 5000, 2**63, 2**80, -1, 0, "v0", "٣", "chämpion"]
)
def test_a_version_beyond_any_number_is_not_found(filled: Registry, ref: int | str):
    with pytest.raises(NotFound):
        filled.version("chat", ref)


@pytest.mark.parametrize("name", ["a\r\nb", "a\nb", "", " ", "x" * 129, "\x00", "a\x7f", "\u202e"])
def test_arms_experiments_and_gates_have_names_of_one_printable_line(filled: Registry, name: str):
    arms = [Arm(name="champion", version=1, share=1.0)]
    with pytest.raises(ValueError, match=r"printable"):
        filled.set_arms(
            "chat", [Arm(name=name, version=1, share=1.0)], experiment="e", why="w", who="me"
        )
    if name:
        with pytest.raises(ValueError, match="printable"):
            filled.set_arms("chat", arms, experiment=name, why="w", who="me")
    with pytest.raises(ValueError, match="printable"):
        filled.record_verdict("chat", 1, Verdict(gate=name))
    assert filled.arms("chat").arms == ()


def test_names_that_people_use_are_taken(filled: Registry):
    for name in ("weights-2026-11", "größer ❤️", "a" * NAME_CHARS_MAX):
        check_name("a name", name)
    check_text("why", "two\nlines, and a tab\t")
    arms = [Arm(name="größer", version=1, share=1.0)]
    made = filled.set_arms("chat", arms, experiment="herz ❤", why="weil\nes so ist", who="ich")
    assert filled.arms("chat") == made


def test_a_models_name_is_no_longer_than_a_folders(tmp_path: Path):
    check_model_name("a" * NAME_CHARS_MAX)
    with pytest.raises(ValueError, match="at most"):
        check_model_name("a" * (NAME_CHARS_MAX + 1))


def test_a_conflict_is_told_as_before(filled: Registry):
    with pytest.raises(Conflict):
        filled.move_alias("chat", "champion", 1, expected=7, why="w", who="me")
