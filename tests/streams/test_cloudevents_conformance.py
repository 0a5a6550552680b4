"""Goal: our codec reads messages as CloudEvents' own conformance features say.

Method: the features of a checkout of cloudevents/conformance, named by RLUF_CONFORMANCE, are parsed
and each scenario of the Kafka and the HTTP binding is run against the steps that make an envelope
of a message. The same rules in our own words stand in test_codec.py and test_events.py.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest

from streams.http_binding import kafka_headers
from streams.kafka_binding import structured

FOLDER = Path(os.environ.get("RLUF_CONFORMANCE", "")) / "features"
FEATURES = [FOLDER / f"{name}-protocol-binding.feature" for name in ("kafka", "http")]
CONTEXT = ("data", "data_base64")


@dataclass
class Step:
    """A line of a scenario with the text or the table below it."""

    text: str
    block: str = ""
    rows: list[list[str]] = field(default_factory=list)


def scenarios(text: str) -> Iterator[tuple[str, list[Step]]]:
    """Name and steps of each scenario; of an outline, once for each example."""
    for part in re.split(r"^\s*Scenario(?: Outline)?:\s*", text, flags=re.MULTILINE)[1:]:
        body, _, examples = part.partition("Examples:")
        name, _, steps = body.partition("\n")
        names, *rows = table(examples) or [[], []]
        for row in rows:
            values = dict(zip(names, row, strict=True))
            yield filled(name.strip(), values), list(steps_of(filled(steps, values)))


def filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text


def table(text: str) -> list[list[str]]:
    lines = [line.strip() for line in text.splitlines()]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line[:1] == "|"]


def steps_of(text: str) -> Iterator[Step]:
    for part in re.split(r"^\s*(?:Given|And|When|Then)\s+", text, flags=re.MULTILINE)[1:]:
        head, _, rest = part.partition("\n")
        block = rest.split('"""')[1] if '"""' in rest else ""
        yield Step(text=head.strip(), block=block, rows=table(rest) if not block else [])


def run(steps: list[Step]) -> list[str]:
    """Do the steps; gives those that were done, and fails on one that we do not know."""
    value, headers, envelope = b"", [], {}
    done = []
    for step in steps:
        match step.text:
            case "a Kafka message with payload:":
                value = step.block.encode()
            case "Kafka headers:":
                headers = [(name, told.encode()) for name, told in step.rows[1:]]
            case "an HTTP request":
                head, _, body = dedent(step.block).strip().partition("\n\n")
                told = [line.split(": ", 1) for line in head.splitlines()[1:]]
                value, headers = body.encode(), kafka_headers((n, v) for n, v in told)
            case "parsed as Kafka message" | "parsed as HTTP request":
                envelope = msgspec.json.decode(structured(value, headers))
            case "the attributes are:":
                attributes = {k: v for k, v in envelope.items() if k not in CONTEXT}
                assert attributes == dict(map(tuple, step.rows[1:]))
            case "the data is equal to the following JSON:":
                assert envelope["data"] == msgspec.json.decode(step.block)
            case unknown:
                pytest.fail(f"unknown step: {unknown}")
        done.append(step.text)
    return done


FOUND = [
    (f"{path.name.partition('-')[0]}: {name}", steps)
    for path in FEATURES
    if path.is_file()
    for name, steps in scenarios(path.read_text("utf-8"))
]


@pytest.mark.skipif(
    not FOUND, reason="RLUF_CONFORMANCE names no checkout of cloudevents/conformance"
)
@pytest.mark.parametrize(("name", "steps"), FOUND, ids=[name for name, _ in FOUND])
def test_scenario(name, steps):
    assert run(steps)[-2:] == ["the attributes are:", "the data is equal to the following JSON:"]


def test_a_scenario_of_an_outline_is_run_once_for_each_example_and_can_fail():
    text = '''
    Feature: made up
    Scenario Outline: text mode (<kind>)
    Given a Kafka message with payload:
        """
        {"specversion": "1.0", "data": <kind>}
        """
    When parsed as Kafka message
    Then the attributes are:
        | key         | value |
        | specversion | 1.0   |
    And the data is equal to the following JSON:
        """
        1
        """
    Examples:
    | kind |
    | 1    |
    | 2    |
    '''
    (one, first), (two, second) = scenarios(text)
    assert (one, two) == ("text mode (1)", "text mode (2)")
    assert len(run(first)) == 4
    with pytest.raises(AssertionError):
        run(second)
