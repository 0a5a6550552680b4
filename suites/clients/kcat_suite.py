"""kcat: reads the topics, and writes events that count, by every codec and in both modes."""

import json
import os
import subprocess
import uuid
from datetime import UTC, datetime

from checks import HELLO, MODEL, SOON_S, check, expect, main, new_user, send, wait_for

BROKERS = os.environ["SUITES_BROKERS"]
SHOWN, REACTIONS = "rluf.shown.v1", "rluf.reactions.v1"
DEAD = "rluf.dead-letters.v1"


def kcat(*arguments, told=b""):
    done = subprocess.run(
        ["kcat", "-b", BROKERS, *arguments], input=told, capture_output=True, timeout=SOON_S
    )
    expect(done.returncode == 0, done.stderr[-400:])
    return done.stdout


def exposure(user, response):
    data = {
        "response_id": response,
        "conversation_id": "c-1",
        "user_id": user,
        "policy": "theirs@1",
        "messages": HELLO,
        "response": "hello",
    }
    return event("rluf.response.shown.v1", data)


def reaction(user, response):
    data = {"response_id": response, "user_id": user, "signal": "love", "action": "add"}
    return event("rluf.reaction.v1", data)


def event(kind, data):
    return {
        "specversion": "1.0",
        "id": uuid.uuid4().hex,
        "source": "/suites/kcat",
        "type": kind,
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        "data": data,
    }


def stored(user):
    """Online features of a user who was written to Kafka directly, so under the id as it is."""
    said = send(f"/v1/features/users/{user}?as_stored=true")
    return said.json()["features"] if said.status == 200 else {}


def expect_counts(user):
    wait_for(lambda: stored(user).get("num_love") == 1, lambda: stored(user))


def line(value):
    return json.dumps(value).encode() + b"\n"


def dead_letters():
    said = kcat("-C", "-t", DEAD, "-e", "-q", "-f", "%h|%s\n")
    return said.decode("utf-8", "replace").splitlines()


def binary(made, prefix="ce_"):
    flags = ["-H", "content-type=application/json"]
    for name in ("specversion", "id", "source", "type", "time"):
        flags += ["-H", f"{prefix}{name}={made[name]}"]
    return flags


@check
def the_topics_are_listed():
    found = {topic["topic"] for topic in json.loads(kcat("-L", "-J"))["topics"]}
    expect({SHOWN, REACTIONS, DEAD} <= found, found)


@check
def an_answer_is_read_from_its_topic():
    body = {"model": MODEL, "messages": HELLO, "user": new_user(), "max_completion_tokens": 4}
    made = send("/v1/chat/completions", body).json()["id"]
    keys = kcat("-C", "-t", SHOWN, "-e", "-q", "-f", "%k\n").decode().splitlines()
    expect(made in keys, keys[-5:])


@check
def structured_events_count():
    user, response = new_user(), uuid.uuid4().hex
    header = ("-H", "content-type=application/cloudevents+json")
    kcat("-P", "-t", SHOWN, *header, told=line(exposure(user, response)))
    kcat("-P", "-t", REACTIONS, *header, told=line(reaction(user, response)))
    expect_counts(user)


@check
def events_without_any_header_count():
    user, response = new_user(), uuid.uuid4().hex
    kcat("-P", "-t", SHOWN, told=line(exposure(user, response)))
    kcat("-P", "-t", REACTIONS, told=line(reaction(user, response)))
    expect_counts(user)


@check
def binary_events_count():
    user, response = new_user(), uuid.uuid4().hex
    for topic, made in ((SHOWN, exposure(user, response)), (REACTIONS, reaction(user, response))):
        kcat("-P", "-t", topic, *binary(made), told=line(made["data"]))
    expect_counts(user)


def _codec(name):
    def run():
        user, response = new_user(), uuid.uuid4().hex
        kcat("-P", "-t", SHOWN, "-z", name, told=line(exposure(user, response)))
        kcat("-P", "-t", REACTIONS, "-z", name, told=line(reaction(user, response)))
        expect_counts(user)

    run.__name__ = f"batches_packed_by_{name}_are_read"
    return run


for _name in ("gzip", "snappy", "lz4"):
    check(_codec(_name))


@check
def what_is_no_event_becomes_a_dead_letter_with_its_reason():
    mark = uuid.uuid4().hex
    kcat("-P", "-t", REACTIONS, told=f"not json {mark}\n".encode())
    wait_for(lambda: any(mark in one and "reason=malformed_json" in one for one in dead_letters()))


@check
def headers_with_the_prefix_of_http_are_refused_by_a_reason_that_says_so():
    made = reaction(new_user(), f"r-{uuid.uuid4().hex}")
    kcat("-P", "-t", REACTIONS, *binary(made, "ce-"), told=line(made["data"]))
    mark = made["data"]["response_id"]
    wait_for(lambda: any(mark in one for one in dead_letters()))
    found = next(one for one in dead_letters() if mark in one)
    expect("reason=bad_headers" in found, found)


@check
def a_tombstone_becomes_a_dead_letter():
    key = f"gone-{uuid.uuid4().hex}"
    kcat("-P", "-t", REACTIONS, "-Z", "-K", "|", told=f"{key}|\n".encode())
    keys = lambda: kcat("-C", "-t", DEAD, "-e", "-q", "-f", "%k %h\n").decode().splitlines()  # noqa: E731
    wait_for(lambda: any(key in one and "reason=empty_value" in one for one in keys()))


if __name__ == "__main__":
    main()
