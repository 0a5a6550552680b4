"""OpenTelemetry's own variables, for whoever has set them for all programs of a machine.

Tracing is off by default. A collector named by a standard variable is the user's word, as in every
SDK of OpenTelemetry; our own setting, also an empty one, is the nearer word and wins. What headers,
certificates and resource attributes these variables name, the exporter and the SDK read themselves.

Source: OpenTelemetry specification, "Environment variable specification" and "OTLP exporter". We
deviate in that the sampler stays `tracing.sample_ratio`, and the timeout streams/spans.py's.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from streams.tracing import TracingConfig

logger = logging.getLogger(__name__)

DISABLED = "OTEL_SDK_DISABLED"
OURS = "RLUF_TRACING__ENDPOINT"
TRACES_PATH = "v1/traces"
"""What follows a base URL that serves traces, metrics and logs."""
PROTOCOL = "http/protobuf"
"""The one that we speak."""
USER_INFO = re.compile(r"//[^/?#]*@")
"""Where a URL holds a name and password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Where spans go, and which setting decided that."""

    endpoint: str
    """Empty: nowhere."""
    variable: str = ""
    """The standard variable that decided. Empty: our own setting, or its default, did."""
    fault: str = ""
    """Why the collector that the variable names cannot be used."""

    def shown(self) -> str:
        """The endpoint, without the name and password in it where a standard variable gave it."""
        return USER_INFO.sub("//***@", self.endpoint, 1) if self.variable else self.endpoint

    def origin(self) -> str:
        """Say what decided, for whoever asks for the settings; empty where ours did."""
        return f"{self.variable}: {self.fault}" if self.fault else self.variable


def find_collector(config: TracingConfig, environment: Mapping[str, str]) -> Collector:
    """Give the collector of our setting, or else the one that the environment names."""
    if environment.get(DISABLED, "").strip().lower() == "true":
        was_on = config.endpoint or _endpoint(environment)[1]
        return Collector(endpoint="", variable=DISABLED if was_on else "")
    if config.endpoint or OURS in environment:
        return Collector(endpoint=config.endpoint)
    variable, endpoint = _endpoint(environment)
    exporters = _first(environment, "OTEL_TRACES_EXPORTER") or "otlp"
    if not endpoint:
        return Collector(endpoint="")
    if exporters == "none":
        return Collector(endpoint="", variable="OTEL_TRACES_EXPORTER")
    protocol = _first(
        environment, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    faults = {
        f"the exporter is {exporters!r}, must be 'otlp'": "otlp" not in exporters.split(","),
        f"the protocol is {protocol!r}, must be {PROTOCOL!r}": protocol not in ("", PROTOCOL),
        "its URL must begin with http:// or https:// and name a host": not _has_host(endpoint),
    }
    fault = next((why for why, is_so in faults.items() if is_so), "")
    return Collector(endpoint="" if fault else endpoint, variable=variable, fault=fault)


def tracing_in_force(config: TracingConfig, environment: Mapping[str, str]) -> TracingConfig:
    """Give the dials with the collector that the environment names, or with none where it says so.

    What we cannot do is warned about and leaves tracing off: the variables were not set for us.
    """
    found = find_collector(config, environment)
    if found.fault:
        logger.warning("tracing stays off", extra={"variable": found.variable, "why": found.fault})
    elif found.endpoint and found.variable:
        host = urlsplit(found.endpoint).hostname
        logger.info("tracing is on", extra={"variable": found.variable, "collector": host})
    return replace(config, endpoint=found.endpoint)


def _endpoint(environment: Mapping[str, str]) -> tuple[str, str]:
    """The variable that names a collector, and the URL that takes spans; empty without one."""
    exact, base = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
    if url := _first(environment, exact):
        return exact, url
    url = _first(environment, base)
    return base, f"{url.rstrip('/')}/{TRACES_PATH}" if url else ""


def _has_host(url: str) -> bool:
    """Whether something can be sent there over HTTP."""
    try:
        return url.startswith(("http://", "https://")) and bool(urlsplit(url).hostname)
    except ValueError:
        return False


def _first(environment: Mapping[str, str], *variables: str) -> str:
    """The value of the first of these that is set and not blank."""
    values = (environment.get(variable, "").strip() for variable in variables)
    return next((value for value in values if value), "")
