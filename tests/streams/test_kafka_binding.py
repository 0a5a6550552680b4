"""Goal: an event means the same in every form that CloudEvents gives it, and a form that is not for
Kafka is refused by a reason that says so.

Method: the same events as data, in base64 and under the headers of the other protocol.
"""

import base64

import msgspec
import pytest

from streams.codec import decode, encode
from streams.errors import BadEvent
from tests.streams.samples import (
    KNOWN_AT,
    envelope,
    envelope_bytes,
    erasure,
    reaction,
    shown,
    verdict,
)


def in_base64(data: bytes, **changes: object) -> bytes:
    event = envelope(**changes)
    del event["data"]
    return msgspec.json.encode(event | {"data_base64": base64.b64encode(data).decode()})


def test_data_in_base64_is_read_like_data_in_every_kind_of_event():
    for event in (shown(), reaction(), erasure(), verdict()):
        told = msgspec.json.decode(encode(event))
        told["data_base64"] = base64.b64encode(msgspec.json.encode(told.pop("data"))).decode()
        assert decode(msgspec.json.encode(told), known_at=KNOWN_AT) == event
        told["data_base64"], told["data"] = None, msgspec.json.decode(encode(event))["data"]
        assert decode(msgspec.json.encode(told), known_at=KNOWN_AT) == event


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (envelope_bytes(data_base64="e30="), "bad_value"),
        (in_base64(b"").replace(b'""', b'"###"'), "bad_value"),
        (in_base64(b"").replace(b'""', b"7"), "bad_value"),
        (in_base64(b"love"), "malformed_json"),
        (in_base64(b"[]"), "wrong_type"),
        (in_base64(b"{}"), "missing_field"),
        (in_base64(b"\xff"), "malformed_json"),
    ],
)
def test_what_base64_hides_is_judged_like_the_rest(value, reason):
    with pytest.raises(BadEvent) as caught:
        decode(value, known_at=KNOWN_AT)
    assert caught.value.reason == reason


def test_attributes_named_as_over_http_are_refused_in_kafka_by_a_reason_that_says_so():
    data = msgspec.json.encode(envelope()["data"])
    headers = [(f"CE-{name}", b"1.0") for name in ("specversion", "id", "type")]
    with pytest.raises(
        BadEvent, match=r"ce-specversion, which is ce_specversion in Kafka"
    ) as caught:
        decode(data, headers, known_at=KNOWN_AT)
    assert caught.value.reason == "bad_headers"


def test_a_whole_event_is_read_whatever_a_bridge_left_in_its_headers():
    headers = [("ce-id", b"r-1"), ("content-type", b"application/json")]
    assert decode(envelope_bytes(), headers, known_at=KNOWN_AT) == reaction()
