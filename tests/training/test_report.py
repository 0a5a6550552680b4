"""Goal: a verdict says what broke, by how much. Method: a gate with one limit kept, one broken."""

import json
import math

from training.evidence.report import Measure, verdict_of

KEPT = Measure(name="auroc", value=0.84, low=0.80, high=0.88, limit=">= 0.80", passed=True)
BROKEN = Measure(name="slope", value=1.3, limit="0.9-1.1", passed=False)
TOLD = Measure(name="length", value=math.inf, unit="tokens")


def test_one_broken_limit_fails_the_gate_and_is_named():
    verdict = verdict_of("reward", [KEPT, BROKEN, TOLD])
    assert not verdict.passed
    assert verdict.reasons == ("slope is 1.3, asked for 0.9-1.1",)


def test_measures_without_a_limit_do_not_decide():
    assert verdict_of("reward", [KEPT, TOLD]).passed


def test_a_reason_carries_interval_and_unit():
    long = Measure(
        name="length", value=40, low=35, high=45, unit="tokens", limit="<= 30", passed=False
    )
    assert verdict_of("x", [long]).reasons == ("length is 40 tokens [35, 45], asked for <= 30",)


def test_json_has_no_numbers_that_json_lacks():
    document = verdict_of("reward", [KEPT, BROKEN, TOLD]).to_json()
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text)["measures"][2]["value"] is None
