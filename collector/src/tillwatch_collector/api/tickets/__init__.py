"""Routes of tickets: `found` reads them, `work` reports and moves them, `said` holds comments and files."""

from fastapi import APIRouter

from tillwatch_collector.api.narrowing import TICKET_SEEN
from tillwatch_collector.api.tickets import found, said, work

router = APIRouter(prefix="/api/v1", tags=["tickets"], dependencies=[TICKET_SEEN])
for part in (found, work, said):
    router.include_router(part.router)
