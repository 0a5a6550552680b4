"""Goal: what README and docs tell a reader to type works as it stands there.

Method: every fenced block of every page. Shell commands run in bash, one after the other, in a
folder with a home that has lived and with everything running (tests/docs/world.py); they must end
with 0 and answer what the page says. Python runs as it stands, settings are loaded, events decoded.
What only the reader has is replaced (SUBSTITUTES); what costs minutes is looked at and not run: its
targets and options exist. A block in a language that nobody here runs fails.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from rluf.settings import load_settings
from streams.codec import decode
from streams.config import StreamsConfig
from tests.docs.pages import ROOT, Command, Snippet, commands, snippets
from tests.docs.verbs import faults
from tests.docs.world import World, living, missing_programs, running
from tests.waiting import WAIT_S

pytestmark = pytest.mark.kafka

CODES = {
    "rluf refresh": (0, 3),  # Whether a candidate passes is for the gates to say.
    "rluf improve-policy": (0, 3),
}
"""Exit codes that are right, where another than 0 may be."""
RUN_HERE = ("", "sh", "python", "toml", "json", "yaml", "nginx", "js", "crontab")
LONG = ("rluf refresh", "rluf improve-policy")
"""Minutes on a busy machine: run in `make test-long`, and of `make test` only their options."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with living(tmp_path_factory.mktemp("reader")) as world:
        yield world


def of(*languages: str) -> list[object]:
    """The blocks in these languages, as parameters named by page and line."""
    found = [each for each in snippets() if each.language in languages]
    return [pytest.param(each, id=str(each)) for each in found]


def test_every_block_is_of_a_language_that_is_run_here() -> None:
    unknown = [f"{each}: {each.language}" for each in snippets() if each.language not in RUN_HERE]
    assert unknown == []


def test_a_block_without_a_language_is_a_picture_and_no_command() -> None:
    verbs = re.compile(r"^\s*(\$ |make |rluf |curl |python |pip |export |kcat )", re.MULTILINE)
    assert [str(s) for s in snippets() if not s.language and verbs.search(s.text)] == []


@pytest.mark.parametrize("snippet", of("sh"))
def test_commands_do_what_the_page_says(world: World, snippet: Snippet) -> None:
    lacking = missing_programs(snippet.text)
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)}")
    for command in commands(snippet):
        if not is_looked_at(command) and not is_start(world, command):
            run(world, command)


@pytest.mark.long
@pytest.mark.parametrize("snippet", of("sh"))
def test_commands_that_take_minutes_do_too(world: World, snippet: Snippet) -> None:
    for command in commands(snippet):
        if command.text.startswith(LONG):
            run(world, command)


@pytest.mark.parametrize("snippet", of("python"))
def test_python_runs_as_it_stands(world: World, snippet: Snippet) -> None:
    script = world.folder / "snippet.py"
    script.write_text(world.ours(snippet.text), "utf-8")
    done = world.run(f"{shlex.quote(sys.executable)} {script}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("snippet", of("toml"))
def test_settings_are_those_of_a_recipe(snippet: Snippet, tmp_path: Path) -> None:
    recipe = tmp_path / "page.toml"
    recipe.write_text(snippet.text, "utf-8")
    load_settings([recipe], {})


@pytest.mark.parametrize("snippet", of("json"))
def test_events_are_events(snippet: Snippet) -> None:
    reader, rest, num_events = json.JSONDecoder(), snippet.text.strip(), 0
    while rest:
        event, end = reader.raw_decode(rest)
        value, now = json.dumps(event).encode(), datetime.now(UTC)
        decode(value, known_at=now, config=StreamsConfig())
        rest, num_events = rest[end:].strip(), num_events + 1
    assert num_events > 0


@pytest.mark.parametrize("snippet", of("yaml"))
def test_files_of_front_ends_can_be_read(snippet: Snippet) -> None:
    assert yaml.safe_load(snippet.text)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
@pytest.mark.parametrize("snippet", of("nginx"))
def test_nginx_takes_its_lines(snippet: Snippet, tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    whole = f"pid {tmp_path}/pid; events {{}} http {{ server {{ listen 127.0.0.1:0;\n"
    file.write_text(f"{whole}{snippet.text}\n}} }}\n".replace("127.0.0.1:0", f"unix:{tmp_path}/s"))
    told = ["nginx", "-t", "-q", "-p", str(tmp_path), "-c", str(file), "-e", f"{tmp_path}/log"]
    done = subprocess.run(told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("snippet", of("js"))
def test_scripts_of_pages_are_javascript(snippet: Snippet, tmp_path: Path) -> None:
    script = tmp_path / "snippet.mjs"  # A module, where `await` may stand alone.
    script.write_text(snippet.text, "utf-8")
    done = subprocess.run(
        ["node", "--check", str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("snippet", of("crontab"))
def test_lines_for_cron_run_commands_with_options_that_exist(snippet: Snippet) -> None:
    for line in snippet.text.splitlines():
        command = re.search(r"(?:\.venv/bin/)?(rluf [^>&|]*)", line)
        assert command is not None, line
        assert_known(command.group(1))


def run(world: World, command: Command) -> None:
    """Run one command with what stands above it, and compare what the page promises."""
    script = world.ours(
        command.before
        if command.before.endswith(command.text + "\n")
        else f"{command.before}{command.text}"
    )
    is_of_checkout = command.text.startswith("alembic ")
    done = world.run(script, cwd=ROOT if is_of_checkout else None)
    if "/v1/score" in command.text and "no_reward_model" in done.stdout:
        return  # No turn has ended here yet: the API says that, and what is missing.
    codes = next((right for name, right in CODES.items() if command.text.startswith(name)), (0,))
    assert done.returncode in codes, f"{script}\n{done.stdout}\n{done.stderr}"
    answered = done.stdout.splitlines()
    for promise in command.promises:
        pattern = re.escape(promise).replace("…", ".*")
        assert any(re.fullmatch(pattern, line.strip()) for line in answered), (promise, answered)


def is_start(world: World, command: Command) -> bool:
    """Whether it is `rluf up`: then it has come up and been ended with Ctrl-C."""
    words = shlex.split(world.ours(command.text), comments=True)
    names = [word for word in words if not re.match(r"[A-Z_]+=", word)]
    if names[:2] != ["rluf", "up"]:
        return False
    given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    settings = {"RLUF_SERVING__PORT": "0"} | given
    with running(Path(world.new_folder()), *names[2:], settings=settings) as up:
        assert up.state()["url"].startswith("http://127.0.0.1:")
    return True


def is_looked_at(command: Command) -> bool:
    """Whether it costs too much to be run here: then what it names has been looked for."""
    words = shlex.split(command.text, comments=True)
    if words[0] == "make":
        done = subprocess.run(
            ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return True
    if words[:2] == ["python", "-m"]:
        told = subprocess.run(
            [sys.executable, "-m", words[2], "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=True,
        ).stdout
        assert [word for word in words if word.startswith("--") and word not in told] == []
        return True
    if " pip install " in command.text:  # It would change what the tests run in.
        extras = re.findall(r"\[(\w+)\]", command.text)
        assert all(f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text() for extra in extras)
        return True
    if command.text.startswith(LONG):
        assert_known(command.text)
        return True
    return False


def assert_known(text: str) -> None:
    """Fail where `rluf` has no such verb or option."""
    assert faults(text) == []
