"""Goal: the floors and the nevers of docs/house.md hold for every file, and each rule can fail.
Method: read every source file as a syntax tree and ask each rule of tests/house.py; every rule is
also given a small house that breaks it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.house import (
    HOMES,
    LINES_MAX,
    MAY_IMPORT,
    ROOT,
    a_name_means_one_class,
    annotations_hold_no_class_of_duckdb,
    engines_stay_at_home,
    evidence_stands_alone,
    faults_are_caught_narrowly,
    files_are_named_for_what_they_hold,
    files_are_short,
    ground_has_no_torch,
    help_does_not_wait_for_engines,
    imports_are_absolute_and_named,
    loose_json_stays_at_the_borders,
    names_are_the_fields_terms,
    no_circles,
    nothing_is_left_undone,
    nothing_works_at_import,
    only_the_command_line_prints,
    only_the_roof_reads_the_environment,
    packages_are_empty_but_the_tables,
    rooms_import_downwards,
    simulator_stands_alone,
    sources,
    texts_are_tokenised_in_one_place,
)

Rule = Callable[[Path], Iterator[str]]

BROKEN: dict[Rule, dict[str, str]] = {
    rooms_import_downwards: {"streams/a.py": "def f():\n    from rluf.cli import main\n"},
    no_circles: {"models/a.py": "import models.b\n", "models/b.py": "from models import a\n"},
    evidence_stands_alone: {"training/evidence/a.py": "from training.mixture import mix\n"},
    engines_stay_at_home: {"rluf/a.py": "import feast\n"},
    ground_has_no_torch: {"features/a.py": "from torch import Tensor\n"},
    simulator_stands_alone: {"simulator/a.py": "import msgspec\n"},
    only_the_roof_reads_the_environment: {"serving/a.py": "import os\nos.environ['A']\n"},
    files_are_short: {"streams/a.py": "a = 1\n" * (LINES_MAX + 1)},
    faults_are_caught_narrowly: {
        "models/a.py": "try:\n    a = 1\nexcept (OSError, Exception):\n    a = 2\n"
    },
    only_the_command_line_prints: {"serving/a.py": "print(1)\n"},
    imports_are_absolute_and_named: {"streams/a.py": "from .b import c\n"},
    packages_are_empty_but_the_tables: {"serving/__init__.py": "from serving.app import app\n"},
    nothing_works_at_import: {"streams/a.py": "import logging\nlogging.basicConfig()\n"},
    texts_are_tokenised_in_one_place: {"training/a.py": "def f(x):\n    x.tokenizer('hello')\n"},
    files_are_named_for_what_they_hold: {"streams/utils.py": ""},
    loose_json_stays_at_the_borders: {"models/a.py": "a: dict[str, Any] = {}\n"},
    a_name_means_one_class: {
        "streams/a.py": "class Row:\n    pass\n",
        "features/a.py": "class Row:\n    pass\n",
    },
    names_are_the_fields_terms: {"serving/a.py": "class FrontDesk:\n    pass\n"},
    nothing_is_left_undone: {"streams/a.py": "def f():\n    raise NotImplementedError\n"},
    help_does_not_wait_for_engines: {
        "rluf/cli.py": "from rluf.b import c\n",
        "rluf/b.py": "import torch\n",
    },
    annotations_hold_no_class_of_duckdb: {
        "features/a.py": "import duckdb\ndef f(x: duckdb.DuckDBPyConnection): ...\n"
    },
}
"""Each rule with a house that breaks it."""


@pytest.mark.parametrize("rule", BROKEN, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule):
    broken = list(rule(ROOT))
    assert not broken, "\n" + "\n".join(broken)


@pytest.mark.parametrize("rule", BROKEN, ids=lambda rule: rule.__name__)
def test_a_house_that_breaks_the_rule_is_found_out(rule, tmp_path):
    for path, text in BROKEN[rule].items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert list(rule(tmp_path))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("serving/a.py", "import simulator.users\n"),
        ("simulator/a.py", "from streams.events import Shown\n"),
        ("serving/a.py", "from training.config import PolicyConfig\n"),
        ("training/a.py", "from serving.app import create_app\n"),
        ("models/a.py", "import streams.events\n"),
        ("files/a.py", "import streams.events\n"),
        ("features/a.py", "from models.chat import Chat\n"),
        ("benchmarks/a.py", "from simulator.users import User\n"),
    ],
)
def test_rooms_that_must_not_meet_are_found_out(path, text, tmp_path):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)
    assert len(list(rooms_import_downwards(tmp_path))) == 1


@pytest.mark.parametrize(
    "call",
    [
        "tokenizer('a')",
        "self._tokenizer('a')",
        "reward.tokenizer.encode('a')",
        "tokenizer.decode([1])",
        "trainer.processing_class(text='a')",
        "anything.apply_chat_template([])",
        "anything.batch_decode([[1]])",
    ],
)
def test_a_tokenizer_called_elsewhere_is_found_out(call, tmp_path):
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving/a.py").write_text(f"def f(self):\n    return {call}\n")
    assert len(list(texts_are_tokenised_in_one_place(tmp_path))) == 1


@pytest.mark.parametrize("engine", sorted(HOMES))
def test_an_engine_away_from_its_home_is_found_out(engine, tmp_path):
    away = "serving" if not HOMES[engine][0].startswith("serving") else "rluf"
    (tmp_path / away).mkdir()
    (tmp_path / away / "a.py").write_text(f"def f():\n    import {engine}\n")
    assert len(list(engines_stay_at_home(tmp_path))) == 1


def test_a_broad_except_that_raises_again_is_allowed(tmp_path):
    (tmp_path / "models").mkdir()
    text = "try:\n    a = 1\nexcept BaseException:\n    a = 2\n    raise\n"
    (tmp_path / "models" / "a.py").write_text(text)
    assert not list(faults_are_caught_narrowly(tmp_path))


def test_every_room_has_files():
    rooms = {source.room for source in sources(ROOT)}
    assert rooms == set(MAY_IMPORT)
