"""Goal: the thresholds of the guard are data: a recipe changes them, and the rules obey.

Method: the shipped recipe laid over the defaults, and few rows judged under both; wrong dials.
"""

import math
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from rluf.settings import BadSettings, load_settings
from streams.guard.ranges import RANGES
from streams.guard.rules import GuardConfig
from streams.guard.rulings import find_violations

START = datetime(2026, 1, 5, tzinfo=UTC)
TEXTS = ("response_id", "user_id", "signal", "action", "network")
TIME = ("occurred_at", pa.timestamp("us", "UTC"))
REACTIONS = pa.schema([*((name, pa.string()) for name in TEXTS), TIME])
TEXTS_SHOWN = ("response_id", "user_id", "policy", "prompt", "response")
SHOWN = pa.schema([*((name, pa.string()) for name in TEXTS_SHOWN), TIME])


def praise(user, num, gap_s):
    """`num` loves of one user, `gap_s` apart."""
    row = {"user_id": user, "signal": "love", "action": "add", "network": None}
    rows = [
        row | {"response_id": f"{user}-{i}", "occurred_at": START + timedelta(seconds=gap_s * i)}
        for i in range(num)
    ]
    return pa.Table.from_pylist(rows, REACTIONS)


def rules_found(reactions, config):
    return {(f.rule, f.user_id) for f in find_violations(reactions, SHOWN.empty_table(), config)}


def test_the_shipped_recipe_changes_what_it_names_and_nothing_else():
    changed, default = load_settings(["guard"], {}), load_settings((), {})
    named = {"user_cap", "network_cap", "always_shown_min", "together_accounts", "house_accounts"}
    differ = {
        each.name
        for each in fields(GuardConfig)
        if getattr(changed.guard, each.name) != getattr(default.guard, each.name)
    }
    assert differ == named
    assert changed.guard.user_cap == 50
    assert changed.features.guard_window_s == 7 * 86_400 < default.features.guard_window_s


def test_the_shipped_recipe_changes_what_is_found():
    reactions = pa.concat_tables([praise("fan", 60, 300), praise("staff-7", 2, 300)])
    assert rules_found(reactions, load_settings((), {}).guard) == set()
    found = rules_found(reactions, load_settings(["guard"], {}).guard)
    assert found == {("user_cap", "fan"), ("self_praise", "staff-7")}


def test_the_environment_wins_over_the_recipe():
    settings = load_settings(["guard"], {"RLUF_GUARD__USER_CAP": "70"})
    assert (settings.guard.user_cap, settings.guard.network_cap) == (70, 200)


def test_an_unknown_dial_or_rule_in_a_recipe_is_refused_by_name(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[guard]\nusercap = 5\n", "utf-8")
    with pytest.raises(BadSettings, match=r"guard\.usercap.*'user_cap'"):
        load_settings([recipe], {})
    recipe.write_text("[guard]\nrules = ['nonsense']\n", "utf-8")
    with pytest.raises(BadSettings, match=r"nonsense.*together"):
        load_settings([recipe], {})


@pytest.mark.parametrize(
    ("dial", "value"),
    [
        ("always_share", 1.1),
        ("always_p_max", -0.1),
        ("together_share", 2.0),
        ("fresh_share", -1.0),
        ("dictated_share", 1.5),
        ("user_cap", 0),
        ("network_cap", 0),
        ("always_shown_min", 0),
        ("dictated_n", 0),
        ("burst_taps", 1),
        ("together_accounts", 1),
        ("together_times", 0),
        ("together_neighbours", 0),
        ("burst_window_s", -1.0),
        ("together_delta_s", -1.0),
        ("fresh_z", -1.0),
        *(
            (dial, value)
            for dial in ("fresh_accounts", "fresh_hours", "together_prompt_users", "dictated_words")
            for value in (0, -1, math.nan, 10**12)
        ),
        ("fresh_hours", 24),
        ("burst_window_s", math.nan),
        ("together_delta_s", math.inf),
        ("begging", "(heart"),
        ("dictated_orders", "(?<=say) exactly"),
    ],
)
def test_a_dial_outside_its_range_is_refused_by_name(dial, value):
    with pytest.raises(ValueError, match=rf"guard\.{dial} is .*allowed"):
        GuardConfig(**{dial: value})


def test_every_dial_has_a_range_or_is_a_text_or_a_list():
    kinds = {each.name for each in fields(GuardConfig) if each.type in (int, float)}
    assert kinds == set(RANGES)


def test_the_ends_of_every_range_are_allowed():
    for place in (0, 1):
        GuardConfig(**{name: ends[place] for name, ends in RANGES.items()})
