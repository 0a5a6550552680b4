"""The provider that feature_store.yaml names: Feast's tools find users by the ids of clients.

It reads the environment as every command of rluf does, for where the key of the pseudonyms lies.
"""

import functools
from dataclasses import replace

from features.feast_repo import FactsProvider, root_of
from rluf.settings import Settings, load_settings
from rluf.wiring import stored_user


class HomeProvider(FactsProvider):
    """features.feast_repo.FactsProvider with the settings in force."""

    @functools.cached_property
    def _settings(self) -> Settings:
        return replace(load_settings(), home=root_of(self.repo_config))

    def stored_user(self, user_id: str) -> str:
        """Give the pseudonym of a client's id; an id as it is stored stays."""
        return stored_user(self._settings, user_id, as_stored=False)
