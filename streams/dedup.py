"""Which events were already taken in: bounded memory, forgotten exactly per partition.

Ids are kept as 64-bit hashes. Two different ids share one with a probability of 5e-14 at a million
remembered (then an event is dropped as a duplicate), and nothing downstream relies on this memory:
the store's views drop duplicates by the full (source, id) again.
"""

from collections.abc import Set as AbstractSet

import xxhash

Place = tuple[str, int]
"""(topic, partition)."""
EMPTY: AbstractSet[int] = frozenset()


def hash_id(source: str, id: str) -> int:
    """A 64-bit hash of (source, id), the same in every process; no two pairs spell alike."""
    return xxhash.xxh3_64_intdigest(f"{len(source)} {source}{id}".encode())


class SeenIds:
    """The latest ids of each partition, as two generations: when full, the elder one is dropped.

    So between half of `num_max` and `num_max` ids are remembered, over all partitions together,
    and when room is needed the partition that holds most gives it.
    """

    def __init__(self, num_max: int) -> None:
        self._num_max = num_max
        self._young: dict[Place, set[int]] = {}
        self._old: dict[Place, set[int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._young.values())) + sum(map(len, self._old.values()))

    def generations(self, place: Place) -> tuple[AbstractSet[int], AbstractSet[int]]:
        """The hashes remembered of one partition, in two sets to look into; do not change them."""
        return self._young.get(place, EMPTY), self._old.get(place, EMPTY)

    def add(self, place: Place, hashes: AbstractSet[int]) -> None:
        """Remember these ids of one partition."""
        self._young.setdefault(place, set()).update(hashes)
        self._old.setdefault(place, set())
        while len(self) > self._num_max:
            self._age_largest()

    def forget(self, place: Place) -> None:
        """Drop all of one partition."""
        self._young.pop(place, None)
        self._old.pop(place, None)

    def _age_largest(self) -> None:
        """Drop the elder generation of the partition that holds most."""
        place = max(self._young, key=lambda p: len(self._young[p]) + len(self._old[p]))
        self._old[place], self._young[place] = self._young[place], set()
