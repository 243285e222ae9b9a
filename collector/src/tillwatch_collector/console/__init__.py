"""The console: pages for people, in English and Chinese, beside the API for programs.

`visit` is who asks and how a page answers, `doors` which path needs what, `entry` coming in and going; each area has
its routes in a module, its templates, words and style under its name. `pictures` work out what is drawn. All script and
style is ours or htmx's, from files that are served here; the browser is told to refuse all else.
"""

from tillwatch_collector.console import (
    account,
    administration,
    entry,
    fleet,
    inventory,
    places,
    records,
    report,
    rollouts,
    terminal,
    ticket_steps,
    tickets,
)

ROUTERS = (
    entry.router,
    fleet.router,
    places.router,
    tickets.router,
    ticket_steps.router,
    report.router,
    terminal.router,
    rollouts.router,
    administration.router,
    inventory.router,
    records.router,
    account.router,
)
"""All routes of the console."""
