"""Goal: the processes that live beside each other hold only the libraries that they use.

Method: fresh interpreters import what a step worker and the API import when they begin, and say
which large libraries came with it.
"""

import subprocess
import sys

import pytest
import torch

LARGE = ("feast", "pandas", "sklearn", "trl", "datasets")
ON_GPU = () if torch.cuda.is_available() else ("triton",)


def large_after(statements: str) -> list[str]:
    code = (
        f"{statements}\nimport sys\nprint(*[n for n in {LARGE + ON_GPU!r} if sys.modules.get(n)])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.split()


@pytest.mark.parametrize("module", ["rluf.turn.jobs", "serving.server"])
def test_a_process_begins_without_the_libraries_that_only_some_work_needs(module):
    assert large_after(f"import {module}") == []


def test_a_job_that_trains_brings_its_trainer_alone():
    brought = large_after("import rluf.turn.jobs, training.fit_preference, training.improve_policy")
    assert brought == ["pandas", "trl", "datasets"]


def test_what_was_left_out_can_be_imported_later():
    later = "from scipy.optimize import minimize\nfrom sklearn.metrics import roc_auc_score"
    brought = large_after(f"import models.policy, models.reward\n{later}")
    assert "sklearn" in brought


def test_what_was_imported_before_stays():
    code = "import scipy.optimize, sklearn.metrics\nimport models.policy, models.reward"
    assert "sklearn" in large_after(code)
