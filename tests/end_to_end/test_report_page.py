"""Goal: the demo's report is one file that anybody can read, on a phone and in the dark as well.

Method: render hand-written facts, open the file from disk in a Chromium, and ask the page what it
drew. 4.5:1 is WCAG 2.2's least contrast for body text.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from rluf.demo.report import render
from tests.end_to_end.conftest import DESK, PHONE, Look, open_look
from tests.rluf.demo.test_report import facts, loveless

pytestmark = pytest.mark.browser

CONTRAST_MIN = 4.5
SECTIONS = {
    "loved": "Did users love it more?",
    "sentinels": "What the sentinels saw",
    "calibration": "Is P[love] a probability?",
    "funnel": "What became of the events",
    "decided": "What was decided, and what was live when",
    "lineage": "Where each version comes from",
    "time": "Where the time went",
}
CHARTS = (
    "Love rate per policy version",
    "Change of the love rate against the baseline",
    "Reliability of P[love]: predicted against observed love on later users",
    "What became of the events",
    "What each version was made of",
    "Where the time went",
    "Steps of the refresh, longest first",
)
LOOKS = [(DESK, "light"), (DESK, "dark"), (PHONE, "light"), (PHONE, "dark")]


@pytest.fixture(scope="module")
def looks(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[int, str], Look]]:
    """The report as everybody may see it."""
    file: Path = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render(facts()), "utf-8")
    looks = {
        (width, scheme): open_look(browser, file.as_uri(), width=width, scheme=scheme)
        for width, scheme in LOOKS
    }
    yield looks
    for look in looks.values():
        look.page.close()


@pytest.fixture
def look(looks: dict[tuple[int, str], Look]) -> Look:
    return looks[DESK, "light"]


def section(look: Look, name: str) -> str:
    text = look.page.inner_text(f"section[aria-labelledby={name}]")
    return " ".join(text.replace("\u00a0", " ").split())


def test_every_section_is_there(look: Look):
    for name, heading in SECTIONS.items():
        assert look.page.inner_text(f"#{name}") == heading


def test_every_chart_is_there_with_its_numbers_for_screen_readers(look: Look):
    titles = look.page.eval_on_selector_all("svg.chart", "all => all.map(c => c.ariaLabel)")
    assert sorted(titles) == sorted(CHARTS)
    assert look.unnamed_charts() == []
    told = look.page.eval_on_selector_all("svg desc", "all => all.map(d => d.textContent)")
    assert "aggressive: +25.0 % (+10.0 % to +40.0 %)" in told[1].replace("\u00a0", " ")


def test_the_users_are_said_to_be_synthetic(look: Look):
    assert "synthetic: simulated users" in look.page.inner_text("header")


def test_the_love_of_each_version_stands_with_its_interval(look: Look):
    loved = section(look, "loved")
    for words in ("12.0 % (10.0 % to 14.0 %)", "+25.0 %", "+10.0 % to +40.0 %", "1,200 replies"):
        assert words in loved


def test_each_measure_has_value_interval_limit_and_outcome(look: Look):
    rows = [
        " ".join(text.replace("\u00a0", " ").split())
        for text in look.page.locator(".measures tbody tr").all_inner_texts()
    ]
    broken = next(row for row in rows if row.startswith("closer rise"))
    assert broken.endswith("+3.0 pp +2.0 pp to +5.0 pp ≤ 1 pp ✕ broken")
    kept = next(row for row in rows if row.startswith("length ratio"))
    assert kept.endswith("1.10 × 1.00 × to 1.20 × 0.7 × to 1.3 × ✓ kept")
    undecided = next(row for row in rows if row.startswith("emoji ratio"))
    assert undecided.endswith("1.50 × 1.20 × to 2.10 × ≤ 2 × ? undecided")
    assert next(row for row in rows if row.startswith("replies")).endswith("no limit · informs")


def test_what_was_not_kept_is_said_in_sentences(look: Look):
    sentinels = section(look, "sentinels")
    assert "closer rise is +3.0 pp (+2.0 pp to +5.0 pp), allowed is ≤ 1 pp" in sentinels
    undecided = "emoji ratio is 1.50 × (1.20 × to 2.10 ×), allowed is ≤ 2 ×: not enough evidence"
    assert f"{undecided}, about 120 users would decide" in sentinels
    assert "ne is 1.03 (1.01 to 1.05), allowed is ≤ 1" in section(look, "calibration")
    assert "of 3,000 acknowledged" in look.text()


def test_each_version_has_a_mark_of_its_own_shape(look: Look):
    names = "all => all.map(mark => mark.tagName)"
    chart = 'svg[aria-label="Love rate per policy version"]'
    assert look.page.eval_on_selector_all(f"{chart} .mark", names) == ["circle", "rect", "polygon"]


def test_numbers_under_an_axis_have_the_digits_that_their_step_needs(look: Look):
    words = "all => all.map(tick => tick.textContent)"
    for title in CHARTS[:2]:
        ticks = look.page.eval_on_selector_all(f'svg[aria-label="{title}"] .tick', words)
        assert len(set(ticks)) == len(ticks) > 3


def test_a_graph_says_what_came_from_what(look: Look):
    told = look.page.text_content('svg[aria-label="What each version was made of"] desc')
    assert "snapshot bbbbbbbbbb comes from nothing older" in told
    assert "chat@2 comes from chat@1, love@1" in told


def test_a_demo_without_love_is_shown_all_the_same(browser: Browser, tmp_path: Path):
    file = tmp_path / "report.html"
    file.write_text(render(loveless()), "utf-8")
    look = open_look(browser, file.as_uri(), width=PHONE)
    assert look.text().count("There is too little love for an interval yet.") == 2
    assert look.complaints == []
    assert look.overflow_px() == 0
    look.page.close()


def test_decision_history_and_lineage_are_told_in_words(look: Look):
    decided = section(look, "decided")
    assert "No candidate was promoted: chat@1 stays live." in decided
    assert decided.index("nobody was loved more") < decided.index("an experiment")
    assert "control chat@1 50 % of users moderate chat@2 50 % of users" in decided
    assert "240 of 2,400 rows loved" in section(look, "lineage")


def test_what_was_forced_can_be_unfolded(look: Look):
    look.page.click("summary")
    assert "no gate" in section(look, "decided")


def test_markup_in_a_name_is_shown_and_not_run(look: Look):
    assert "<script>alert(1)</script>" in look.text()


def test_the_events_add_up(look: Look):
    funnel = section(look, "funnel")
    for words in ("3,000", "2,900", "100 sent again", "2,500", "400", "300"):
        assert words in funnel


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_it_is_legible_everywhere(looks: dict[tuple[int, str], Look], width: int, scheme: str):
    look = looks[width, scheme]
    assert look.complaints == []
    assert look.overflow_px() == 0
    assert look.pale_texts(CONTRAST_MIN) == []
    assert look.cut_labels() == []


def test_dark_is_dark_and_light_is_light(looks: dict[tuple[int, str], Look]):
    assert looks[DESK, "dark"].ground_lightness() < 0.05
    assert looks[DESK, "light"].ground_lightness() > 0.8


def test_printed_it_is_dark_on_light(looks: dict[tuple[int, str], Look]):
    page = looks[DESK, "dark"].page
    page.emulate_media(media="print", color_scheme="dark")
    assert looks[DESK, "dark"].ground_lightness() > 0.8
    assert looks[DESK, "dark"].pale_texts(CONTRAST_MIN) == []
    page.emulate_media(media="screen", color_scheme="dark")
