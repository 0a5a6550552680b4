"""What we may do in the cluster, asked for before it is needed (KIP-430), so that whoever has to
grant a right is told which one, on what, and to whom.

A cluster without an authorizer grants everything; a broker before Kafka 2.3 does not say, and then
the first refusal does.
"""

from collections.abc import Sequence

from kafka import KafkaAdminClient
from kafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from streams.config import StreamsConfig
from streams.errors import Refused

Granted = Sequence[str] | None
"""Names of what we may do, as Kafka writes them; nothing: the broker does not say."""


def is_granted(told: Granted, right: str) -> bool:
    """Whether a right is among these, as far as the broker tells."""
    return not told or right.upper() in told


def lacks(config: StreamsConfig, right: str, what: str) -> Refused:
    """The refusal that names who lacks which right on what."""
    return Refused(
        f"Kafka at {config.brokers}: {config.security.who} lacks the right {right} on {what};"
        " grant it with kafka-acls"
    )


def require_rights(
    admin: KafkaAdminClient, config: StreamsConfig, *, reads: Sequence[str], writes: Sequence[str]
) -> None:
    """Raises Refused for the first right that is missing: Describe, then Read, then Write, each in
    the order of the topics' names (a broker answers in an order of its own)."""
    topics = {topic["name"]: topic for topic in admin.describe_topics([*{*reads, *writes}])}
    for right, names in (("Describe", topics), ("Read", reads), ("Write", writes)):
        for name in sorted(names):
            if right == "Describe":
                granted = topics[name]["error_code"] != TopicAuthorizationFailedError.errno
            else:
                granted = is_granted(topics[name].get("authorized_operations"), right)
            if not granted:
                raise lacks(config, right, f"topic {name}")


def require_group(admin: KafkaAdminClient, config: StreamsConfig) -> None:
    """Raises Refused where we may not read as a member of the workers' group."""
    try:
        group = admin.describe_groups([config.group])[config.group]
    except GroupAuthorizationFailedError:
        raise lacks(config, "Read", f"group {config.group}") from None
    is_refused = GroupAuthorizationFailedError.__name__ in (group["error"] or "")
    if is_refused or not is_granted(group.get("authorized_operations"), "Read"):
        raise lacks(config, "Read", f"group {config.group}")


REFUSALS = {
    "TopicAuthorizationFailedError": "a right on a topic",
    "GroupAuthorizationFailedError": "the right Read on the group of the workers",
    "ClusterAuthorizationFailedError": (
        "the right Write on the topics that it sends to, or IdempotentWrite on the cluster"
    ),
}
"""What each refusal of Kafka's says of our rights, by the name that it has in both libraries."""


def refusal_of(error: BaseException, config: StreamsConfig) -> Refused | None:
    """What a fault of Kafka's says of our rights; None where it is another one.

    Granted apart by the names in its text: kafka-python wraps some in errors of no kind.
    """
    told = repr(error)
    what = next((what for name, what in REFUSALS.items() if name in told), None)
    if what is None:
        return None
    return Refused(
        f"Kafka at {config.brokers}: {config.security.who} lacks {what} ({error});"
        " grant it with kafka-acls"
    )
