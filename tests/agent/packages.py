"""Archives as releases have them, good and bad, and the words that go with them."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tillwatch_agent.installer.slots import Staging
from tillwatch_protocol.release import InstallerKind

Add = Callable[[tarfile.TarFile], None]


def plain(files: Mapping[str, str]) -> bytes:
    """Pack files as a tar; what lies in `bin/` may be executed."""
    return tar(*(file(name, content.encode()) for name, content in files.items()))


def tar(*adds: Add) -> bytes:
    """Pack what these add."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for add in adds:
            add(archive)
    return gzip.compress(packed.getvalue(), compresslevel=1, mtime=0)


def file(name: str, content: bytes = b"content\n", mode: int | None = None) -> Add:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = mode if mode is not None else 0o755 if name.startswith("bin/") else 0o644
    return lambda archive: archive.addfile(info, io.BytesIO(content))


def special(name: str, kind: bytes, to: str = "") -> Add:
    """Add a folder, a link, a device."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return lambda archive: archive.addfile(info)


def link(name: str, to: str) -> Add:
    return special(name, tarfile.SYMTYPE, to)


def zipped(files: Mapping[str, bytes], modes: Mapping[str, int] | None = None) -> bytes:
    """Pack a zip; a mode holds the kind of the member, too."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (modes or {}).get(name, 0) << 16
            archive.writestr(info, content)
    return packed.getvalue()


def staging(
    content: bytes,
    version: str = "2.0",
    *,
    target: str = "",
    kind: InstallerKind = InstallerKind.BUNDLE,
    installed_bytes: int | None = None,
) -> Staging:
    """Say of an archive what a signed release says."""
    return Staging(
        target=target or f"till/till-{version}.tar.gz",
        product="till",
        version=version,
        digest=hashlib.sha256(content).hexdigest(),
        kind=kind,
        installed_bytes=installed_bytes,
    )


def stored(folder: Path, content: bytes, name: str = "archive") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path
