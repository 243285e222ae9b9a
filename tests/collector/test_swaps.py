"""Serial numbers in the inventory: found for many at once, learned where there is none."""

import pytest
from tests.collector.databases import rows
from tests.collector.shell_fixtures import NOW, describe

from tillwatch_collector.domain.inventory import LifeCycle, Terminal
from tillwatch_collector.domain.swap import Known
from tillwatch_collector.store import statements
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.session import Store


@pytest.fixture
def described(store: Store) -> Store:
    describe(store)
    with store.transaction() as repository:
        inventory = Inventory(repository.connection)
        for terminal in (
            Terminal(terminal_id="t-1", store_id="s-1", serial_number="SN-1"),
            Terminal(terminal_id="t-4", serial_number="sn-4", life_cycle=LifeCycle.SPARE),
            Terminal(terminal_id="t-5", serial_number="SN-4", store_id="s-2"),
        ):
            inventory.put_terminal(terminal, NOW)
    return store


def test_numbers_are_found_however_they_are_spelt_and_who_is_live_stands_first(
    described: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "VARIABLES_MAX", 2)
    with described.transaction() as repository:
        found = repository.swaps.serials(["SN-1", "SN-4", "SN-9"])
        assert repository.swaps.serials([]) == {}
    assert found == {
        "SN-1": (Known(terminal_id="t-1", life_cycle="live", store_id="s-1"),),
        "SN-4": (
            Known(terminal_id="t-5", life_cycle="live", store_id="s-2"),
            Known(terminal_id="t-4", life_cycle="spare", store_id=None),
        ),
    }


def test_a_number_is_learned_where_there_is_none_and_never_over_another(described: Store) -> None:
    with described.transaction() as repository:
        repository.swaps.learn({})
        repository.swaps.learn({"t-1": "SN-X", "t-2": "SN-2", "t-99": "SN-99"})
    assert rows(described, "SELECT terminal_id, serial_number FROM terminal ORDER BY 1") == [
        ("t-1", "SN-1"),
        ("t-2", "SN-2"),
        ("t-3", None),
        ("t-4", "sn-4"),
        ("t-5", "SN-4"),
    ]
