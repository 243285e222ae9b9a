"""Whatever the API's own description allows, and much that it does not, ends in an answer that it declares."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.collector.shell_fixtures import ORIGIN, Web, describe, tell

from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope

described = schemathesis.openapi.from_dict(Web(database=Store.in_memory()).routes.openapi())

CHECKED = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)

EXAMPLES = 12
"""Of each operation and each database: with those that the description's bounds give, a minute of one core in all."""


@pytest.fixture(scope="module")
def fuzzed(module_store: Store) -> Iterator[TestClient]:
    """A fleet that has spoken, seen by who may do anything; a fault of ours is an answer here, not an exception."""
    served = Web(database=module_store)
    describe(served.database)
    tell(served.database)
    headers = {"Authorization": f"Bearer {served.secret(Scope.ADMIN)}"}
    with TestClient(served.application, base_url=ORIGIN, headers=headers, raise_server_exceptions=False) as client:
        yield client


@described.parametrize()
@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)
def test_no_request_ends_in_a_fault_of_ours(case: schemathesis.Case, fuzzed: TestClient) -> None:
    asked: dict[str, Any] = case.as_transport_kwargs(headers=dict(fuzzed.headers))
    asked.pop("cookies", None)  # the API looks at none
    case.validate_response(fuzzed.request(**asked), checks=list(CHECKED))
