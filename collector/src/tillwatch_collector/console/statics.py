"""Style, script and htmx: named by what they hold, so that a browser keeps them for ever and never an old one.

The style sheets of all areas go out as one, and so does all script of ours; htmx comes as its package has it.
Everything is read, joined and compressed once, when this module is loaded.
"""

import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"
_FIRST = "console"
"""The sheet that the others build on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Static:
    """A file as it is served."""

    name: str
    """With a part of its hash in it."""
    media_type: str
    content: bytes
    compressed: bytes


def _joined(suffix: str) -> bytes:
    paths = sorted(_FOLDER.glob(f"*{suffix}"), key=lambda path: (path.stem != _FIRST, path.name))
    return b"\n".join(path.read_bytes() for path in paths)


def _made(name: str, media_type: str, content: bytes) -> Static:
    stem, _, suffix = name.rpartition(".")
    mark = hashlib.sha256(content).hexdigest()[:12]
    return Static(
        name=f"{stem}-{mark}.{suffix}",
        media_type=media_type,
        content=content,
        compressed=gzip.compress(content, 9, mtime=0),
    )


_KNOWN = {
    "console.css": _made("console.css", "text/css", _joined(".css")),
    "console.js": _made("console.js", "text/javascript", _joined(".js")),
    "htmx.js": _made(
        "htmx.js",
        "text/javascript",
        resources.files("js_lib_htmx").joinpath("static", "htmx", "htmx.min.js").read_bytes(),
    ),
    "icon.svg": _made("icon.svg", "image/svg+xml", (_FOLDER / "icon.svg").read_bytes()),
}
_SERVED = {static.name: static for static in _KNOWN.values()}


def path_of(name: str) -> str:
    """Return where a file is served."""
    return f"/static/{_KNOWN[name].name}"


def find(name: str) -> Static | None:
    """Find a file by the name under which it is served; there are no others."""
    return _SERVED.get(name)
