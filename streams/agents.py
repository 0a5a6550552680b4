"""The Faust application of a worker: its settings, and one agent per topic of events.

The agents take chunks off their streams and put them where the worker gathers. They acknowledge
nothing: that is for the worker to do, once the facts are durable.
"""

from collections.abc import Callable
from pathlib import Path

import faust
from faust.auth import Credentials, SASLCredentials, SSLCredentials
from faust.types import EventT, StreamT
from mode.supervisors import CrashingSupervisor
from yarl import URL

from streams.config import StreamsConfig
from streams.kafka.security import SecurityConfig, for_tls, password_of
from streams.transport import ChunkSchema, ChunkTransport

SESSION_TIMEOUT_S = 6.0
"""A worker that died is noticed after this; Kafka accepts no less by default."""
HEARTBEAT_S = 1.5
COMMIT_INTERVAL_S = 1.0
"""Faust's own commit loop. The worker also commits after each batch."""
FETCH_BYTES = 2**20
"""Fetched per partition and request. Kafka hands over a larger record all the same."""
POLL_INTERVAL_S = 86_400.0
"""How long a worker may wait for its sink and still keep its partitions: heartbeats go on, and
whether it makes progress is for the watchdog to decide."""
REQUEST_TIMEOUT_S = 30.0
PRODUCE_BYTES_MAX = 64 * 2**20
"""Largest dead letter that we try to produce; what is too large for the topic is the broker's to
say."""


def credentials_of(config: SecurityConfig) -> Credentials | None:
    """What Faust passes on to aiokafka; None for plain text. Raises ValueError."""
    context = for_tls(config)
    if config.has_sasl:
        return SASLCredentials(
            mechanism=config.mechanism,
            username=config.username,
            password=password_of(config),
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context)


def make_app(config: StreamsConfig, put: Callable[[EventT], None]) -> faust.App:
    """The application: every chunk of the topics of events comes to `put`.

    An agent that dies brings the application down; nothing is restarted in silence.
    """
    brokers = [URL(f"kafka://{broker}") for broker in config.brokers.split(",")]
    app = faust.App(
        config.group,
        env={},  # Faust would let its environment variables overrule what stands here.
        broker=brokers,
        broker_credentials=credentials_of(config.security),
        datadir=Path(config.data_dir).absolute(),
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_wait_empty=False,
        agent_supervisor=CrashingSupervisor,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        broker_max_poll_records=config.batch_events_max,
        broker_max_poll_interval=POLL_INTERVAL_S,
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_request_timeout=REQUEST_TIMEOUT_S,
        broker_commit_interval=COMMIT_INTERVAL_S,
        producer_request_timeout=REQUEST_TIMEOUT_S,
        producer_max_request_size=PRODUCE_BYTES_MAX,
    )
    app.transport = ChunkTransport(brokers, app)
    consumer = app.consumer
    consumer.open_records_max = 2 * config.batch_events_max

    async def take(stream: StreamT) -> None:
        async for event in stream.noack().events():
            put(event)
        if not app.should_stop:
            raise RuntimeError("a stream of events ended by itself")

    for topic in config.event_topics:
        app.agent(app.topic(topic, schema=ChunkSchema()), name=topic)(take)
    return app
