"""Goal: every mistake and every outage ends in a clear line and its own exit code.

Method: the command as a process, for what a process decides (exit codes, streams), a few at a time;
the same `main` in this process for the many kinds of wrong input.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from models.artifacts import store_artifact
from models.migrate import migrate
from models.registry import Registry
from rluf import cli
from rluf.settings import load_settings
from tests.rluf.command import ROOT, rluf

USAGE, REFUSED, UNAVAILABLE = 2, 3, 4
NOBODY = "127.0.0.1:1"
"""Where no broker listens."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def verbs() -> list[list[str]]:
    """Every verb, and every verb of a group."""
    found: list[list[str]] = []
    for name, command in get_command(cli.app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [[name, below] for below in inner] if inner else [[name]]
    return found


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_every_verb_explains_itself(call, verb):
    answer = call(*verb, "--help")
    assert answer.code == 0
    assert "Usage:" in answer.out
    assert answer.err == ""


def test_help_needs_no_torch():
    code = "import sys, rluf.cli; print([n for n in ('torch', 'feast') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--help"], 0, ""),
        ([], USAGE, ""),
        (["nonsense"], USAGE, "nonsense"),
        (["replay"], USAGE, "FILE"),
        (["features", "sql", "--as-of", "someday", "SELECT 1"], USAGE, "--as-of"),
    ],
)
def test_a_process_answers_wrong_usage_with_a_line_and_its_code(home, arguments, code, says):
    answer = rluf(*arguments, home=home)
    assert answer.code == code
    assert says in answer.err
    assert not home.exists(), "nothing is made for a command that is not run"


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        (("RLUF_STREAMS__BROKRS", "x"), ["RLUF_STREAMS__BROKRS", "streams.brokrs", "'brokers'"]),
        (("RLUF_STREAM__BROKERS", "x"), ["RLUF_STREAM__BROKERS", "'streams'"]),
        (("RLUF_STREAMS__PARTITIONS", "many"), ["streams.partitions", "'many'"]),
        (("RLUF_STREAMS__PARTITIONS", "0"), ["partitions is 0", "at least 1"]),
        (("RLUF_STREAMS", "x"), ["'streams' is a table"]),
        (("RLUF_REFRESH__RECIPES", "[moderate"), ["[moderate", "JSON"]),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(call, variable, says):
    answer = call("settings", settings=dict([variable]))
    assert answer.code == USAGE
    assert answer.out == ""
    for text in says:
        assert text in answer.err


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ('[streams]\nbrokres = "x"', ["streams.brokres", "did you mean 'brokers'"]),
        ('[streams]\npartitions = "many"', ["streams.partitions", "'many'"]),
        ("[streams", ["not valid TOML"]),
        ('streams = "x"', ["table"]),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_by_name(call, tmp_path, recipe, says):
    path = tmp_path / "mine.toml"
    path.write_text(recipe, "utf-8")
    answer = call("settings", "--recipe", str(path))
    assert answer.code == USAGE
    for text in says:
        assert text in answer.err


def test_an_unknown_recipe_is_refused_with_those_that_exist(call, tmp_path):
    answer = call("settings", "--recipe", "moderat")
    assert answer.code == USAGE
    assert "did you mean 'moderate'" in answer.err
    assert "'laptop'" in answer.err
    assert call("settings", "--recipe", str(tmp_path)).code == USAGE


def make_file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.jsonl.gz", None, "no file"),
        ("", None, "a folder"),
        ("plain.jsonl.gz", b"hello", "damaged"),
        ("events.csv", b"a,b", "events.csv is none of *.jsonl, *.ndjson"),
        ("empty.jsonl", b"\n", "no events"),
    ],
)
def test_a_file_that_cannot_be_replayed_is_refused_before_anything_starts(
    call, home, tmp_path, name, content, says
):
    path = tmp_path / name if content is None else make_file(tmp_path, name, content)
    answer = call("replay", str(path), "--json")
    assert answer.code == USAGE
    assert answer.out == ""
    assert says in answer.err
    assert not (home / "kafka").exists()


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("selec 1", "syntax error"),
        ("SELECT * FROM nonesuch", "labels"),
        ("", "need one SELECT"),
        ("SELECT 1; SELECT 2", "need one SELECT"),
        ("DROP VIEW shown", "saw DROP"),
        ("DELETE FROM shown", "saw DELETE"),
        ("CREATE TABLE x AS SELECT 1", "saw CREATE"),
        ("COPY (SELECT 1) TO '{}/written.csv'", "saw COPY"),
        ("ATTACH '{}/other.db'", "saw ATTACH"),
        ("SELECT * FROM read_text('{}/secret')", "Permission"),
    ],
)
def test_sql_only_reads_and_only_the_views(call, tmp_path, sql, says):
    make_file(tmp_path, "secret", b"x")
    answer = call("features", "sql", sql.format(tmp_path), "--json")
    assert answer.code == USAGE
    assert answer.out == ""
    assert says in answer.err
    assert {path.name for path in tmp_path.iterdir()} <= {"home", "secret"}


@pytest.fixture
def registry(home: Path, tmp_path: Path) -> Iterator[Registry]:
    """One policy, never judged, that nobody is served."""
    settings = load_settings([], {"RLUF_HOME": str(home)})
    home.mkdir()
    migrate(settings.models.registry_url)
    registry = Registry(settings.models.registry_url, root=settings.home)
    folder = tmp_path / "model"
    folder.mkdir()
    make_file(folder, "config.json", b"{}")
    registry.register(
        "chat",
        artifact=store_artifact(home, "chat", folder),
        kind="policy",
        config_hash="0" * 64,
        snapshot_hash=None,
    )
    yield registry
    registry.close()


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["promote", "chat@9", "--why", "x"], "chat"),
        (["promote", "chat@challenger", "--why", "x"], "challenger"),
        (["promote", "chatt@1", "--why", "x"], "did you mean 'chat'"),
        (["promote", "chat", "--why", "x"], "chat@3"),
        (["rollback", "chatt", "--why", "x"], "did you mean 'chat'"),
        (["history", "chatt"], "did you mean 'chat'"),
    ],
)
def test_an_unknown_model_or_version_is_wrong_usage(call, arguments, says):
    answer = call(*arguments, "--json")
    assert answer.code == USAGE
    assert answer.out == ""
    assert says in answer.err


@pytest.mark.usefixtures("registry")
def test_a_refusal_is_a_value_with_its_own_code(home):
    refused = rluf("promote", "chat@1", "--why", "x", "--json", home=home)
    assert refused.code == REFUSED
    assert refused.value()["done"] is False
    assert refused.value()["reasons"]
    assert refused.err == ""


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    "arguments",
    [
        ["settings"],
        ["migrate"],
        ["history"],
        ["compact"],
        ["features", "sql", "SELECT count(*) AS n FROM shown"],
        ["features", "online", "--user", "u"],
        ["features", "as-of", "2026-01-01", "--user", "u"],
        ["promote", "chat@1", "--why", "first", "--force"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_json_is_exactly_one_value_on_standard_output(call, arguments):
    answer = call(*arguments, "--json")
    assert answer.code == 0, answer.err
    assert isinstance(json.loads(answer.out), dict | list)


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["lag", "--json"], {"RLUF_STREAMS__BROKERS": NOBODY}),
        (["replay", "{}/one.jsonl", "--json"], {"RLUF_STREAMS__BROKERS": NOBODY}),
        (["lag", "--json"], {}),
        (["worker"], {}),
        (["api"], {}),
        (["history"], {"RLUF_MODELS__REGISTRY_URL": "postgresql+psycopg://127.0.0.1:1/x"}),
    ],
)
def test_what_is_down_is_named_with_the_code_of_outages(call, tmp_path, arguments, settings):
    make_file(tmp_path, "one.jsonl", b"{}\n")
    answer = call(*(part.format(tmp_path) for part in arguments), settings=settings)
    assert answer.code == UNAVAILABLE
    assert answer.out == ""
    assert NOBODY in answer.err or "rluf up" in answer.err or "port 1 " in answer.err


def test_a_taken_port_is_an_outage_with_the_port_in_it(call, home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        answer = call("up", settings={"RLUF_SERVING__PORT": port})
    assert answer.code == UNAVAILABLE
    assert f"port {port} " in answer.err
    assert not (home / "kafka").exists()


@pytest.mark.parametrize(
    "arguments", [["history"], ["migrate"], ["up"], ["replay", "x.jsonl"], ["features", "sql", "x"]]
)
def test_a_home_that_cannot_be_written_says_what_to_do(call, home, arguments):
    home.write_text("a file in its place", "utf-8")
    answer = call(*arguments)
    assert answer.code == USAGE
    assert f"cannot write to {home}" in answer.err
    assert "RLUF_HOME" in answer.err
