"""What the ingestion worker counts, read from its /metrics where it serves one.

Duplicates are dropped by the worker before they reach the store, and how far it is behind only it
knows: both are meters of another process, so they start anew when that one does.
"""

from dataclasses import dataclass
from urllib.error import URLError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerMeters:
    """Counts since the worker started."""

    num_duplicates: int
    num_lagging: int
    """Records in the log that are not durable in the store yet."""


def read_worker_meters(url: str) -> WorkerMeters | None:
    """Ask the worker; None without a URL or where nobody answers."""
    if not url:
        return None
    try:
        with urlopen(url, timeout=TIMEOUT_S) as answer:
            text = answer.read().decode()
    except (URLError, OSError, UnicodeDecodeError):
        return None
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    return WorkerMeters(
        num_duplicates=int(totals.get("rluf_events_duplicate_total", 0)),
        num_lagging=int(totals.get("rluf_consumer_lag_records", 0)),
    )
