"""Routes of releases: the list for operators, and the repository itself for terminals, who need no token for it.

What terminals fetch is signed and no secret, so that any web server or CDN may stand before it. Files are streamed in
small parts, by ranges where they are asked for; what bears a version or a digest in its name may be kept for ever, the
timestamp is asked for anew each time. A change violates this when anything but a repository's own file is handed out.
"""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from tillwatch_collector.api.context import Context
from tillwatch_collector.api.paging import QueryText
from tillwatch_collector.api.problems import missing
from tillwatch_collector.release_files import Served, metadata_file, target_file
from tillwatch_collector.releases import ReleaseView
from tillwatch_collector.store.queries import PAGE_ROWS_MAX
from tillwatch_collector.store.views import Page

router = APIRouter(tags=["releases"])

CACHE_FOR_EVER = "public, max-age=31536000, immutable"
CACHE_AND_ASK = "no-cache"

_NAME_CHARS_MAX = 300
"""A target's path and a digest."""

_METADATA_TYPE = "application/json"
_TARGET_TYPE = "application/octet-stream"


_CONTENT: dict[int | str, dict[str, Any]] = {
    HTTPStatus.PARTIAL_CONTENT.value: {"description": "the range that was asked for"},
    HTTPStatus.NOT_MODIFIED.value: {"description": "what was named is still so"},
}


class _ReleasesQuery(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: Annotated[int, Field(ge=1, le=PAGE_ROWS_MAX)] = 50
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    product: QueryText | None = None
    revoked: bool | None = None


@router.get("/api/v1/releases")
def list_releases(context: Context, asked: Annotated[_ReleasesQuery, Query()]) -> Page[ReleaseView]:
    """List the signed releases by target, those that were taken back among them; `revoked=false` leaves these out."""
    found = () if context.releases is None else context.releases.look()
    chosen = [one for one in found if asked.product in {None, one.product} and asked.revoked in {None, one.revoked}]
    page = tuple(chosen[asked.offset : asked.offset + asked.limit])
    return Page[ReleaseView](items=page, total=len(chosen), limit=asked.limit, offset=asked.offset)


@router.head("/tuf/metadata/{name}", include_in_schema=False)
@router.get("/tuf/metadata/{name}", response_class=FileResponse, responses=_CONTENT)
def get_metadata(
    context: Context, request: Request, name: Annotated[str, Path(max_length=_NAME_CHARS_MAX)]
) -> Response:
    """Hand out signed metadata."""
    served = metadata_file(context.releases.folder, name) if context.releases is not None else None
    return _handed_out(request, served, _METADATA_TYPE, name)


@router.head("/tuf/targets/{name:path}", include_in_schema=False)
@router.get("/tuf/targets/{name:path}", response_class=FileResponse, responses=_CONTENT)
def get_target(context: Context, request: Request, name: Annotated[str, Path(max_length=_NAME_CHARS_MAX)]) -> Response:
    """Hand out a release's file, under its name with digest."""
    served = target_file(context.releases.folder, name) if context.releases is not None else None
    return _handed_out(request, served, _TARGET_TYPE, name)


class _OneRange(FileResponse):
    """Answers a request for several ranges with the whole: who resumes wants one."""

    max_ranges = 1


def _handed_out(request: Request, served: Served | None, media_type: str, name: str) -> Response:
    if served is None:
        raise missing("file", name[:_NAME_CHARS_MAX])
    headers = {
        "etag": served.etag,
        "cache-control": CACHE_FOR_EVER if served.lasts else CACHE_AND_ASK,
        "cross-origin-resource-policy": "cross-origin",
    }
    known = request.headers.get("if-none-match", "")
    if known == "*" or served.etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return _OneRange(served.path, headers=headers, media_type=media_type)
