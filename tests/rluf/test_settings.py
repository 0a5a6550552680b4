"""Goal: a wrong setting is refused by name, and the order default < recipe < environment holds.

Method: small recipes in a temporary folder and an environment passed as a plain dict.
"""

import dataclasses
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_type_hints

import pytest

from rluf.settings import (
    BadSettings,
    Settings,
    as_toml,
    find_recipe,
    load_recipe_over,
    load_settings,
    plain,
    settings_hash,
    shown,
)
from streams.secret import is_secret


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


SECRETS = {
    "RLUF_STREAMS__SECURITY__PROTOCOL": "SASL_SSL",
    "RLUF_STREAMS__SECURITY__MECHANISM": "PLAIN",
    "RLUF_STREAMS__SECURITY__USERNAME": "alice",
    "RLUF_STREAMS__SECURITY__PASSWORD": '{"s3cret"',
    "RLUF_STREAMS__SECURITY__CERT_FILE": "cert.pem",
    "RLUF_STREAMS__SECURITY__KEY_PASSWORD": "s3cret",
    "RLUF_SERVING__API_KEYS": '["s3cret-1", "s3cret-2"]',
    "RLUF_SERVING__ADMIN_KEYS": '["s3cret"]',
    "RLUF_MODELS__REGISTRY_URL": "postgresql+psycopg://rluf:s3cret@at@db/rluf?sslpassword=s3cret",
    "RLUF_TRACING__ENDPOINT": "https://me:s3cret@collector/v1/traces",
    "RLUF_SERVING__WORKER_METRICS_URL": "http://me:s3cret@127.0.0.1:9101/metrics?token=s3cret",
}


def test_no_secret_is_ever_shown():
    settings = load_settings([], SECRETS)
    assert settings.streams.security.password == '{"s3cret"'
    text = as_toml(settings, {})
    for told in (text, json.dumps(shown(settings)), repr(settings)):
        assert "s3cret" not in told
    assert 'password = "***"' in text
    assert 'api_keys = ["***", "***"]' in text
    assert 'registry_url = "postgresql+psycopg://rluf:***@db/rluf?sslpassword=***"' in text
    assert load_recipe_over(settings, "moderate").streams.security == settings.streams.security


@pytest.mark.parametrize(
    "wrong",
    [
        {"RLUF_SERVING__API_KEYS": "s3cret"},
        {"RLUF_SERVING__ADMIN_KEYS": "[s3cret"},
        {"RLUF_SERVING": "s3cret"},
        {"RLUF_STREAMS__SECURITY": "s3cret"},
        {"RLUF_STREAMS__SECURITY__MECHANISM": "NTLM"},
        {"RLUF_STREAMS__SECURITY__PASSWORD_FILE": "f"},
        {"RLUF_STREAMS__SECURITY__CHECK_HOSTNAME": "perhaps"},
        {"RLUF_STREAMS__PARTITIONS": "0"},
        {"RLUF_TRACING__ENDPOINT": "ftp://me:s3cret@collector"},
    ],
)
def test_what_is_refused_is_refused_without_the_secrets_beside_it(wrong):
    with pytest.raises(BadSettings) as refusal:
        load_settings([], SECRETS | wrong)
    assert "s3cret" not in str(refusal.value)


def test_every_setting_that_sounds_like_a_secret_is_marked_as_one():
    """A new one is easily forgotten; those that are no secrets are files, or numbers of tokens."""

    def walk(kind: type, path: str) -> Iterator[str]:
        hints = get_type_hints(kind)
        for each in dataclasses.fields(kind):
            full = f"{path}{each.name}"
            if dataclasses.is_dataclass(hints[each.name]):
                yield from walk(hints[each.name], f"{full}.")
            elif hints[each.name] in (str, tuple[str, ...]) and not full.endswith("_file"):
                is_told = not is_secret(each) and each.repr
                if is_told and re.search("password|secret|token|_key|keys$|url$", full):
                    yield full

    files = {"serving.pseudonym_key", "serving.feedback_key"}  # Their paths.
    assert set(walk(Settings, "")) == files


def test_a_prefix_goes_before_the_names_of_topics_and_group_once():
    settings = load_settings([], {"RLUF_STREAMS__PREFIX": "acme."})
    assert settings.streams.shown_topic == "acme.rluf.shown.v1"
    assert settings.streams.group == "acme.rluf-worker"
    assert load_recipe_over(settings, "moderate").streams == settings.streams
    with pytest.raises(BadSettings, match="shown_topic is 'a b"):
        load_settings([], {"RLUF_STREAMS__PREFIX": "a b"})
