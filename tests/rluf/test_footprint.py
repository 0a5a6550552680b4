"""Goal: the processes that live beside each other hold only the libraries that they use.

Method: a fresh interpreter imports what a step worker and the API import when they begin, then what
a job that trains imports, then what was left out, and says each time which large libraries it
holds. Another one has imported them before.
"""

import subprocess
import sys

import pytest
import torch

LARGE = ("feast", "pandas", "sklearn", "trl", "datasets")
ON_GPU = () if torch.cuda.is_available() else ("triton",)
BEGIN = "import rluf.turn.jobs, serving.server"
TRAIN = "import training.fit_preference, training.improve_policy"
LATER = "from scipy.optimize import minimize\nfrom sklearn.metrics import roc_auc_score"


def large_after(*statements: str) -> list[list[str]]:
    """What an interpreter holds after each of these, done one after the other."""
    told = f"import sys\nprint(*[n for n in {LARGE + ON_GPU!r} if sys.modules.get(n)])"
    code = "\n".join(f"{each}\n{told}" for each in statements)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [line.split() for line in ran.stdout.split("\n")[:-1]]


@pytest.fixture(scope="module")
def held() -> list[list[str]]:
    return large_after(BEGIN, TRAIN, LATER)


def test_processes_begin_without_the_libraries_that_only_some_work_needs(held):
    assert held[0] == []


def test_a_job_that_trains_brings_its_trainer_alone(held):
    assert held[1] == ["pandas", "trl", "datasets"]


def test_what_was_left_out_can_be_imported_later(held):
    assert "sklearn" in held[2]


def test_what_was_imported_before_stays():
    code = "import scipy.optimize, sklearn.metrics\nimport models.policy, models.reward"
    assert "sklearn" in large_after(code)[0]
