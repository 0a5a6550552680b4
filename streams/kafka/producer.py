"""Sends events to Kafka: idempotent, acknowledged by all replicas, and never blocking for long."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import NamedTuple, Self

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError
from kafka.producer.future import RecordMetadata

from streams.codec import encode_checked, key_of, topic_of
from streams.config import RECORD_BYTES_MAX, StreamsConfig
from streams.errors import BadEvent, Unavailable
from streams.events import Event
from streams.kafka.rights import refusal_of
from streams.kafka.security import client_settings
from streams.kafka.topics import ensure_topics
from streams.kafka_binding import STRUCTURED_HEADER

logger = logging.getLogger(__name__)

BATCH_BYTES = 65_536
LINGER_MS = 2
"""How long a record waits for company, in ms: many senders then share one request."""
REQUEST_TIMEOUT_MS = 10_000
RECONNECT_MS_MAX = 1_000
"""Longest pause between attempts to reach a broker that is down."""
METADATA_TIMEOUT_MS = 10_000
"""Longest that a send blocks, to learn of a topic never heard of; ours are known from the start."""
OVERHEAD_BYTES = 1_024
"""Room for a record's key, headers and framing beside its value."""

HEADERS = [STRUCTURED_HEADER]


class RecordPlace(NamedTuple):
    """Where in the log a record was acknowledged."""

    topic: str
    partition: int
    offset: int


class Producer:
    """Sends from any thread; each send gives a future that is done once the brokers have it.

    A future fails with Unavailable when no acknowledgement came within `config.send_timeout_s`;
    the record may be in the log all the same, so send it again under the same id. Futures cannot be
    cancelled, since a record cannot be called back.
    """

    def __init__(self, config: StreamsConfig) -> None:
        """Connect, and create the topics that are missing. Raises Unavailable."""
        ensure_topics(config)
        self._config = config
        self._lock = threading.Lock()
        self._pending_bytes = 0
        delivery_ms = int(config.send_timeout_s * 1000)
        try:
            self._kafka = KafkaProducer(
                bootstrap_servers=config.brokers.split(","),
                **client_settings(config.security),
                acks="all",
                enable_idempotence=True,
                delivery_timeout_ms=delivery_ms,
                request_timeout_ms=min(REQUEST_TIMEOUT_MS, delivery_ms - LINGER_MS),
                max_block_ms=METADATA_TIMEOUT_MS,
                reconnect_backoff_max_ms=RECONNECT_MS_MAX,
                max_request_size=RECORD_BYTES_MAX + OVERHEAD_BYTES,
                batch_size=BATCH_BYTES,
                linger_ms=LINGER_MS,
                allow_auto_create_topics=False,
                metrics_enabled=False,
                bootstrap_timeout_ms=METADATA_TIMEOUT_MS,
            )
            for topic in config.topics:
                self._kafka.partitions_for(topic)  # Asks once, so that no send has to wait.
        except KafkaError as error:
            refusal = refusal_of(error, config)
            raise refusal or Unavailable(f"Kafka at {config.brokers}: {error!r}") from error

    def send(self, event: Event, headers: Sequence[tuple[str, bytes]] = ()) -> Future[RecordPlace]:
        """Send one event to its topic, `headers` after our own; the log's clock stamps it.

        Raises BadEvent for one that the worker would refuse, and Unavailable while the brokers are
        so far behind that our buffer is full.
        """
        value = encode_checked(event, self._config)
        topic = topic_of(event, self._config)
        return self.send_raw(topic, key_of(event), value, headers=[*HEADERS, *headers])

    def send_raw(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes]] = HEADERS,
    ) -> Future[RecordPlace]:
        """Send bytes as they are; None stamps them with the present, Kafka takes no later time.

        Raises BadEvent for more than Kafka takes, and Unavailable as `send` does.
        """
        size = len(value)
        with self._lock:
            if self._pending_bytes and self._pending_bytes + size > self._config.pending_bytes_max:
                raise Unavailable(
                    f"{self._pending_bytes} bytes wait for acknowledgement; at most "
                    f"{self._config.pending_bytes_max} may"
                )
            self._pending_bytes += size
        future: Future[RecordPlace] = Future()
        future.set_running_or_notify_cancel()

        def settle(done: RecordMetadata) -> None:
            self._release(size)
            future.set_result(RecordPlace(done.topic, done.partition, done.offset))

        def fail(error: BaseException) -> None:
            self._release(size)
            future.set_exception(self._our_fault(error))

        try:
            sent = self._kafka.send(
                topic, key=key, value=value, headers=list(headers), timestamp_ms=timestamp_ms
            )
        except KafkaError as error:
            self._release(size)
            raise self._our_fault(error) from error
        sent.add_callback(settle)
        sent.add_errback(fail)
        return future

    def flush(self, timeout_s: float) -> None:
        """Return once all that was sent is settled. Raises Unavailable if that takes longer."""
        try:
            self._kafka.flush(timeout_s)
        except KafkaError as error:
            raise Unavailable(f"not everything was acknowledged in {timeout_s} s") from error

    def close(self, timeout_s: float = 10.0) -> None:
        """Send what is left, for so long at most, and disconnect; what is left then fails."""
        try:
            self._kafka.close(timeout_s)
        except KafkaError as error:
            logger.warning("producer closed in haste", extra={"error": repr(error)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _release(self, size: int) -> None:
        with self._lock:
            self._pending_bytes -= size

    def _our_fault(self, error: BaseException) -> BadEvent | Unavailable:
        """What a fault of Kafka's means to the one who sent."""
        if isinstance(error, MessageSizeTooLargeError):
            return BadEvent(
                "too_large", f"Kafka takes records up to {RECORD_BYTES_MAX} bytes: {error}"
            )
        return refusal_of(error, self._config) or Unavailable(repr(error))
