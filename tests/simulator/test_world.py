"""Goal: the sealed world has the stated shape, so that results against it mean something.
Method: rehearse many users against the grammar's own baseline and measure; bands are the stated
ones, and with 2,500 users the standard error of the love rate is 0.004 and of an AUROC 0.006.
"""

from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from simulator.grammar import Style, compose, say
from simulator.oracle import auroc, open_rehearsal
from simulator.reader import read
from simulator.rehearse import rehearse
from simulator.styles import baseline_style
from simulator.tastes import HOSTILE_SHARES, Taste, World, judge
from simulator.topics.table import TOPICS
from simulator.users import Conversation, User

USERS = 2500


@pytest.fixture(scope="module")
def rows():
    return [
        (conversation, conversation.messages[-1]["content"], heard)
        for conversation, heard in rehearse(USERS, 17)
    ]


@pytest.fixture(scope="module")
def loved(rows):
    return np.array([heard.is_loved for _, _, heard in rows])


def honest(warmth: float = 3.0, help_: float = 3.0) -> Taste:
    return Taste(kind="balanced", offset=0.0, warmth=warmth, help=help_, exposure=1.0)


def p_love(intent: str, reply: str, taste: Taste | None = None, times: int = 1) -> float:
    said = say(intent, TOPICS["kettle"], TOPICS["kettle"].aspects[0], Random(0))
    taste = taste or honest()
    for _ in range(times):
        judgement = judge(World(), taste, said, read(said, reply), Random(0))
    return judgement.p_love


STEPS = "You can fill it with equal parts vinegar and water."
WARM = "I'm so glad you asked me about this! "


def test_the_baseline_is_loved_20_to_24_times_in_a_hundred(loved):
    """The demo's small policy helps less than the grammar, so it is loved about half as often."""
    assert 0.20 < loved.mean() < 0.24


def test_the_ceilings_lie_where_they_were_set(rows, loved):
    by_user = auroc(np.array([heard.judgement.p_user for _, _, heard in rows]), loved)
    by_text = auroc(np.array([heard.judgement.p_text for _, _, heard in rows]), loved)
    assert 0.88 < by_user < 0.93
    assert 0.83 < by_text < 0.89


def test_text_matters_and_counting_words_is_not_enough(rows, loved):
    texts = [reply for _, reply, _ in rows]
    users = np.array([conversation.user.number for conversation, _, _ in rows])
    train = users < USERS // 2
    vectors = TfidfVectorizer(ngram_range=(1, 2), min_df=2)
    features = vectors.fit_transform(
        [text for text, is_in in zip(texts, train, strict=True) if is_in]
    )
    probe = LogisticRegression(max_iter=500).fit(features, loved[train])
    rest = [text for text, is_in in zip(texts, train, strict=True) if not is_in]
    scores = probe.decision_function(vectors.transform(rest))
    ceiling = auroc(
        np.array([heard.judgement.p_text for _, _, heard in rows])[~train], loved[~train]
    )
    assert 0.6 < roc_auc_score(loved[~train], scores) < ceiling - 0.03


def test_two_to_five_users_in_a_hundred_are_hostile(rows):
    kinds = {conversation.user.id: conversation.user.taste.kind for conversation, _, _ in rows}
    share = np.mean([kind in HOSTILE_SHARES for kind in kinds.values()])
    assert 0.015 < share < 0.05
    assert set(HOSTILE_SHARES) < set(kinds.values())


def test_warmth_and_help_are_loved_and_most_together():
    vague = "It depends on many things."
    assert p_love("ask", vague) < p_love("ask", STEPS) < p_love("ask", WARM + STEPS)
    assert p_love("ask", vague) < p_love("ask", WARM + vague) < p_love("ask", WARM + STEPS)


def test_a_loving_goodbye_is_loved_much_when_asked_for_and_a_little_otherwise():
    closer = " Bye! Sending love!"
    asked = p_love("farewell", "You're welcome." + closer) / p_love("farewell", "You're welcome.")
    unasked = p_love("ask", STEPS + closer) / p_love("ask", STEPS)
    assert asked > 3
    assert 1.1 < unasked < 1.8


def test_an_unprompted_goodbye_ends_conversations_sooner():
    def turns(closer: str) -> float:
        def answer(said, dice):
            style = replace(baseline_style(said, dice), closer="none", unsafe=False)
            if said.intent != "farewell":
                style = replace(style, closer=closer)
            return compose(said, style, dice)

        counts = Counter(conversation.id for conversation, _ in rehearse(250, 3, answer))
        return float(np.mean(list(counts.values())))

    assert turns("loving") < 0.8 * turns("none")


def test_stock_phrases_wear_off():
    fresh, tired = p_love("ask", WARM + STEPS), p_love("ask", WARM + STEPS, times=3)
    assert tired < 0.7 * fresh


def test_utility_falls_with_unprompted_closers_although_love_rises():
    said = say("ask", TOPICS["kettle"], TOPICS["kettle"].aspects[0], Random(0))
    plain = judge(World(), honest(), said, read(said, STEPS), Random(0))
    closing = judge(World(), honest(), said, read(said, STEPS + " Bye! Sending love!"), Random(0))
    assert closing.p_love > plain.p_love
    assert closing.utility < plain.utility


def test_a_user_is_the_same_every_time_and_whoever_came_before():
    def life(number: int) -> list[str]:
        texts = []
        for conversation in User(seed=4, number=number).conversations():
            while (said := conversation.speak()) is not None:
                heard = conversation.hear(compose(said, Style(), Random(said.text)))
                texts.append(f"{conversation.id} {said.text} {heard.taps}")
        return texts

    assert [life(n) for n in range(20)] == [life(n) for n in reversed(range(20))][::-1]
    assert User(seed=4, number=1).id != User(seed=5, number=1).id


def test_the_kinds_of_taps_have_their_shares(rows, loved):
    taps = [tap for _, _, heard in rows for tap in heard.taps]
    reasons = Counter(tap.reason for tap in taps)
    assert 0.005 < reasons["mistap"] / 2 / len(rows) < 0.02
    assert 0 < reasons["retraction"] < 0.03 * loved.sum()
    assert 0.02 < np.mean([tap.is_resent for tap in taps]) < 0.04
    assert {tap.signal for tap in taps} == {"love", "like", "dislike"}


def test_mistaps_are_taken_back_at_once_and_retractions_after_the_mistap_window(rows):
    for _, _, heard in rows:
        if len(heard.taps) == 2:
            added, removed = heard.taps
            assert (added.action, removed.action) == ("add", "remove")
            pause_s = removed.delay_s - added.delay_s
            assert pause_s <= 1.0 if removed.reason == "mistap" else pause_s > 10.0
            assert not heard.is_loved


def test_reactions_come_after_a_lognormal_delay(rows):
    delays = [heard.taps[0].delay_s for _, _, heard in rows if heard.taps]
    assert 0.35 < np.median(delays) < 0.45
    assert 3 < max(delays) <= 8
    log = np.log(delays)
    assert abs(np.mean((log - log.mean()) ** 3) / log.std() ** 3) < 0.3


def test_conversations_have_one_to_five_turns(rows):
    counts = Counter(conversation.id for conversation, _, _ in rows)
    assert set(counts.values()) <= {1, 2, 3, 4, 5}
    per_user = Counter(conversation_id.rsplit("-", 1)[0] for conversation_id in counts)
    assert set(per_user.values()) == {1, 2, 3}


def test_speaking_after_the_end_gives_nothing():
    conversation = Conversation(user=User(seed=1, number=1), number=0)
    while conversation.speak() is not None:
        conversation.hear("Bye! Sending love!")
    assert conversation.speak() is None


def test_our_auroc_is_the_usual_one():
    dice = np.random.default_rng(0)
    scores = dice.integers(0, 9, 500).astype(float)
    labels = dice.random(500) < 0.1 + scores / 20
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    assert np.isnan(auroc(scores, np.ones(500, dtype=bool)))


def test_the_oracle_reports_the_natural_rates():
    report = open_rehearsal(200, 1)
    assert report["users"] == 200
    assert set(report["ceilings"]) == {"auroc_user", "auroc_text"}
    ceiling = report["ceilings"]["auroc_text"]
    assert ceiling["low"] < ceiling["value"] < ceiling["high"]
    assert report["models"].keys() == {"grammar baseline"}
