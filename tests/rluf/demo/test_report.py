"""Goal: the report shows the facts, escapes what comes from outside and survives empty places.

Method: render a small hand-written document and look into the text. What a browser makes of it is
asked in tests/end_to_end/test_report_page.py.
"""

import json
from collections.abc import Sequence

from models.verdicts import Bound, Measure, hold
from rluf.demo.report import headline, render, summarise, verdict_line, write_report


def policy(recipe: str, **over: object) -> dict[str, object]:
    return {
        "version": "chat@1",
        "recipe": recipe,
        "num_shown": 1200,
        "num_users": 400,
        "love_rate": 0.12,
        "love_rate_ci": [0.10, 0.14],
        "love_lift": None,
        "love_lift_ci": None,
        "helpfulness_win_rate": None,
        "safety_violation_rate": 0.01,
        "closer_rate": 0.012,
        "kl_nats": None,
        "ruling": "baseline",
        "reasons": [],
        "checks": [],
        "informative": [],
        "examples": [],
    } | over


def check(
    name: str, value: float, low: float, high: float, unit: str, bound: Bound
) -> dict[str, object]:
    measure = Measure(name=name, value=value, low=low, high=high, unit=unit, num_users=80)
    return hold(measure, bound).to_json()


def version(
    ref: str, recipe: str, parents: Sequence[object] = (), snapshot: object = None
) -> dict[str, object]:
    return {
        "ref": ref,
        "recipe": recipe,
        "artifact": {"hash": ref.replace("@", "") + "a" * 60},
        "config_hash": "c" * 64,
        "snapshot": snapshot,
        "parents": list(parents),
    }


def live(arm: str, version: str, share: float, since: str, why: str) -> dict[str, object]:
    return {
        "arm": arm,
        "version": version,
        "share": share,
        "recipe": "",
        "experiment": "round-1" if share < 1 else "",
        "since": since,
        "until": None,
        "who": "rluf demo",
        "why": why,
    }


def facts() -> dict[str, object]:
    snapshot = {"hash": "b" * 64, "signal": "love", "num_rows": 2400, "num_positives": 240}
    base, love = version("chat@1", "pretrained"), version("love@1", "", snapshot=snapshot)
    return {
        "synthetic": "The users are simulated.",
        "seed": 7,
        "wall_seconds": 200.0,
        "peak_rss_mb": 3100,
        "phases": {"setup": 1.0, "round_0": 40.0, "refresh": 70.0, "round_1": 150.0},
        "snapshot_hash": "b" * 64,
        "events": {
            "produced": 3000,
            "stored": 2900,
            "duplicates": 100,
            "rejected": 0,
            "lost": 0,
            "funnel": {"shown": 2500, "reactions": 400, "labels_on": 300, "mistaps": 9},
        },
        "reward": {
            "auroc": 0.8,
            "auroc_ci": [0.78, 0.82],
            "predicted_over_observed": 1.02,
            "predicted_over_observed_ci": [0.9, 1.1],
            "length_correlation": 0.05,
            "lines": ["AUROC 0.800 [0.780, 0.820]", "ahead of the prompt alone +0.130"],
            "ruling": "refused",
            "checks": [check("ne", 1.03, 1.01, 1.05, "", Bound(high=1.0))],
            "n_labels": 2400,
            "reliability": [
                {"predicted": 0.05, "observed": 0.06, "low": 0.03, "high": 0.09, "num_rows": 200},
                {"predicted": 0.3, "observed": 0.28, "low": 0.2, "high": 0.35, "num_rows": 200},
            ],
        },
        "policies": [
            policy("baseline"),
            policy(
                "<script>alert(1)</script>",
                love_lift=0.2,
                love_lift_ci=[0.05, 0.36],
                helpfulness_win_rate=0.5,
                kl_nats=2.0,
                ruling="refused",
                version="chat@2",
                reasons=["closer_rise is 0.03 [0.02, 0.05], allowed is at most 0.01"],
                checks=[
                    check("closer_rise", 0.03, 0.02, 0.05, "ratio", Bound(high=0.01)),
                    check("emoji_ratio", 1.5, 1.2, 2.1, "ratio", Bound(high=2.0)),
                    check("length_ratio", 1.1, 1.0, 1.2, "ratio", Bound(low=0.7, high=1.3)),
                ],
                informative=[
                    Measure(name="num_replies", value=402, unit="replies").to_json(),
                ],
            ),
            policy(
                "aggressive",
                version="chat@3",
                love_rate=0.15,
                love_rate_ci=[0.13, 0.17],
                love_lift=0.25,
                love_lift_ci=[0.1, 0.4],
                ruling="passed",
                checks=[check("kl_nats", 2.13, 1.93, 2.37, "nats", Bound(high=15.0))],
            ),
        ],
        "lineage": {
            "chat@2": version("chat@2", "moderate", [base, love], snapshot=snapshot),
            "chat@3": version("chat@3", "aggressive", [base, love], snapshot=snapshot),
        },
        "turn": {"seconds": {"love": 20.0, "chat moderate": 31.0}},
        "decision": {
            "done": True,
            "action": "stop the experiment on chat",
            "version": "chat@1",
            "replaced": None,
            "reasons": [],
            "arms": [{"name": "champion", "version": 1, "share": 1.0}],
        },
        "history": [
            live("champion", "chat@1", 1.0, "2026-11-25 02:00:00", "a start (forced: no gate)"),
            live("control", "chat@1", 0.5, "2026-11-25 02:01:00", "an experiment"),
            live("moderate", "chat@2", 0.5, "2026-11-25 02:01:00", "an experiment"),
            live("champion", "chat@1", 1.0, "2026-11-25 02:02:00", "nobody was loved more"),
        ],
    }


def test_no_text_from_outside_can_end_the_element_that_holds_it(tmp_path):
    report = write_report(tmp_path, facts())
    page = report.page.read_text("utf-8")
    assert "<script>alert" not in page
    assert page.count("</script>") == 2
    assert json.loads(report.document.read_text("utf-8"))["events"]["lost"] == 0


def test_the_page_needs_nothing_from_elsewhere():
    page = render(facts())
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert "default-src 'none'" in page
    assert "<link" not in page


def test_the_headline_gives_lift_and_interval():
    assert "+20.0 % [+5.0 %, +36.0 %], refused" in headline(facts())


def test_the_decision_is_said_in_one_sentence():
    document = facts()
    assert verdict_line(document) == "No candidate was promoted: chat@1 stays live."
    document["decision"] |= {"version": "chat@3", "action": "promote chat@3 to champion"}
    assert verdict_line(document).startswith("chat@3 (aggressive) was promoted")
    document["decision"] |= {"done": False}
    assert verdict_line(document).startswith("Refused: promote chat@3 to champion. chat@1 stays")


def loveless() -> dict[str, object]:
    """The facts of a demo in which nobody loved anything."""
    document = facts()
    none = float("nan")
    for row in document["policies"]:
        row |= {"love_lift": none, "love_lift_ci": [none, float("inf")], "love_rate": 0.0}
        for told in (*row["checks"], *row["informative"]):
            told |= {"value": None, "low": None, "high": None}
    document["reward"] |= {"auroc": none, "auroc_ci": [none, none], "reliability": []}
    return document


def test_a_demo_without_love_is_reported_all_the_same(tmp_path):
    report = write_report(tmp_path, loveless())
    assert "NaN" not in report.document.read_text("utf-8")
    assert "AUROC –" in summarise(report.facts)


def test_the_terminal_summary_names_what_was_lost_and_why_it_was_refused():
    text = summarise(facts())
    assert "0 lost" in text
    assert "allowed is at most 0.01" in text
