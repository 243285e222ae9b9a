"""Routes of what people add to a ticket: comments and files.

A file is handed out to be saved, never to be shown: whatever it holds, a browser runs nothing of it. A change violates
this when a file leaves under the media type that its sender gave it.
"""

from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Response, UploadFile
from pydantic import BaseModel, ConfigDict, StringConstraints

from tillwatch_collector.api.actor import By
from tillwatch_collector.api.context import Context, Reading
from tillwatch_collector.api.paging import PageQuery, paging
from tillwatch_collector.api.problems import Problem, missing
from tillwatch_collector.api.tickets.found import TicketId, expect_ticket
from tillwatch_collector.api.tickets.work import LINES
from tillwatch_collector.domain.attachment import FILE_BYTES_MAX
from tillwatch_collector.flows.tickets import COMMENT_CHARS_MAX
from tillwatch_collector.store.tickets import Tickets
from tillwatch_collector.store.views import AttachmentView, CommentView, Page
from tillwatch_protocol.vocabulary import INTEGER_MAX

router = APIRouter(prefix="/tickets/{ticket_id}")

FILE_MEDIA_TYPE = "application/octet-stream"

AttachmentId = Annotated[int, Path(ge=1, le=INTEGER_MAX)]


class _CommentsQuery(PageQuery):
    internal: bool | None = None


class CommentBody(BaseModel):
    """What is to be said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=COMMENT_CHARS_MAX, pattern=LINES)
    ]
    internal: bool = False
    """Not for the merchant's eyes."""


class Added(BaseModel):
    """The number of what was added."""

    model_config = ConfigDict(frozen=True)

    ticket_id: int
    comment_id: int | None = None
    attachment_id: int | None = None


@router.get("/comments")
def list_comments(
    reading: Reading, ticket_id: TicketId, asked: Annotated[_CommentsQuery, Query()]
) -> Page[CommentView]:
    """List what people said on a ticket; `internal=false` leaves out what is not for the merchant."""
    expect_ticket(reading, ticket_id)
    return reading.comments(ticket_id, paging(asked), internal=asked.internal)


@router.post("/comments", status_code=HTTPStatus.CREATED)
def add_comment(context: Context, by: By, ticket_id: TicketId, body: CommentBody) -> Added:
    """Say something on a ticket."""
    comment_id = context.desk.comment(ticket_id, body.text, by, internal=body.internal)
    return Added(ticket_id=ticket_id, comment_id=comment_id)


@router.get("/attachments")
def list_attachments(
    reading: Reading, ticket_id: TicketId, asked: Annotated[PageQuery, Query()]
) -> Page[AttachmentView]:
    """List the files of a ticket."""
    expect_ticket(reading, ticket_id)
    return reading.attachments(ticket_id, paging(asked))


@router.post("/attachments", status_code=HTTPStatus.CREATED)
def add_attachment(context: Context, by: By, ticket_id: TicketId, file: UploadFile) -> Added:
    """Add a file to a ticket, as the field `file` of a form: a picture, a PDF, or text in UTF-8."""
    content = file.file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        said = f"expected a file of at most {FILE_BYTES_MAX} bytes, got a longer one"
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said)
    attachment_id = context.desk.attach(ticket_id, file.filename or "", file.content_type or "", content, by)
    return Added(ticket_id=ticket_id, attachment_id=attachment_id)


_CONTENT: dict[int | str, dict[str, Any]] = {
    HTTPStatus.OK.value: {
        "description": "the file, to be saved",
        "content": {FILE_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/attachments/{attachment_id}/content", response_class=Response, responses=_CONTENT)
def get_attachment(context: Context, ticket_id: TicketId, attachment_id: AttachmentId) -> Response:
    """Hand out a file of a ticket."""
    with context.store.reading() as connection:
        found = Tickets(connection).attachment(ticket_id, attachment_id)
    if found is None:
        raise missing("attachment", f"{attachment_id} of ticket {ticket_id}")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.name, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(found.content, media_type=FILE_MEDIA_TYPE, headers=headers)
