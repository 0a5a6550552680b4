"""Goal: pseudonyms are only ever made under the one right key, whatever happened to its file, and
no other damaged file ends an API that serves.

Method: the key's file in every damaged state, and stores that hold pseudonyms, raw ids or nothing;
an API over a damaged store and a damaged registry.
"""

import pytest

from files import durable
from models.errors import CorruptRegistry
from rluf.settings import BadSettings, load_settings
from rluf.wiring import key_file, stored_user
from serving.pseudonyms import BadKey, Pseudonyms, make_key, read_key
from tests.damages import cut, empty, every_damage, gone, unreadable, zeroed
from tests.features.histories import reaction, shown, store_all
from tests.serving.conftest import Place, StartApi
from tests.waiting import wait_for

KEY = "0123456789abcdef" * 4
STORED = Pseudonyms(bytes.fromhex(KEY)).user("alice@example.org")


@pytest.fixture
def settings(tmp_path):
    settings = load_settings((), {"RLUF_HOME": str(tmp_path)})
    key_file(settings).write_text(f"{KEY}\n")
    return settings


@every_damage
@pytest.mark.parametrize("kind", ["shown", "reactions"])
def test_facts_with_pseudonyms_never_get_another_key(settings, damage, kind):
    path = key_file(settings)
    fact = shown("r", STORED) if kind == "shown" else reaction("r", "add", user_id=STORED)
    store_all(settings.home, [shown("raw", "bob"), fact])
    damage(path)
    before = path.read_bytes() if path.is_file() else path.exists()
    with pytest.raises(BadKey, match=f"{path}.*(backup|right key|Is a directory)"):
        make_key(path, root=settings.home)
    assert (path.read_bytes() if path.is_file() else path.exists()) == before
    assert [each.name for each in path.parent.glob(".pseudonym*")] == []


@every_damage
def test_an_operator_who_names_a_user_is_told_and_no_raw_id_is_looked_for(settings, damage):
    """Else `rluf erase alice` would find nobody of that name and call it clean."""
    store_all(settings.home, [shown("r", STORED)])
    damage(key_file(settings))
    with pytest.raises(BadSettings, match="pseudonym key"):
        stored_user(settings, "alice@example.org", as_stored=False)
    assert stored_user(settings, "alice@example.org", as_stored=True) == "alice@example.org"


def test_a_lost_key_is_not_needed_for_who_is_named_as_stored(settings):
    store_all(settings.home, [shown("r", STORED)])
    gone(key_file(settings))
    assert stored_user(settings, STORED, as_stored=False) == STORED


def test_a_damaged_key_is_described_and_not_shown(settings):
    path = key_file(settings)
    path.write_text(KEY[:40])
    with pytest.raises(BadKey, match="40 bytes") as told:
        read_key(path)
    assert KEY[:16] not in str(told.value)
    path.write_text(KEY)
    zeroed(path)
    with pytest.raises(BadKey, match="64 zero bytes"):
        read_key(path)


@pytest.mark.parametrize("users", [[], ["bob", "u_17", "anonymous"]])
def test_where_no_fact_bears_a_pseudonym_a_key_is_made(settings, users):
    gone(key_file(settings))
    store_all(settings.home, [shown(f"r-{user}", user) for user in users])
    made = make_key(key_file(settings), root=settings.home)
    assert read_key(key_file(settings)) == made
    assert stored_user(settings, "bob", as_stored=False) == Pseudonyms(made).user("bob")


def test_a_key_that_the_operator_made_in_place_of_a_lost_one_is_taken(settings):
    store_all(settings.home, [shown("r", STORED)])
    key_file(settings).write_text("ab" * 32)
    assert make_key(key_file(settings), root=settings.home) == bytes.fromhex("ab" * 32)


def test_the_name_of_a_new_key_is_on_disk_before_it_is_used(settings, monkeypatch):
    """Only a power cut would show it: the name is lost, the facts under the key are not."""
    synced = []
    gone(key_file(settings))
    monkeypatch.setattr(
        durable, "sync_folder", lambda folder: synced.append((folder, any_key(folder)))
    )

    def any_key(folder):
        return (folder / "pseudonym.key").is_file()

    make_key(key_file(settings), root=settings.home)
    assert synced == [(settings.home, True)]


@pytest.mark.parametrize("damage", [empty, cut, zeroed, unreadable])
def test_a_damaged_file_of_facts_is_named_by_the_status_and_chats_go_on(
    start: StartApi, live: Place, damage
):
    store_all(live.root, [shown("r", "u"), reaction("r", "add")])
    [file] = (live.root / "store" / "shown").glob("*/*.parquet")
    damage(file)
    api = start(live.room())
    told = api.get("/v1/status")
    assert told.status_code == 503
    assert file.name in told.text
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
    assert api.post("/v1/chat/completions", json=body).status_code == 200


def test_a_registry_that_is_damaged_while_it_is_served_ends_nobody(start: StartApi, live: Place):
    """The arms that are loaded go on, and the API says what is the matter."""
    api = start(live.room())
    assert api.get("/readyz").status_code == 200
    damaged = CorruptRegistry("the registry sqlite:///x is no sound database: put it back")

    def fail(*_: object) -> None:
        raise damaged

    for name in ("arms", "alias", "aliases", "versions", "version"):
        setattr(live.registry, name, fail)
    wait_for(lambda: "no sound database" in api.get("/readyz").text, "the API notices")
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
    assert api.post("/v1/chat/completions", json=body).status_code == 200
    assert "no sound database" in api.get("/v1/models").text
