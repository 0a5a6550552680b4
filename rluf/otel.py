"""OpenTelemetry's own variables, for whoever has set them for all programs of a machine.

Tracing is off by default. A collector named by a standard variable is the user's word, as in every
SDK of OpenTelemetry; our own setting, also an empty one, is the nearer word and wins. What headers,
certificates and resource attributes these variables name, the exporter and the SDK read themselves.

Source: OpenTelemetry specification, "Environment variable specification" and "OTLP exporter". We
deviate in that the sampler stays `tracing.sample_ratio`, and the timeout streams/spans.py's.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from streams.tracing import TracingConfig

logger = logging.getLogger(__name__)

OURS = "RLUF_TRACING__ENDPOINT"
TRACES_PATH = "v1/traces"
"""What follows a base URL that serves traces, metrics and logs."""
PROTOCOL = "http/protobuf"
"""The one that we speak."""


def tracing_in_force(config: TracingConfig, environment: Mapping[str, str]) -> TracingConfig:
    """Give the dials with the collector that the environment names, or with none where it says so.

    What we cannot do is warned about and leaves tracing off: the variables were not set for us.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return replace(config, endpoint="")
    if config.endpoint or OURS in environment:
        return config
    variable, endpoint = _endpoint(environment)
    if not endpoint:
        return config
    exporters = _first(environment, "OTEL_TRACES_EXPORTER") or "otlp"
    if exporters == "none":
        return config
    protocol = _first(
        environment, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    faults = {
        f"the exporter is {exporters}, must be otlp": "otlp" not in exporters.split(","),
        f"the protocol is {protocol}, must be {PROTOCOL}": protocol not in ("", PROTOCOL),
        "its URL must begin with http:// or https://": not endpoint.startswith(
            ("http://", "https://")
        ),
    }
    for why, is_so in faults.items():
        if is_so:
            logger.warning("tracing stays off", extra={"variable": variable, "why": why})
            return config
    where = urlsplit(endpoint)
    logger.info("tracing is on", extra={"variable": variable, "collector": where.hostname})
    return replace(config, endpoint=endpoint)


def _endpoint(environment: Mapping[str, str]) -> tuple[str, str]:
    """The variable that names a collector, and the URL that takes spans; empty without one."""
    exact, base = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
    if url := _first(environment, exact):
        return exact, url
    url = _first(environment, base)
    return base, f"{url.rstrip('/')}/{TRACES_PATH}" if url else ""


def _first(environment: Mapping[str, str], *variables: str) -> str:
    """The value of the first of these that is set and not blank."""
    values = (environment.get(variable, "").strip() for variable in variables)
    return next((value for value in values if value), "")
