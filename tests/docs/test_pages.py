"""Goal: what pages name exists: links, anchors, settings, variables, verbs, options, exit codes.

Method: every page is read for each kind of name, and each name is looked up where it is defined.
"""

import re
from pathlib import Path

import pytest

from rluf.faults import FAULT, UNAVAILABLE, USAGE
from rluf.settings import load_settings, plain
from tests.docs.pages import FENCE, PAGES, ROOT
from tests.docs.verbs import faults

LINKING = (
    *PAGES,
    ROOT / "CHANGELOG.md",
    *(ROOT / "docs" / "decisions").glob("*.md"),
    ROOT / "benchmarks" / "README.md",
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
VARIABLE = re.compile(r"RLUF_[A-Z0-9_]+[A-Z0-9]")
CODE = re.compile(r"`([^`\n]+)`")
SETTING = re.compile(
    r"(?:streams|guard|tracing|features|models|training|serving|schedule|refresh|demo)(?:\.[a-z_0-9]+)+"
)
FILES = (".py", ".toml", ".json", ".md", ".html")


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def names_of_settings() -> set[str]:
    """Every setting by its full name, and every group of them."""
    found: set[str] = set()

    def walk(tree: dict[str, object], path: str) -> None:
        for key, value in tree.items():
            name = f"{path}.{key}" if path else key
            found.add(name)
            if isinstance(value, dict):
                walk(value, name)

    walk(plain(load_settings([], {})), "")
    return found


NAMES = names_of_settings()
NOT_OURS = {"RLUF_CONFORMANCE", "RLUF_KEY"}
"""Variables that only tests read, or another program of the reader's."""


def anchor(heading: str) -> str:
    """As GitHub makes one of a heading."""
    plain_text = LINK.sub(lambda found: found.group(0)[1 : found.group(0).index("]")], heading)
    return re.sub(r"[^\w\- ]", "", plain_text.lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    text = FENCE.sub("", path.read_text("utf-8"))
    return {anchor(each) for each in re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", LINKING, ids=ids)
def test_links_within_the_checkout_lead_somewhere(page: Path) -> None:
    dead = []
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, part = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (part and path.suffix == ".md" and part not in anchors(path)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_variables_are_those_of_settings(page: Path) -> None:
    known = {f"RLUF_{name.upper().replace('.', '__')}" for name in NAMES}
    assert set(VARIABLE.findall(page.read_text("utf-8"))) - known - NOT_OURS == set()


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_settings_exist(page: Path) -> None:
    codes = CODE.findall(FENCE.sub("", page.read_text("utf-8")))
    named = {code for code in codes if SETTING.fullmatch(code) and not code.endswith(FILES)}
    assert {name for name in named if name not in NAMES} == set()


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_verbs_and_options_exist(page: Path) -> None:
    codes = CODE.findall(FENCE.sub("", page.read_text("utf-8")))
    asked = [code for code in codes if re.match(r"rluf [a-z]", code)]
    assert [fault for code in asked for fault in faults(code.replace("'", '"'))] == []


def test_exit_codes_are_those_of_the_command() -> None:
    _, _, section = (ROOT / "README.md").read_text("utf-8").partition("## Exit codes")
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    assert told == {0, FAULT, USAGE, 3, UNAVAILABLE, 130}
