"""Notices that a topic was deleted and made again under the name that a worker reads.

The consumer of a running worker does not notice: it goes on at its old position, and passes over as
many records of the new topic. Commits do not tell either, for Kafka keeps them by name. What tells
is the id that Kafka gives each topic that is made (KIP-516). The worker asks for the ids before it
fetches anything, says in each commit for which of them it is (topics.py), and ends once one
has changed. Its successor finds commits of other topics than its own and reads the new ones from
their first records (streams/transport.py). What the old worker had read of them already comes a
second time, and is dropped as all duplicates are.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from streams.errors import Unavailable

logger = logging.getLogger(__name__)


class TopicRemade(Unavailable):
    """A topic is no longer the one that this worker began to read: it must start again."""


def remade(began_with: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of the topics that have another id now; a topic that is gone is not among them.

    One that had no id is: it was made, or its broker began to tell ids, while we read.
    """
    return sorted(name for name, id in now.items() if began_with.get(name) != id)


async def watch_topics(
    look: Callable[[], Mapping[str, str]], began_with: Mapping[str, str], *, interval_s: float
) -> None:
    """Look at the ids of the topics every `interval_s` seconds until one has changed.

    `look` is called in another thread; while it raises Unavailable nothing is known. Raises
    TopicRemade.
    """
    while True:
        await asyncio.sleep(interval_s)
        try:
            now = await asyncio.to_thread(look)
        except Unavailable as error:
            logger.warning("ids of topics unknown", extra={"cause": str(error)})
            continue
        names = remade(began_with, now)
        if names:
            logger.warning("topics were deleted and made again", extra={"topics": names})
            raise TopicRemade(
                f"{', '.join(names)}: deleted and made again while this worker read it;"
                " the next worker reads it from its first record"
            )
