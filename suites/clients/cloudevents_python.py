"""The CloudEvents SDK in Python, over HTTP and over the bytes that it makes for Kafka."""

import base64
import uuid
from datetime import UTC, datetime

from checks import HELLO, KEY, MODEL, URL, check, expect, features, main, new_user, send, wait_for
from cloudevents.core.bindings.http import (
    HTTPMessage,
    from_http_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import http as older


def answered(user):
    body = {"model": MODEL, "messages": HELLO, "user": user, "max_completion_tokens": 4}
    return send("/v1/chat/completions", body).json()["id"]


def attributes(kind="rluf.reaction.v1", **changed):
    return {
        "specversion": "1.0",
        "id": uuid.uuid4().hex,
        "source": "/suites/cloudevents",
        "type": kind,
        "time": datetime.now(UTC),
        "datacontenttype": "application/json",
        **changed,
    }


def reaction(response_id, user):
    return {"response_id": response_id, "user_id": user, "signal": "love", "action": "add"}


def post(message: HTTPMessage):
    body = message.body.encode() if isinstance(message.body, str) else message.body
    return send("/v1/events", data=body, headers=dict(message.headers), method="POST")


def expect_counts(user):
    wait_for(lambda: features(user).get("num_love") == 1, lambda: features(user))


@check
def a_structured_event_counts():
    user = new_user()
    said = post(to_structured_event(CloudEvent(attributes(), reaction(answered(user), user))))
    expect(said.status == 202, said)
    expect_counts(user)


@check
def a_binary_event_counts():
    user = new_user()
    said = post(to_binary_event(CloudEvent(attributes(), reaction(answered(user), user))))
    expect(said.status == 202, said)
    expect_counts(user)


@check
def an_event_with_data_base64_counts():
    user = new_user()
    import json

    data = base64.b64encode(json.dumps(reaction(answered(user), user)).encode()).decode()
    given = attributes()
    given["time"] = given["time"].isoformat()
    body = json.dumps({**given, "data_base64": data}).encode()
    said = send("/v1/events", data=body, headers={"content-type": "application/cloudevents+json"})
    expect(said.status == 202, said)
    expect_counts(user)


@check
def bytes_as_data_of_a_structured_event_count():
    import json

    user = new_user()
    data = json.dumps(reaction(answered(user), user)).encode()
    given = attributes(datacontenttype="application/octet-stream")
    said = post(to_structured_event(CloudEvent(given, data)))
    expect(said.status in (202, 415, 422, 400), said)
    if said.status == 202:
        expect_counts(user)


@check
def an_exposure_of_another_system_and_its_reaction_count():
    user, response = new_user(), f"theirs-{uuid.uuid4().hex}"
    shown = {
        "response_id": response,
        "conversation_id": "c-1",
        "user_id": user,
        "policy": "theirs@1",
        "messages": HELLO,
        "response": "hello",
    }
    made = CloudEvent(attributes("rluf.response.shown.v1"), shown)
    expect(post(to_structured_event(made)).status == 202)
    expect(post(to_binary_event(CloudEvent(attributes(), reaction(response, user)))).status == 202)
    expect_counts(user)


@check
def extensions_pass():
    user = new_user()
    given = attributes(partitionkey="p", traceparent=f"00-{'1' * 32}-{'2' * 16}-01", myext="x")
    said = post(to_binary_event(CloudEvent(given, reaction(answered(user), user))))
    expect(said.status == 202, said)
    expect_counts(user)


@check
def the_older_interface_of_the_sdk_works_in_both_modes():
    for convert in (older.to_structured, older.to_binary):
        user = new_user()
        given = attributes()
        given["time"] = given["time"].isoformat()
        headers, body = convert(older.CloudEvent(given, reaction(answered(user), user)))
        said = send("/v1/events", data=body, headers=headers)
        expect(said.status == 202, said)
        expect_counts(user)


@check
def an_event_that_the_sdk_would_not_read_is_refused():
    for changed in ({"specversion": "9.9"}, {"id": ""}, {"source": ""}):
        given = attributes()
        given["time"] = given["time"].isoformat()
        body = {**given, **changed, "data": reaction("r", "u")}
        said = send("/v1/events", body, headers={"content-type": "application/cloudevents+json"})
        expect(400 <= said.status < 500, said)


@check
def an_event_that_would_be_dead_lettered_is_refused_before():
    for data in ({}, reaction("", "u"), reaction("r", "  "), {**reaction("r", "u"), "signal": "?"}):
        said = post(to_structured_event(CloudEvent(attributes(), data)))
        expect(400 <= said.status < 500, (data, said))


@check
def what_we_write_is_read_by_the_sdk():
    made = CloudEvent(attributes(), reaction("r", "u"))
    message = to_structured_event(made)
    expect(from_http_event(message).get_id() == made.get_id())


@check
def a_key_is_asked_for():
    message = to_structured_event(CloudEvent(attributes(), reaction("r", "u")))
    said = send(
        "/v1/events",
        data=message.body,
        headers={**message.headers, "authorization": f"Bearer {KEY}x"},
    )
    expect(said.status == 401, (said, URL))


if __name__ == "__main__":
    main()
