"""Goal: OpenTelemetry's own variables turn tracing on and off as in its SDKs, and ours are nearer.

Method: environments as plain dicts; for what the exporter reads itself, a collector in a thread.
"""

import http.server
import logging
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rluf.otel import find_collector, tracing_in_force
from rluf.settings import as_toml, load_settings
from rluf.wiring import open_spans
from streams.tracing import TracingConfig
from tests.rluf.command import rluf
from tests.streams.samples import reaction

BASE, EXACT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
OFF = "OTEL_SDK_DISABLED"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
EXPORTER = "OTEL_TRACES_EXPORTER"
COLLECTOR = "http://collector:4318"


def endpoint_in(environment: dict[str, str]) -> str:
    """Where spans go in this environment, ours among it."""
    return tracing_in_force(load_settings([], environment).tracing, environment).endpoint


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        ({}, ""),
        ({BASE: COLLECTOR}, f"{COLLECTOR}/v1/traces"),
        ({BASE: f"{COLLECTOR}/"}, f"{COLLECTOR}/v1/traces"),
        ({BASE: f"{COLLECTOR}/otlp"}, f"{COLLECTOR}/otlp/v1/traces"),
        ({EXACT: f"{COLLECTOR}/here"}, f"{COLLECTOR}/here"),
        ({BASE: COLLECTOR, EXACT: "https://other/x"}, "https://other/x"),
        ({BASE: ""}, ""),
        ({BASE: "  "}, ""),
        ({BASE: COLLECTOR, EXACT: ""}, f"{COLLECTOR}/v1/traces"),
        ({BASE: COLLECTOR, PROTOCOL: "http/protobuf"}, f"{COLLECTOR}/v1/traces"),
        ({BASE: COLLECTOR, EXPORTER: "otlp"}, f"{COLLECTOR}/v1/traces"),
        ({BASE: COLLECTOR, EXPORTER: "console,otlp"}, f"{COLLECTOR}/v1/traces"),
        ({BASE: COLLECTOR, EXPORTER: "none"}, ""),
        ({BASE: COLLECTOR, OFF: "false"}, f"{COLLECTOR}/v1/traces"),
        ({BASE: COLLECTOR, OFF: "TRUE"}, ""),
        ({OFF: "true", "RLUF_TRACING__ENDPOINT": COLLECTOR}, ""),
        ({BASE: COLLECTOR, "RLUF_TRACING__ENDPOINT": "http://ours/"}, "http://ours/"),
        ({BASE: COLLECTOR, "RLUF_TRACING__ENDPOINT": ""}, ""),
        ({EXPORTER: "none", "RLUF_TRACING__ENDPOINT": "http://ours/"}, "http://ours/"),
    ],
)
def test_the_nearest_word_decides(environment: dict[str, str], endpoint: str):
    assert endpoint_in(environment) == endpoint


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({BASE: "collector:4317"}, "http://"),
        ({BASE: COLLECTOR, PROTOCOL: "grpc"}, "grpc"),
        ({BASE: COLLECTOR, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "grpc"),
        ({BASE: COLLECTOR, EXPORTER: "console"}, "console"),
        ({BASE: "http://[collector"}, "host"),
        ({BASE: "http://"}, "host"),
    ],
)
def test_what_we_cannot_speak_is_warned_about_and_stops_nothing(
    environment: dict[str, str], why: str, caplog: pytest.LogCaptureFixture
):
    assert endpoint_in(environment) == ""
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert why in record.why
    assert record.variable == BASE


def test_what_turned_tracing_on_is_said_without_passwords(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        assert endpoint_in({BASE: "http://user:secret@collector:4318"})
    [record] = caplog.records
    assert (record.variable, record.collector) == (BASE, "collector")
    assert "secret" not in str(record.__dict__)


def test_the_other_dials_stay():
    config = TracingConfig(sample_ratio=0.25, service="chat")
    found = tracing_in_force(config, {BASE: COLLECTOR})
    assert (found.sample_ratio, found.service) == (0.25, "chat")


@pytest.mark.parametrize(
    ("environment", "shown", "origin"),
    [
        ({}, "", ""),
        ({BASE: COLLECTOR}, f"{COLLECTOR}/v1/traces", BASE),
        ({EXACT: "https://other/x", BASE: COLLECTOR}, "https://other/x", EXACT),
        ({BASE: "http://me:secret@collector"}, "http://***@collector/v1/traces", BASE),
        ({EXACT: "http://collector/@me"}, "http://collector/@me", EXACT),
        ({BASE: COLLECTOR, "RLUF_TRACING__ENDPOINT": "http://ours/"}, "http://ours/", ""),
        ({"RLUF_TRACING__ENDPOINT": "http://me:secret@ours/"}, "http://me:secret@ours/", ""),
        ({BASE: COLLECTOR, "RLUF_TRACING__ENDPOINT": ""}, "", ""),
        ({BASE: COLLECTOR, EXPORTER: "none"}, "", EXPORTER),
        ({EXPORTER: "none"}, "", ""),
        ({OFF: "true"}, "", ""),
        ({OFF: "true", BASE: COLLECTOR}, "", OFF),
        ({OFF: "true", "RLUF_TRACING__ENDPOINT": COLLECTOR}, "", OFF),
        (
            {BASE: COLLECTOR, PROTOCOL: "grpc"},
            "",
            f"{BASE}: the protocol is 'grpc', must be 'http/protobuf'",
        ),
    ],
)
def test_whoever_asks_is_told_where_spans_go_and_who_decided(
    environment: dict[str, str], shown: str, origin: str
):
    found = find_collector(load_settings([], environment).tracing, environment)
    assert (found.shown(), found.origin()) == (shown, origin)


@pytest.mark.parametrize("endpoint", [f"{COLLECTOR}/v1/traces", ""])
def test_the_command_settings_shows_the_collector_in_force_with_its_origin(
    endpoint: str, tmp_path: Path
):
    told = {BASE: COLLECTOR, OFF: str(endpoint == "").lower()}
    origin = BASE if endpoint else OFF
    text = rluf("settings", home=tmp_path, settings=told).out
    assert tomllib.loads(text)["tracing"]["endpoint"] == endpoint
    assert f'endpoint = "{endpoint}"  # {origin}' in text.splitlines()
    value = rluf("settings", "--json", home=tmp_path, settings=told).value()
    assert value["tracing"]["endpoint"] == endpoint
    assert value["origins"] == {"tracing.endpoint": origin}


def test_a_collector_of_our_own_setting_has_no_remark(tmp_path: Path):
    told = {"RLUF_TRACING__ENDPOINT": "http://ours/", BASE: COLLECTOR}
    text = rluf("settings", home=tmp_path, settings=told).out
    assert 'endpoint = "http://ours/"' in text.splitlines()
    assert COLLECTOR not in text


def test_no_value_can_break_out_of_the_remark_that_names_it():
    environment = {BASE: COLLECTOR, PROTOCOL: "grpc\n[streams]\npartitions = 0"}
    settings = load_settings([], environment)
    origin = find_collector(settings.tracing, environment).origin()
    text = as_toml(settings, {"tracing.endpoint": origin})
    assert tomllib.loads(text) == tomllib.loads(as_toml(settings, {}))


class Collector(http.server.BaseHTTPRequestHandler):
    """Notes the headers and paths of what it is sent."""

    seen: list[tuple[str, dict[str, str]]]

    def do_POST(self) -> None:
        """Take one batch of spans."""
        self.rfile.read(int(self.headers["content-length"]))
        self.seen.append((self.path, dict(self.headers)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Collector, "seen", [], raising=False)
    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_spans_go_where_the_environment_says_with_its_headers(
    collector: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(BASE, collector)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue")
    spans = open_spans(load_settings([], {}), "api")
    assert spans is not None
    with spans.sending(reaction()):
        pass
    spans.close()
    [(path, headers)] = Collector.seen
    assert (path, headers["x-tenant"]) == ("/v1/traces", "blue")


def test_a_disabled_sdk_makes_no_spans(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(OFF, "true")
    assert open_spans(load_settings([], {"RLUF_TRACING__ENDPOINT": COLLECTOR}), "api") is None
