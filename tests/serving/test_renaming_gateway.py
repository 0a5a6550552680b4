"""Goal: a gateway that gives answers ids of its own does not cut reactions off from their answers.

Method: a gateway that renames every answer, whole or streamed, in front of an API; its client keeps
the join key, by the answer's header, or gives it, as metadata of the request. What the broker got
becomes facts and labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from features.views import connect
from tests.features.histories import store_all
from tests.serving.conftest import Place

PREFIX = "llm_provider-"
"""What LiteLLM puts before the headers of whom it asked."""


@dataclass
class Renamed:
    """An answer as the gateway's client sees it."""

    id: str
    headers: dict[str, str]


@dataclass
class Gateway:
    """Passes requests on; gives answers ids of its own and headers other names."""

    api: TestClient
    ids: Iterator[str] = field(default_factory=lambda: (f"gw-{n}" for n in range(100)))

    def chat(self, **asked: Any) -> Renamed:
        request = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], **asked}
        answer = self.api.post("/v1/chat/completions", json=request)
        assert answer.status_code == 200, answer.text
        named = {f"{PREFIX}{name}": value for name, value in answer.headers.items()}
        return Renamed(next(self.ids), named)


@pytest.fixture
def gateway(api: TestClient) -> Gateway:
    return Gateway(api)


def react(api: TestClient, response_id: str, user: str) -> None:
    tap = {"response_id": response_id, "signal": "love", "actor_id": user}
    assert api.post("/v1/feedback", json=tap).status_code == 202


def labels(live: Place, root: Path) -> list[tuple[str, bool, bool]]:
    """(user, whether the love stands, whether its exposure is known) of every label."""
    store_all(root, live.producer.events)
    with connect(root) as connection:
        return connection.sql(
            "SELECT user_id, value, dangling FROM labels ORDER BY user_id"
        ).fetchall()


@pytest.mark.parametrize("stream", [False, True])
def test_the_header_keeps_the_join_key(gateway: Gateway, live: Place, tmp_path: Path, stream: bool):
    answer = gateway.chat(user="ann", stream=stream)
    react(gateway.api, answer.headers[f"{PREFIX}x-rluf-response-id"], "ann")
    assert labels(live, tmp_path / "store") == [("ann", True, False)]


@pytest.mark.parametrize("stream", [False, True])
def test_the_client_gives_a_join_key_of_its_own(
    gateway: Gateway, live: Place, tmp_path: Path, stream: bool
):
    gateway.chat(user="ann", stream=stream, metadata={"message_id": "msg-1"})
    react(gateway.api, "msg-1", "ann")
    assert labels(live, tmp_path / "store") == [("ann", True, False)]


def test_a_key_that_two_users_give_joins_each_to_their_own(
    gateway: Gateway, live: Place, tmp_path: Path
):
    for user in ("ann", "bob"):
        gateway.chat(user=user, metadata={"message_id": "msg-1"})
    react(gateway.api, "msg-1", "bob")
    react(gateway.api, "msg-1", "eve")  # Nobody was shown anything under this name.
    shown = {event.user_id: event.response_id for event in live.producer.shown}
    found = labels(live, tmp_path / "store")
    assert found == [("bob", True, False), ("eve", True, True)]
    with connect(tmp_path / "store") as connection:
        rows = connection.sql("SELECT response_id FROM labels WHERE user_id = 'bob'").fetchall()
    assert rows == [(shown["bob"],)]


def test_the_gateways_own_id_reaches_nothing(gateway: Gateway, live: Place, tmp_path: Path):
    react(gateway.api, gateway.chat(user="ann").id, "ann")
    assert labels(live, tmp_path / "store") == [("ann", True, True)]
