"""Compute the online features anew from the facts: for when they cannot be trusted, or are gone.

Pushes keep the online store up with the facts. A repair does not ask what was pushed: it writes
the row of every user and policy that a fact supports and removes every other row, so that what an
online store holds afterwards is a function of the facts alone.
"""

import logging

import pyarrow as pa

from features.config import FeaturesConfig
from features.definitions import POLICY_STATS, USER_HISTORY, feast_folder
from features.history import EntityKey, current_sql, tallies_sql
from features.offline import OFFLINE_STORES
from features.online import PUSH_MEMORY_MB, OnlineStore
from features.tallies import Tallies, tallies_path
from features.views import connect_store
from files.durable import lock
from streams.errors import Unavailable

logger = logging.getLogger(__name__)

REPAIR_ROWS_MAX = 5_000
"""Rows that are written at a time; it bounds memory."""


def repair_online(config: FeaturesConfig) -> int:
    """Write every online row anew from the facts and remove those that no fact supports.

    Gives the rows written. Readers find old or new rows meanwhile, never none. Raises Unavailable.
    """
    try:
        online = OnlineStore(config.root.absolute())  # Opened anew: its files may be gone.
        store = OFFLINE_STORES[config.offline_store](config)
        num_rows = num_removed = 0
        with (
            lock(feast_folder(config.root) / ".push.lock"),
            connect_store(
                store, root=config.root, as_of=None, memory_mb=PUSH_MEMORY_MB
            ) as connection,
        ):
            connection.execute(f"CREATE TABLE tallies AS {tallies_sql()}")
            Tallies(tallies_path(config.root)).replace_all(
                connection.sql("FROM tallies").to_arrow_reader(REPAIR_ROWS_MAX)
            )
            keys: tuple[tuple[str, EntityKey], ...] = (
                (USER_HISTORY, "user_id"),
                (POLICY_STATS, "policy"),
            )
            for view, key in keys:
                sql = current_sql(
                    key,
                    strength=config.prior_strength,
                    rate=config.prior_rate,
                    tallies="tallies",
                )
                supported: set[str] = set()
                for batch in connection.sql(sql).to_arrow_reader(REPAIR_ROWS_MAX):
                    if batch.num_rows:
                        online.write(view, pa.Table.from_batches([batch]))
                        supported.update(batch[key].to_pylist())
                num_rows += len(supported)
                num_removed += online.remove_others(view, supported)
    except OSError as fault:
        raise Unavailable(f"cannot repair online features: {fault.strerror}") from fault
    logger.info("online features repaired", extra={"rows": num_rows, "removed": num_removed})
    return num_rows
