"""Goal: a reaction under any name that its exposure had is the user's, and nobody else's.

Method: small histories through the views, the online store and erasure; names are those of one
exposure, of another one, shared by several users, or of an API key that many use.
"""

from itertools import product

import pytest

from features.config import FeaturesConfig
from features.erasing import forget_user, known_names, search
from features.online import features_as_of, online_features
from features.store import FactStore
from features.views import connect
from tests.features.histories import AFTER, at, erasure, facts_of, reaction, shown, store_all

NAMES = {"user_aliases": ("u-mail", "u-sso"), "response_aliases": ("m-1",), "client_id": "k"}
OWN = shown("r", "u", **NAMES)


def labels(root, as_of=None):
    with connect(root, as_of) as connection:
        return connection.sql(
            "SELECT response_id, user_id, signal, value, dangling FROM labels ORDER BY ALL"
        ).fetchall()


def online(root, user_id):
    return online_features(root, users=[user_id])["users"][user_id]


@pytest.mark.parametrize(
    ("response", "user"), list(product(("r", "m-1"), ("u", "u-mail", "u-sso", "k")))
)
def test_a_reaction_under_any_name_of_the_exposure_is_the_users(tmp_path, response, user):
    store_all(tmp_path, [OWN, reaction(response, "add", 5, user_id=user)])
    assert labels(tmp_path) == [("r", "u", "love", True, False)]
    (row,) = features_as_of(FeaturesConfig(root=tmp_path), users=["u"], at=AFTER)
    assert (row["num_shown"], row["num_love"]) == (1, 1)


def test_names_of_one_user_fold_into_one_label(tmp_path):
    taps = [
        reaction("r", "add", 5, user_id="u-mail"),
        reaction("m-1", "add", 30, user_id="u"),
        reaction("m-1", "remove", 90, user_id="k"),
    ]
    store_all(tmp_path, [OWN, *taps])
    assert labels(tmp_path) == [("r", "u", "love", False, False)]


@pytest.mark.parametrize(("response", "user"), [("r", "v"), ("m-2", "u"), ("m-1", "v"), ("r", "")])
def test_a_name_that_the_exposure_did_not_have_stays_a_strangers(tmp_path, response, user):
    store_all(tmp_path, [OWN, reaction(response, "add", 5, user_id=user)])
    (label,) = labels(tmp_path)
    assert label == (response, user, "love", True, response != "r")


def test_names_of_another_exposure_do_not_count(tmp_path):
    other = shown("q", "v", user_aliases=("v-mail",), client_id="k2")
    store_all(tmp_path, [OWN, other, reaction("r", "add", 5, user_id="v-mail")])
    assert labels(tmp_path) == [("r", "v-mail", "love", True, False)]


def test_what_names_an_exposure_as_it_stands_is_never_taken_for_another(tmp_path):
    other = shown("r", "u-mail", seconds=1)
    store_all(tmp_path, [OWN, other, reaction("r", "add", 5, user_id="u-mail")])
    assert labels(tmp_path) == [("r", "u-mail", "love", True, False)]


def test_a_message_id_means_the_answer_and_not_the_background_calls_about_it(tmp_path):
    title = shown("a-title", "u", seconds=-5, learnable=False, response_aliases=("m-1",))
    again = shown("z-later", "u", seconds=60, response_aliases=("m-1",))
    store_all(tmp_path, [title, again, OWN, reaction("m-1", "add", 70, user_id="u")])
    assert labels(tmp_path) == [("r", "u", "love", True, False)]


def test_an_exposure_that_comes_late_takes_its_reactions(tmp_path):
    late = shown("r", "u", known_at=at(100), **NAMES)
    store_all(tmp_path, [reaction("m-1", "add", 5, user_id="u-sso"), late])
    assert labels(tmp_path, at(50)) == [("m-1", "u-sso", "love", True, True)]
    assert labels(tmp_path, at(150)) == [("r", "u", "love", True, False)]


def test_a_push_brings_the_users_row_up_to_date_whatever_name_the_reaction_had(tmp_path):
    config = FeaturesConfig(root=tmp_path)
    store = FactStore(config, clock=lambda: 0.0)
    store.append(facts_of([OWN, shown("q", "v", client_id="k")]))
    store.push()
    store.append(facts_of([reaction("r", "add", 5, user_id="k")]))
    store.push()
    assert online(tmp_path, "u")["num_love"] == 1
    assert online(tmp_path, "v")["num_love"] == 0
    assert set(online(tmp_path, "k").values()) == {None}


@pytest.mark.parametrize("asked", ["u", "u-mail", "u-sso"])
def test_who_is_erased_under_one_name_is_forgotten_under_all(tmp_path, asked):
    config = FeaturesConfig(root=tmp_path)
    store = FactStore(config, clock=lambda: 0.0)
    taps = [
        reaction("r", "add", 5, user_id="u-sso"),
        reaction("m-1", "add", 6, user_id="k"),
        reaction("q", "add", 7, user_id="v"),
    ]
    alone = shown("s", "u-mail", seconds=3)
    store.append(facts_of([OWN, alone, shown("q", "v", client_id="k"), *taps]))
    store.push()
    assert set(known_names(config, asked)) == {"u", "u-mail", "u-sso"}
    names = known_names(config, asked)
    store.append(facts_of([erasure(name, 60) for name in names[:1]]))
    assert labels(tmp_path) == [("q", "v", "love", True, False)]
    forget_user(config, names)
    assert labels(tmp_path) == [("q", "v", "love", True, False)]
    found = search(tmp_path, names, []).found
    assert all(path.startswith("store/erasures/") for path in found), found


def test_a_name_that_several_users_share_is_no_way_from_one_to_another(tmp_path):
    config = FeaturesConfig(root=tmp_path)
    events = [
        shown("r", "u", user_aliases=("everybody",), client_id="k"),
        shown("q", "v", user_aliases=("everybody",), client_id="k"),
        reaction("r", "add", 5, user_id="everybody"),
        reaction("q", "add", 5, user_id="k"),
    ]
    store = store_all(tmp_path, events)
    assert known_names(config, "u") == ["u"]
    store.append(facts_of([erasure("u", 60)]))
    assert labels(tmp_path) == [("q", "v", "love", True, False)]
    assert store.erase() == 2
    assert labels(tmp_path) == [("q", "v", "love", True, False)]


def test_erasing_a_shared_name_takes_what_was_said_under_it_before_and_after_the_files(tmp_path):
    events = [
        shown("r", "u", user_aliases=("everybody",)),
        shown("q", "v", user_aliases=("everybody",)),
        reaction("r", "add", 5, user_id="everybody"),
        reaction("q", "add", 6, user_id="v"),
    ]
    store = store_all(tmp_path, [*events, erasure("everybody", 60)])
    assert labels(tmp_path) == [("q", "v", "love", True, False)]
    store.erase()
    assert labels(tmp_path) == [("q", "v", "love", True, False)]
