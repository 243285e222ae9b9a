"""Whatever the API's own description allows, and much that it does not, ends in an answer that it declares."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.collector.databases import Databases, stores_in
from tests.collector.shell_fixtures import ORIGIN, Web, describe, tell

from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope

described = schemathesis.openapi.from_dict(Web(database=Store.in_memory()).routes.openapi())
writing = described.exclude(method="GET")

AnyCase = schemathesis.Case[Any]
CHECKED = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)

bounded = settings(max_examples=6, derandomize=True, deadline=None, database=None)
"""Beside those that the description's own bounds give, some hundred for a list with many filters: a minute in all."""


def fleet(store: Store) -> Iterator[TestClient]:
    """A fleet that has spoken, seen by who may do anything; a fault of ours is an answer here, not an exception."""
    served = Web(database=store)
    describe(served.database)
    tell(served.database)
    headers = {"Authorization": f"Bearer {served.secret(Scope.ADMIN)}"}
    with TestClient(served.application, base_url=ORIGIN, headers=headers, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def on_sqlite() -> Iterator[TestClient]:
    with stores_in(None) as opened:
        yield from fleet(opened())


@pytest.fixture(scope="module")
def on_postgresql(worker_databases: Databases) -> Iterator[TestClient]:
    with stores_in(worker_databases) as opened:
        yield from fleet(opened())


@described.parametrize()
@bounded
def test_no_request_ends_in_a_fault_of_ours(case: AnyCase, on_sqlite: TestClient) -> None:
    expect_as_declared(case, on_sqlite)


@writing.parametrize()
@bounded
def test_no_write_ends_in_a_fault_of_ours_on_postgresql(case: AnyCase, on_postgresql: TestClient) -> None:
    """PostgreSQL takes no NUL, no number that is too great, and no text that is too long."""
    expect_as_declared(case, on_postgresql)


def expect_as_declared(case: AnyCase, client: TestClient) -> None:
    asked: Any = requests.Request(**case.as_transport_kwargs(base_url=ORIGIN, headers=dict(client.headers))).prepare()
    answer = client.request(asked.method, asked.url, headers=dict(asked.headers), content=asked.body)
    case.validate_response(answer, checks=list(CHECKED))
