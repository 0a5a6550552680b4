"""pytest-alembic's own tests of our migrations, on SQLite and PostgreSQL: one row each.

Left out: test_all_models_register_on_metadata looks for a MetaData, or for a base of SQLAlchemy's
1.x, in the `__init__.py` of the package, and ours are empty; all tables stand in one file.
"""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from checks import report

ROOT = Path(os.environ["SUITES_ROOT"])
WORK = Path(os.environ["SUITES_WORK"])
TESTS = """
import itertools
import pytest
from pytest_alembic.tests import (
    test_model_definitions_match_ddl, test_single_head_revision,
    test_up_down_consistency, test_upgrade)
from pytest_alembic.tests.experimental import test_downgrade_leaves_no_trace
from sqlalchemy import create_engine
from tests.models.postgres import NoPostgres, running_postgres

numbers = itertools.count()

@pytest.fixture(scope="session")
def postgres():
    try:
        with running_postgres() as server:
            yield server
    except NoPostgres as reason:
        pytest.skip(str(reason))

@pytest.fixture(params=["sqlite", "postgresql"])
def alembic_engine(request, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'registry.db'}"
    else:
        url = request.getfixturevalue("postgres").create(f"stock_{next(numbers)}")
    engine = create_engine(url)
    yield engine
    engine.dispose()
"""
INI = "[pytest]\npytest_alembic_tests_path = none\n"


def main():
    tests, junit = WORK / "test_stock.py", WORK / "junit.xml"
    tests.write_text(TESTS, "utf-8")
    (WORK / "pytest.ini").write_text(INI, "utf-8")
    junit.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--junitxml={junit}", "-c", WORK / "pytest.ini",
         f"--rootdir={WORK}", "-p", "no:cacheprovider", tests],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    (WORK / "pytest.log").write_text(done.stdout + done.stderr, "utf-8")
    if not junit.exists():
        report("pytest ran", False, done.stdout[-800:] + done.stderr[-800:])
        return
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        name = case.get("name", "").removeprefix("test_").replace("_", " ")
        faults = [f"{node.tag}: {node.get('message')}" for node in case]
        report(name, not faults, " | ".join(faults))


main()
