"""Goal: the report shows the facts, escapes what comes from outside and survives empty places.

Method: render a small hand-written document and look into the text.
"""

import json

from rluf.charts import Whisker, whiskers
from rluf.report import headline, summarise, write_report


def policy(recipe: str, **over: object) -> dict[str, object]:
    return {
        "version": "chat@1",
        "recipe": recipe,
        "num_shown": 1200,
        "love_rate": 0.12,
        "love_rate_ci": [0.10, 0.14],
        "love_lift": None,
        "love_lift_ci": None,
        "helpfulness_win_rate": None,
        "safety_violation_rate": 0.01,
        "closer_rate": 0.012,
        "kl_nats": None,
        "verdict": "baseline",
        "reasons": [],
        "measures": [],
    } | over


def facts() -> dict[str, object]:
    node = {
        "version": "chat@2",
        "recipe": "moderate",
        "artifact_hash": "a" * 64,
        "snapshot_hash": "b" * 64,
        "config_hash": "c" * 64,
        "parents": [],
    }
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
            "length_correlation": 0.05,
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
                verdict="refused",
                reasons=["closer rate rose"],
                measures=[
                    {
                        "name": "closer_rate",
                        "value": 0.03,
                        "low": None,
                        "high": None,
                        "unit": "ratio",
                        "limit": "<= 2x",
                        "passed": False,
                    }
                ],
            ),
        ],
        "lineage": {"chat@2": node},
    }


def test_the_page_shows_the_facts_and_escapes_markup(tmp_path):
    report = write_report(tmp_path, facts())
    page = report.page.read_text("utf-8")
    assert "<script>" not in page
    assert "closer rate rose" in page
    assert "3,000 acknowledged" in page
    assert json.loads(report.document.read_text("utf-8"))["events"]["lost"] == 0


def test_the_headline_gives_lift_and_interval():
    assert "+20.0 % [+5.0 %, +36.0 %], refused" in headline(facts())


def test_the_terminal_summary_names_what_was_lost_and_why_it_was_refused():
    text = summarise(facts())
    assert "0 lost" in text
    assert "closer rate rose" in text


def test_a_chart_reads_its_numbers_out_to_screen_readers():
    chart = whiskers(
        [Whisker(label="a<b", value=0.1, low=0.05, high=0.15)],
        title="T",
        axis="rate",
        reference=0.1,
    )
    assert "<desc>a&lt;b: 10.0 % (5.0 % to 15.0 %)</desc>" in chart


def test_a_chart_of_one_certain_value_still_has_an_axis():
    assert "<svg" in whiskers(
        [Whisker(label="a", value=0.0, low=0.0, high=0.0)], title="T", axis="rate", reference=0.1
    )
