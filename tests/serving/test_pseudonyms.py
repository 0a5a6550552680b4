"""Goal: no client's user id gets past the door, and users stay who they are behind it.

Method: the keyed hash by its laws, the key's file under every fault that it meets, and an API with
pseudonyms whose broker is searched for the ids that clients sent.
"""

import os
import stat
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.pseudonyms import ANONYMOUS, USER, BadKey, Pseudonyms, make_key, read_key
from tests.serving.conftest import FAST, Place, StartApi

KEY = bytes(range(32))
PSEUDONYMS = Pseudonyms(KEY)
OPERATOR = {"authorization": "Bearer admin"}
WHO = "alice@example.org"


@given(st.text(min_size=1), st.text(min_size=1))
def test_equal_ids_have_equal_pseudonyms_and_different_ids_different_ones(one, other):
    assert USER.fullmatch(PSEUDONYMS.user(one)) or one == ANONYMOUS
    assert (PSEUDONYMS.user(one) == PSEUDONYMS.user(other)) == (one == other)


def test_another_key_gives_other_pseudonyms():
    assert Pseudonyms(KEY[::-1]).user(WHO) != PSEUDONYMS.user(WHO)


def test_the_pseudonym_of_a_pseudonym_is_another_but_an_operator_may_name_it():
    stored = PSEUDONYMS.user(WHO)
    assert PSEUDONYMS.user(stored) != stored, "a client must not speak for another by a pseudonym"
    assert PSEUDONYMS.find(stored) == stored == PSEUDONYMS.find(WHO)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("203.0.113.7", " 203.0.113.250", True),
        ("203.0.113.7", "203.0.114.7", False),
        ("2001:db8:1:2::1", "2001:db8:1:ffff::9", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
    ],
)
def test_a_network_is_a_neighbourhood_of_addresses(one, other, is_same):
    assert (PSEUDONYMS.network(one) == PSEUDONYMS.network(other)) == is_same
    assert PSEUDONYMS.network(one).startswith("n_")


@pytest.mark.parametrize("told", ["", "unknown", "1.2.3", "203.0.113.7:80"])
def test_what_is_no_address_has_no_network(told):
    assert PSEUDONYMS.network(told) == ""


def test_a_key_is_made_once_for_its_owner_only(tmp_path):
    path = tmp_path / "pseudonym.key"
    made = make_key(path, root=tmp_path)
    assert make_key(path, root=tmp_path) == read_key(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["pseudonym.key"]


def test_without_a_file_there_is_no_key(tmp_path):
    assert read_key(tmp_path / "pseudonym.key") is None


@pytest.mark.parametrize("content", ["", "12ab", "z" * 64, "é" * 64])
def test_a_file_that_is_no_key_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "pseudonym.key"
    path.write_text(content, "utf-8")
    with pytest.raises(BadKey, match=str(path)):
        make_key(path, root=tmp_path)
    assert path.read_text("utf-8") == content


def test_a_key_that_cannot_be_made_says_where(tmp_path):
    with pytest.raises(BadKey, match="No such file"):
        make_key(tmp_path / "absent" / "pseudonym.key", root=tmp_path)


def test_a_key_of_another_length_is_refused():
    with pytest.raises(BadKey, match="got 3"):
        Pseudonyms(b"abc")


@pytest.fixture
def door(start: StartApi, live: Place):
    """An API with pseudonyms, an operator and a header that names the network."""
    config = replace(FAST, admin_keys=("admin",), network_header="x-forwarded-for")
    return start(live.room(config, pseudonyms=PSEUDONYMS))


def chat(api, **fields):
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], **fields}
    return api.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
def test_exposure_and_reaction_of_a_user_meet_under_the_pseudonym(door, live: Place, field):
    response_id = chat(door, **{field: WHO}).json()["id"]
    sent = {"response_id": response_id, "signal": "love", "actor_id": WHO}
    assert door.post("/v1/feedback", json=sent).status_code == 202
    [shown], [reaction] = live.producer.shown, live.producer.reactions
    assert shown.user_id == reaction.user_id == PSEUDONYMS.user(WHO)
    assert WHO.encode() not in msgspec.json.encode([shown, reaction])


def test_nobody_stays_nobody(door, live: Place):
    response_id = chat(door).json()["id"]
    door.post("/v1/feedback", json={"response_id": response_id, "signal": "love"})
    [shown], [reaction] = live.producer.shown, live.producer.reactions
    assert shown.user_id == reaction.user_id == ANONYMOUS


def test_a_user_keeps_an_arm(door, live: Place):
    for _ in range(4):
        chat(door, user=WHO)
    assert len({shown.arm for shown in live.producer.shown}) == 1


def test_the_network_is_that_of_the_address_which_our_own_proxy_appended(door, live: Place):
    for told in ("10.9.9.9, 203.0.113.7", "203.0.113.99", "not an address"):
        sent = {"response_id": "r", "signal": "love", "actor_id": WHO}
        door.post("/v1/feedback", json=sent, headers={"x-forwarded-for": told})
    networks = [reaction.network for reaction in live.producer.reactions]
    assert networks == [PSEUDONYMS.network("203.0.113.0")] * 2 + [""]


def test_an_erasure_names_what_is_stored(door, live: Place):
    stored = PSEUDONYMS.user(WHO)
    for asked in ({"user_id": WHO}, {"user_id": stored}, {"user_id": "raw", "as_stored": True}):
        assert door.post("/v1/admin/erasures", json=asked, headers=OPERATOR).status_code == 202
    assert [event.user_id for event in live.producer.events[-3:]] == [stored, stored, "raw"]


def test_features_are_found_by_the_id_and_by_what_is_stored(start: StartApi, live: Place):
    rows = {PSEUDONYMS.user(WHO): {"num_shown": 3}, "raw": {"num_shown": 4}}

    def online(root, *, users=(), policies=()):
        return {"users": {user: rows.get(user, {}) for user in users}, "policies": {}}

    api = start(live.room(online=online, pseudonyms=PSEUDONYMS))
    for asked in (WHO, PSEUDONYMS.user(WHO)):
        assert api.get(f"/v1/features/users/{asked}").json()["features"] == {"num_shown": 3}
    assert api.get("/v1/features/users/raw").status_code == 404
    assert api.get("/v1/features/users/raw?as_stored=true").json()["features"]["num_shown"] == 4


def test_the_key_is_not_overwritten_by_a_second_process(tmp_path, monkeypatch):
    path = tmp_path / "pseudonym.key"
    first = "ab" * 32
    link = os.link

    def late(source, target):
        path.write_text(first)  # Another process was quicker.
        link(source, target)

    monkeypatch.setattr("files.durable.os.link", late)
    assert make_key(path, root=tmp_path) == bytes.fromhex(first)
