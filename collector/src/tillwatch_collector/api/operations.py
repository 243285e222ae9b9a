"""Routes for those who run the collector: alive, ready, metrics, and the API's own description."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict

from tillwatch_collector.api.context import Context
from tillwatch_collector.api.narrowing import WHOLE_FLEET

router = APIRouter(tags=["operations"])


@router.get("/healthz", response_class=PlainTextResponse)
def healthz() -> str:
    """Say that the process answers; nothing more, since anyone may ask."""
    return "ok\n"


class ReadyReport(BaseModel):
    """Whether the collector does its work, and which part does not."""

    model_config = ConfigDict(frozen=True)

    ready: bool
    checks: dict[str, bool]


@router.get("/readyz", responses={HTTPStatus.SERVICE_UNAVAILABLE.value: {"description": "not ready"}})
def readyz(context: Context, response: Response) -> ReadyReport:
    """Say whether database, broker and engine work; 503 when one does not."""
    readiness = context.readiness()
    if not readiness.ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return ReadyReport(ready=readiness.ready, checks=readiness.checks)


@router.get("/metrics", response_class=PlainTextResponse, dependencies=[WHOLE_FLEET])
def metrics(context: Context) -> Response:
    """Show all counts, as Prometheus reads them."""
    return Response(generate_latest(context.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> JSONResponse:
    """Describe this API."""
    description: dict[str, Any] = request.app.openapi()
    return JSONResponse(description)
