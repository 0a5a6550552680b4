"""Goal: the attack suite is seeded and knows the truth. Method: small worlds, made twice."""

from collections import Counter

import numpy as np

from simulator.attack_texts import dictate, proofread
from simulator.attacks import BY_RULE, GROSS, HOUSE, LOOKALIKES, SUBTLE, AttackConfig, events

SMALL = AttackConfig(honest=50, each_kind=3, days=3, seed=4)


def test_one_seed_gives_one_world():
    assert events(SMALL) == events(SMALL)


def test_the_truth_names_every_kind_and_every_user():
    made, truth = events(SMALL)
    by_rule = {kind for kinds in BY_RULE.values() for kind in kinds}
    assert set(truth.values()) == {"honest", *GROSS, *SUBTLE, *by_rule, *LOOKALIKES.values()}
    assert {event["data"]["user_id"] for event in made} <= set(truth)


def taps_of(kind):
    """The reactions of one kind of account."""
    made, truth = events(SMALL)
    taps = [event["data"] for event in made if event["type"] == "rluf.reaction.v1"]
    return [tap for tap in taps if truth[tap["user_id"]] == kind]


def test_a_farm_shares_one_network_and_a_class_another():
    assert {tap["network"] for tap in taps_of("farm")} == {"farm"}
    assert {tap["network"] for tap in taps_of("class")} == {"class"}


def test_a_hammerer_praises_more_than_a_hundred_times():
    assert min(Counter(tap["user_id"] for tap in taps_of("hammerer")).values()) > 100


def test_insiders_are_named_like_the_house_or_its_policy():
    names = {tap["user_id"] for tap in taps_of("insider")}
    assert names == {"attacked", f"{HOUSE}1", f"{HOUSE}2"}


def test_what_is_dictated_stands_in_the_prompt_and_a_corrected_text_differs_from_it():
    rng = np.random.default_rng(5)
    for _ in range(50):
        prompt, reply = dictate(rng)
        said = reply.removeprefix("Of course! ").removesuffix(" Shall we talk about more things?")
        assert said in prompt
    prompts, replies = zip(*(proofread(rng) for _ in range(20)), strict=True)
    assert any(reply[:-1] not in prompt for prompt, reply in zip(prompts, replies, strict=True))
