"""The schema's revisions, as Alembic counts them: which one a database has, and the way to another.

Everything happens on a connection whose transaction was begun by the caller, so that a step that fails leaves nothing.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from tillwatch_collector.errors import OperatorError

HEAD = "head"
"""This version's own revision."""

VERSION_TABLE = "alembic_version"
"""Where a database keeps which revision it has."""

STATEMENT_S_MAX = 3_600
"""How long one step of a migration, or one whole table, may take, and how long another process waits for the end."""

_LINE = 0x7469_6C6C  # "till"


class SchemaTooNew(OperatorError):  # noqa: N818 - it names what is so
    """A later version has worked on the database."""


def upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Bring the database up to a revision; raises `SchemaTooNew`."""
    current = revision_of(connection)
    if current is not None and not known(current):
        raise SchemaTooNew(
            f"expected a database of this version or an earlier one, got schema {current}, which it does not know: "
            f"install the version that made it, or restore a backup from before"
        )
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def revision_of(connection: Connection) -> str | None:
    """Return the database's revision; None before the first."""
    return MigrationContext.configure(connection).get_current_revision()


def known(revision: str) -> bool:
    """Whether this version knows the revision: it does not know those of later versions."""
    try:
        return ScriptDirectory.from_config(_config()).get_revision(revision) is not None
    except CommandError:
        return False


def take_time(connection: Connection) -> None:
    """Let this transaction's statements, and the pauses between them, take as long as a whole table takes."""
    if connection.dialect.name == "postgresql":
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SET LOCAL {name} = '{STATEMENT_S_MAX}s'"))


def stand_in_line(connection: Connection) -> None:
    """Let one process at a time change the schema; on PostgreSQL the next then finds the work done.

    On SQLite the one writing transaction is the line.
    """
    if connection.dialect.name != "postgresql":
        return
    take_time(connection)
    before = connection.scalar(text("SELECT current_setting('lock_timeout')"))
    connection.execute(text(f"SET LOCAL lock_timeout = '{STATEMENT_S_MAX}s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LINE})
    connection.execute(text("SELECT set_config('lock_timeout', :before, true)"), {"before": before})


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
