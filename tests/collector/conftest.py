"""A fresh store in memory for every test of the collector."""

from collections.abc import Iterator

import pytest

from tillwatch_collector.store.session import Store


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.in_memory()
    yield opened
    opened.close()
