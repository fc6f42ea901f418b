"""Every store keeps the contract of a store."""

import pytest

from isoflop.storage.directory import DirectoryStore
from isoflop.storage.store import MemoryStore
from storage.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore()


class TestDirectoryStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return DirectoryStore(tmp_path / "store")
