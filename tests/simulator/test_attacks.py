"""Goal: the attack suite is seeded and knows the truth. Method: small worlds, made twice."""

from simulator.attacks import GROSS, SUBTLE, AttackConfig, events

SMALL = AttackConfig(honest=50, each_kind=3, days=3, seed=4)


def test_one_seed_gives_one_world():
    assert events(SMALL) == events(SMALL)


def test_the_truth_names_every_kind_and_every_user():
    made, truth = events(SMALL)
    assert set(truth.values()) == {"honest", *GROSS, *SUBTLE}
    assert {event["data"]["user_id"] for event in made} <= set(truth)
