"""The file of a backup: one gzip of lines of JSON. What its rows mean is for `backup` beside it.

The first line is the manifest: what was backed up, when, and how many rows each table has. Then come the rows, an array
each, table after table in the manifest's order. The last line holds the SHA-256 of all before it, so that a file that
was cut off or altered is known before a single row is used.

A file appears under its name complete, on the disk, and readable by its owner alone, or not at all: it holds the hashes
of tokens and all that is known of a fleet. A change violates this when a backup that broke off can lie under its name.
"""

import gzip
import hashlib
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json, to_json

from tillwatch_collector.errors import CallerError, OperatorError

LINE_BYTES_MAX = 8 * 1024 * 1024
"""The longest line is a file of a ticket: 5 MiB, and a third more in base64. Then comes a manifest, a hundred bytes for
each column of the day tables of years. What is longer than this is cut, so that its checksum differs."""

_COMPRESSION = 3
"""Nearly as small as gzip's best here, at a third of its time."""

NAMED_BY_TIME = re.compile(r"tillwatch-\d{8}T\d{6}Z\.backup\.gz")
"""What `name_at` makes."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Row = Sequence[Any]


class BackupUnusable(CallerError):  # noqa: N818 - it names what is so
    """The file is no backup, is damaged, or was made by another version's rules."""


class BackupUnwritable(OperatorError):  # noqa: N818
    """The file cannot be written where it was asked for."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableShape(_Line):
    """One table in the file: its columns in the order of each row's values, and how many rows."""

    name: Name
    columns: Annotated[tuple[Name, ...], Field(min_length=1)]
    rows: Annotated[int, Field(ge=0)]


class Manifest(_Line):
    """What a backup holds."""

    tillwatch_backup: Literal[1] = 1
    """The format's number."""
    made_at: AwareDatetime
    version: str
    """Of the collector that made it."""
    schema_revision: str
    collector_epoch: int
    tables: tuple[TableShape, ...]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)


class _Seal(_Line):
    sha256: str


def name_at(made_at: datetime) -> str:
    """Name a backup by its time, so that names sort as times do."""
    return f"tillwatch-{made_at:%Y%m%dT%H%M%SZ}.backup.gz"


class Archive:
    """A backup that lies in a file and was found whole; its rows can be read again and again."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self._path = path

    def tables(self) -> Iterator[tuple[TableShape, Iterator[list[Any]]]]:
        """Yield each table with its rows; the rows of one are to be read before the next is asked for."""
        lines = _lines_of(self._path)
        next(lines)
        for shape in self.manifest.tables:
            yield shape, _rows(lines, shape)


def write(path: Path, manifest: Manifest, rows: Iterable[Row]) -> None:
    """Write a backup, and read it once before it has its name; raises `BackupUnwritable`.

    What `rows` raises passes through, and leaves no file.
    """
    try:
        with _appearing(path) as partial:
            _pack(partial, manifest, rows)
            opened(partial)
    except OSError as error:
        raise BackupUnwritable(f"{path}: expected a place to write a backup to, got: {error.strerror}") from None
    except BackupUnusable as error:
        raise BackupUnwritable(f"{path}: what was written does not read back: {error}") from None


def opened(path: Path) -> Archive:
    """Read the whole file once and hold it against its checksum; raises `BackupUnusable`."""
    digest, first, last, rows = hashlib.sha256(), b"", b"", -2
    for line in _lines_of(path):
        digest.update(last)
        first, last, rows = first or line, line, rows + 1
    manifest = _manifest(path, first)
    if _seal(last) != digest.hexdigest() or rows != manifest.rows:
        raise BackupUnusable(
            f"{path}: expected a whole backup, got one that was altered or cut off: its checksum differs"
        )
    return Archive(path, manifest)


# --- writing


def _lines(manifest: Manifest, rows: Iterable[Row]) -> Iterator[bytes]:
    yield to_json(manifest) + b"\n"
    for row in rows:
        yield to_json(row, bytes_mode="base64", inf_nan_mode="constants") + b"\n"


def _pack(partial: Path, manifest: Manifest, rows: Iterable[Row]) -> None:
    digest = hashlib.sha256()
    with partial.open("wb") as file:
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=_COMPRESSION, mtime=0) as packed:
            for line in _lines(manifest, rows):
                digest.update(line)
                packed.write(line)
            packed.write(to_json(_Seal(sha256=digest.hexdigest())) + b"\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """Lend a name beside, with mode 0600, that becomes the file's own when all went well."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(descriptor)
    partial = Path(name)
    with ExitStack() as unless_whole:
        unless_whole.callback(partial.unlink, missing_ok=True)
        yield partial
        partial.replace(path)
        unless_whole.pop_all()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# --- reading


def _lines_of(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as packed:
            while line := packed.readline(LINE_BYTES_MAX):
                yield line
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise BackupUnusable(f"{path}: expected a whole backup, got a file that is none, or was cut off") from None
    except OSError as error:
        raise BackupUnusable(f"{path}: expected a readable backup, got: {error.strerror}") from None


def _rows(lines: Iterator[bytes], shape: TableShape) -> Iterator[list[Any]]:
    for _ in range(shape.rows):
        row = from_json(next(lines))
        if not isinstance(row, list) or len(row) != len(shape.columns):
            raise BackupUnusable(f"table {shape.name}: expected rows of {len(shape.columns)} values, got another")
        yield row


def _manifest(path: Path, line: bytes) -> Manifest:
    try:
        return Manifest.model_validate_json(line)
    except ValidationError as error:
        said = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(str(part) for part in said["loc"]) or "its first line"
        raise BackupUnusable(
            f"{path}: expected a backup of tillwatch, got another file: {key}: {said['msg']}"
        ) from None


def _seal(line: bytes) -> str | None:
    try:
        return _Seal.model_validate_json(line).sha256
    except ValidationError:
        return None
