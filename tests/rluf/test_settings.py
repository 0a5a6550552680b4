"""Goal: a wrong setting is refused by name, and the order default < recipe < environment holds.

Method: small recipes in a temporary folder and an environment passed as a plain dict.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rluf.settings import (
    BadSettings,
    find_recipe,
    load_recipe_over,
    load_settings,
    plain,
    settings_hash,
)


def write(folder: Path, text: str) -> Path:
    recipe = folder / "mine.toml"
    recipe.write_text(text, "utf-8")
    return recipe


def test_environment_wins_over_recipe_and_recipe_over_default(tmp_path):
    recipe = write(tmp_path, "[streams]\nlinger_ms = 50\npartitions = 2\n")
    settings = load_settings([recipe], {"RLUF_STREAMS__PARTITIONS": "8"})
    assert settings.streams.linger_ms == 50
    assert settings.streams.partitions == 8


def test_unknown_recipe_key_is_refused_with_the_nearest_name(tmp_path):
    recipe = write(tmp_path, "[streams]\nlingerms = 50\n")
    with pytest.raises(BadSettings, match=r"unknown key 'streams.lingerms'.*'linger_ms'"):
        load_settings([recipe], {})


def test_unknown_environment_variable_is_refused_with_the_nearest_name():
    with pytest.raises(BadSettings, match=r"RLUF_STREMS__BROKERS.*did you mean 'streams'"):
        load_settings([], {"RLUF_STREMS__BROKERS": "x:1"})


def test_wrong_type_says_what_was_seen(tmp_path):
    recipe = write(tmp_path, '[streams]\npartitions = "many"\n')
    with pytest.raises(BadSettings, match=r"streams\.partitions.*'many'"):
        load_settings([recipe], {})


def test_a_value_where_a_table_belongs_is_refused(tmp_path):
    with pytest.raises(BadSettings, match="'streams' is a table"):
        load_settings([write(tmp_path, "streams = 3\n")], {})


def test_broken_toml_names_the_file(tmp_path):
    with pytest.raises(BadSettings, match=r"mine\.toml is not valid TOML"):
        load_settings([write(tmp_path, "streams = [\n")], {})


def test_missing_recipe_lists_the_ones_that_exist():
    with pytest.raises(BadSettings, match="did you mean 'laptop'"):
        find_recipe("laptp")


@pytest.mark.parametrize("recipe", ["laptop", "moderate", "aggressive", "convai2"])
def test_every_shipped_recipe_loads(recipe):
    load_settings([recipe], {})


def test_everything_lies_under_the_home(tmp_path):
    settings = load_settings([], {"RLUF_HOME": str(tmp_path / "a b")})
    assert settings.cache == tmp_path / "a b" / "cache"
    assert settings.features.root == tmp_path / "a b"
    assert settings.models.registry_url.endswith("registry.db")


def test_lists_and_tables_come_from_the_environment_as_json():
    settings = load_settings(
        [],
        {
            "RLUF_REFRESH__RECIPES": '["moderate"]',
            "RLUF_TRAINING__POLICY__WEIGHTS": '{"love": 0.2, "helpfulness": 0.8}',
        },
    )
    assert settings.refresh.recipes == ("moderate",)
    assert settings.training.policy.weights["love"] == 0.2


def test_a_recipe_laid_over_settings_changes_only_what_it_names():
    base = load_settings([], {"RLUF_TRAINING__POLICY__STEPS": "7"})
    over = load_recipe_over(base, "aggressive")
    assert over.training.policy.weights["love"] == 0.3
    assert over.training.policy.steps == 7


def test_the_hash_of_dials_is_stable_and_tells_values_apart():
    one, other = load_settings([], {}).training.policy, load_settings([], {}).training.policy
    assert settings_hash(one) == settings_hash(other)
    assert settings_hash(one) != settings_hash(plain(one) | {"steps": 61})


def test_an_empty_variable_is_an_empty_text():
    settings = load_settings((), {"RLUF_SERVING__WORKER_METRICS_URL": ""})
    assert settings.serving.worker_metrics_url == ""


def test_a_time_is_read_as_everywhere_and_nothing_else_is_one():
    settings = load_settings((), {"RLUF_STREAMS__OLDEST": "2016-12-31T23:59:60Z"})
    assert settings.streams.oldest == datetime(2017, 1, 1, tzinfo=UTC)
    for wrong in ("1700000000", "2020-01-01", "yesterday"):
        with pytest.raises(BadSettings, match=r"streams\.oldest.*RFC 3339"):
            load_settings((), {"RLUF_STREAMS__OLDEST": wrong})
