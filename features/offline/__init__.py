"""Where facts can be kept. To add a place, add a file beside parquet.py and a row here."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from features.config import FeaturesConfig
from features.offline.base import OfflineStore
from features.offline.parquet import ParquetStore

OFFLINE_STORES: Mapping[str, Callable[[FeaturesConfig], OfflineStore]] = MappingProxyType(
    {
        "parquet": ParquetStore,
    }
)
