"""Goal: the API's page shows what the status says, keeps up with it, and says so when it cannot.

Method: the real API in a thread, over a registry and a store of its own with fake voices and a fake
broker; a Chromium looks at it. 4.5:1 is WCAG 2.2's least contrast for body text.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from models.migrate import migrate
from tests.end_to_end.conftest import DESK, PHONE, Look, open_look
from tests.features.histories import at, dead_letter, reaction, shown, store_all
from tests.serving.conftest import FAST, Place, open_place
from tests.serving.fakes import register, set_arms
from tests.serving.live_server import running
from tests.verdicts import said

pytestmark = pytest.mark.browser

CONTRAST_MIN = 4.5
READY = "#health:not(.waiting)"
HEADINGS = {
    "live": "What is live",
    "love": "Love rate per version",
    "funnel": "From reply to love",
    "activity": "Coming in",
    "verdicts": "Last verdicts",
    "history": "What was made live",
    "fallen": "What fell out on the way",
    "lineage": "Where it comes from",
}
LOOKS = [(DESK, "light"), (DESK, "dark"), (PHONE, "light"), (PHONE, "dark")]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which nothing has happened."""
    home = tmp_path_factory.mktemp("bare") / "home"
    home.mkdir()
    migrate(f"sqlite:///{home / 'registry.db'}")
    return home


@pytest.fixture(scope="module")
def busy(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two live versions, a refusal, and some love."""
    root = tmp_path_factory.mktemp("busy") / "home"
    place = open_place(bare, root)
    register(place.registry, text="first")
    register(place.registry, text="<img src=x onerror=alert(1)>")
    place.registry.record_verdict("chat", 2, said("closers", "refused"))
    place.registry.record_verdict("chat", 2, said("safety"))
    set_arms(place.registry, [("champion", 1, 0.75), ("challenger", 2, 0.25)], why="an experiment")
    place.registry.close()
    events = [shown(f"r{n}", f"u{n % 10}", n * 30, policy=f"chat@{1 + n % 2}") for n in range(40)]
    loves = [reaction(f"r{n}", "add", n * 30 + 20, user_id=f"u{n % 10}") for n in range(0, 40, 5)]
    store_all(root, [*events, *loves, dead_letter(1)])
    return root


def look_at(home: Path) -> Place:
    """Open a home with a clock that stands soon after its last event."""
    place = open_place(home, home.parent / f"copy-{len(list(home.parent.iterdir()))}")
    place.clock.at = at(40 * 30)
    return place


@pytest.fixture(scope="module")
def looks(browser: Browser, busy: Path) -> Iterator[dict[tuple[int, str], Look]]:
    """The page of the busy home as everybody may see it."""
    place = look_at(busy)
    with running(place.room()) as url:
        looks = {
            (width, scheme): open_look(browser, url, width=width, scheme=scheme, ready=READY)
            for width, scheme in LOOKS
        }
        yield looks
        for look in looks.values():
            look.page.close()
    place.registry.close()


@pytest.fixture
def look(looks: dict[tuple[int, str], Look]) -> Look:
    return looks[DESK, "light"]


def section(look: Look, name: str) -> str:
    text = look.page.inner_text(f"section[aria-labelledby={name}]")
    return " ".join(text.replace("\u00a0", " ").split())


def test_every_section_is_there(look: Look):
    for name, heading in HEADINGS.items():
        assert look.page.inner_text(f"#{name}") == heading


def test_what_is_live_is_shown_with_share_and_reason(look: Look):
    live = section(look, "live")
    assert "chat@1 champion 75 % of users" in live
    assert "chat@2 challenger 25 % of users" in live
    assert "an experiment" in live


def test_the_love_of_each_version_stands_with_its_interval(look: Look):
    love = section(look, "love")
    assert "chat@1 live: champion 20.0 % (" in love
    assert "chat@1 4 20 5" in love
    titles = look.page.eval_on_selector_all("svg.chart", "all => all.map(c => c.ariaLabel)")
    assert "Love rate per policy version" in titles
    assert look.unnamed_charts() == []


def test_the_funnel_has_the_stores_numbers(look: Look):
    funnel = section(look, "funnel")
    assert "replies shown to 10 users 40" in funnel
    assert "loved 20.0 % of shown 8" in funnel
    assert "malformed_json 1" in section(look, "fallen")


def test_verdicts_have_reason_measure_and_limit(look: Look):
    verdicts = section(look, "verdicts")
    assert "chat@2 ✕ refused by 1 of 2 gates" in verdicts
    assert "closer rise is +3.0 pp (+1.0 pp to +5.0 pp), allowed is ≤ 0.5 pp" in verdicts
    look.page.click("#verdicts-body summary")
    assert "+3.0 pp +1.0 pp to +5.0 pp ≤ 0.5 pp ✕ broken" in section(look, "verdicts")


def test_history_and_lineage_are_told(look: Look):
    history = section(look, "history")
    assert "champion chat@1 75 % challenger chat@2 25 %" in history
    assert "by tester" in history
    assert "chat@2" in section(look, "lineage")


def test_markup_in_a_name_is_shown_and_not_run(look: Look):
    assert "<img src=x onerror=alert(1)>" in section(look, "live")
    assert look.page.locator("main img").count() == 0


def test_users_that_nobody_simulated_are_not_called_synthetic(look: Look):
    assert look.page.is_hidden("#synthetic")


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


def test_it_keeps_up_with_the_status_and_leaves_open_what_was_opened(browser: Browser, busy: Path):
    place = look_at(busy)
    with running(place.room()) as url:
        look = open_look(browser, url, ready="#verdicts-body summary")
        look.page.click("#verdicts-body summary")
        set_arms(place.registry, [("champion", 2, 1.0)], why="it was loved more")
        place.registry.record_verdict("chat", 1, said("safety"))
        live = look.page.locator("#live-body")
        expect(live).to_contain_text("it was loved more")
        expect(look.page.locator("#verdicts-body")).to_contain_text("✓ passed 1 gate")
        opened = look.page.locator("#verdicts-body details[open]")
        assert opened.get_attribute("data-key") == "chat@2 closers"
        assert look.complaints == []
        look.page.close()
    place.registry.close()


def test_what_the_demo_made_is_called_synthetic(browser: Browser, busy: Path):
    place = look_at(busy)
    place.registry.move_alias("chat", "champion", 1, expected=None, why="a start", who="rluf demo")
    with running(place.room()) as url:
        look = open_look(browser, url, ready=READY)
        expect(look.page.locator("#synthetic")).to_contain_text("synthetic: users simulated")
        look.page.close()
    place.registry.close()


def test_an_empty_home_says_what_is_missing(browser: Browser, bare: Path):
    place = look_at(bare)
    with running(place.room()) as url:
        look = open_look(browser, url, width=PHONE, ready=READY)
        for name, words in {
            "live": "Nothing is live yet.",
            "love": "No reply has been shown yet",
            "funnel": "No event has been stored yet.",
            "activity": "Nothing came in during the last hour.",
            "verdicts": "No gate has judged a version yet.",
            "history": "Nothing has been made live yet.",
            "fallen": "Nothing fell out",
            "lineage": "Nothing is live",
        }.items():
            assert words in section(look, name)
        assert "chat has no live version" in look.page.inner_text("#notices")
        assert look.complaints == []
        assert look.overflow_px() == 0
        assert look.pale_texts(CONTRAST_MIN) == []
        look.page.close()
    place.registry.close()


def test_a_registry_that_cannot_be_read_is_said_and_the_store_still_shown(
    browser: Browser, busy: Path
):
    place = look_at(busy)
    with running(place.room()) as url:
        with closing(sqlite3.connect(place.root / "registry.db")) as connection:
            connection.execute("ALTER TABLE versions RENAME TO lost")
        look = open_look(browser, url, ready=READY)
        assert "The registry cannot be read" in look.page.inner_text("#notices")
        assert "Not known while the registry cannot be read." in section(look, "live")
        assert "loved 20.0 % of shown 8" in section(look, "funnel")
        assert look.page.inner_text("#health") == "✕ not ready"
        look.page.close()
    place.registry.close()


def test_an_api_that_is_gone_is_said_and_what_was_known_stays(browser: Browser, busy: Path):
    place = look_at(busy)
    with running(place.room()) as url:
        look = open_look(browser, url, ready=READY)
        expect(look.page.locator("#live-body")).to_contain_text("an experiment")
    expect(look.page.locator("#notices")).to_contain_text("The API does not answer.")
    expect(look.page.locator("#notices")).to_contain_text("Below is what was known at 2026-03-01")
    assert "an experiment" in section(look, "live")
    assert look.page.inner_text("#health") == "✕ no answer"
    look.page.close()
    place.registry.close()


def test_an_api_with_keys_asks_for_one_and_goes_on(browser: Browser, busy: Path):
    place = look_at(busy)
    with running(place.room(replace(FAST, api_keys=("open sesame",)))) as url:
        look = open_look(browser, url, ready=READY)
        assert "This API wants a key." in look.text()
        look.page.fill("#key", "wrong")
        look.page.click("button")
        expect(look.page.locator("#notices")).to_contain_text("did not take this key")
        look.page.fill("#key", "open sesame")
        look.page.click("button")
        expect(look.page.locator("#live-body")).to_contain_text("an experiment")
        assert look.page.is_hidden("#key-form")
        look.page.close()
    place.registry.close()
