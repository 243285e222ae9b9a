"""Routes of tickets: `found` reads them, `work` reports and moves them, `said` holds comments and files."""

from fastapi import APIRouter

from tillwatch_collector.api.tickets import found, said, work

router = APIRouter(prefix="/api/v1", tags=["tickets"])
for part in (found, work, said):
    router.include_router(part.router)
