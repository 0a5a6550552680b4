"""Goal: the published schemas are what the code decodes, and CI notices when they drift.

Method: the files beside the code that makes them; our own encoded events, and hostile ones, against
the schemas, with a validator that knows nothing of us.
"""

import json

import jsonschema
import msgspec
import pytest

from scripts.schemas import DOCS, differing, documents
from streams.codec import TYPE_OF, encode
from streams.config import StreamsConfig
from streams.schema import WIRES, asyncapi, json_schemas
from streams.wire import DATA_TYPES
from tests.features.histories import verdict
from tests.streams.samples import envelope, erasure, reaction, shown

EVENTS = [shown(), shown(logprob=None), reaction(), reaction(network="n-1"), erasure(), verdict()]


def test_the_files_are_what_the_code_says():
    assert differing() == [], "run python -m scripts.schemas --write"


def test_a_file_that_drifted_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.schemas.DOCS", tmp_path)
    assert len(differing()) == len(documents()) == len(WIRES) + 1


def test_every_event_type_has_a_schema():
    assert set(json_schemas()) == set(DATA_TYPES) == set(TYPE_OF.values())
    for schema in json_schemas().values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_what_we_write_is_valid(event):
    value = msgspec.json.decode(encode(event))
    jsonschema.validate(value, json_schemas()[value["type"]])


@pytest.mark.parametrize(
    "changes",
    [
        {"specversion": "2.0"},
        {"type": "rluf.reaction.v2"},
        {"id": ""},
        {"id": "x" * 513},
        {"data": {}},
        {"data__action": "toggle"},
        {"data__user_id": 7},
    ],
)
def test_what_the_codec_refuses_the_schema_refuses(changes):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(envelope(**changes), json_schemas()["rluf.reaction.v1"])


def test_unknown_fields_are_valid():
    jsonschema.validate(envelope(x=1, data__y=2), json_schemas()["rluf.reaction.v1"])


def test_asyncapi_names_every_topic_of_events_and_every_reference_leads_somewhere():
    document = asyncapi(StreamsConfig())
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {*StreamsConfig().event_topics, StreamsConfig().dead_letters_topic}
    for reference in references(document):
        if reference.startswith("#/"):
            place = document
            for part in reference.removeprefix("#/").split("/"):
                place = place[part]
        else:
            assert json.loads((DOCS / reference).read_text("utf-8"))["title"] in WIRES


def references(value):
    """Every $ref in a document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)
