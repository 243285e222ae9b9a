"""A repository of releases as an attacker would have it: every key and every byte at hand, served on loopback.

Made with python-tuf's own words and not with our signing, so that neither forgives the other's mistakes.
"""

import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from tillwatch_agent.installer import fetch
from tillwatch_agent.installer.fetch import Clocks
from tillwatch_agent.installer.order import Failed, Fetched, News, Progress

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LIFE = timedelta(days=30)
PRODUCT = {"product": "till", "version": "2.1.0", "installer": "bundle"}
TILL = "till/till-2.1.0.tar.gz"
CONTENT = bytes(range(256)) * 40


class Repository:
    """Root 2 of 3, targets 2 of 2, snapshot and timestamp 1 of 1; `files` is what a server shows."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.signers: dict[str, list[CryptoSigner]] = {
            Root.type: [CryptoSigner.generate_ed25519() for _ in range(3)],
            Targets.type: [CryptoSigner.generate_ed25519() for _ in range(2)],
            Snapshot.type: [CryptoSigner.generate_ed25519()],
            Timestamp.type: [CryptoSigner.generate_ed25519()],
        }
        self.root = Root(version=1, expires=NOW + LIFE, consistent_snapshot=True)
        for role, signers in self.signers.items():
            for signer in signers:
                self.root.add_key(signer.public_key, role)
        self.root.roles[Root.type].threshold = 2
        self.root.roles[Targets.type].threshold = 2
        self.targets = Targets(version=1, expires=NOW + LIFE)
        self.snapshot = Snapshot(version=1, expires=NOW + LIFE)
        self.timestamp = Timestamp(version=1, expires=NOW + LIFE)
        self.put_root()
        self.put_targets()
        self.say_current()

    @property
    def first_root(self) -> bytes:
        return self.files["/metadata/1.root.json"]

    def signed(self, part: Signed, signers: Sequence[CryptoSigner] | None = None) -> bytes:
        document: Metadata[Any] = Metadata(part)
        for signer in self.signers[part.type] if signers is None else signers:
            document.sign(signer, append=True)
        return document.to_bytes()

    def put(self, part: Signed, *signers: CryptoSigner) -> None:
        """Show a part; by default signed by all who may."""
        name = "timestamp" if isinstance(part, Timestamp) else f"{part.version}.{part.type}"
        self.files[f"/metadata/{name}.json"] = self.signed(part, signers or None)

    def put_root(self, *signers: CryptoSigner) -> None:
        self.put(self.root, *signers)

    def put_targets(self, *signers: CryptoSigner) -> None:
        self.put(self.targets, *signers)

    def say_current(self) -> None:
        """Let snapshot and timestamp of these versions name what is shown."""
        self.snapshot.meta = {"targets.json": self._meta(self.targets)}
        self.put(self.snapshot)
        self.say_timestamp()

    def say_timestamp(self) -> None:
        self.timestamp.snapshot_meta = self._meta(self.snapshot)
        self.put(self.timestamp)

    def publish(self) -> None:
        """Show targets, snapshot and timestamp anew, each with its next version."""
        for part in (self.targets, self.snapshot, self.timestamp):
            part.version += 1
        self.put_targets()
        self.say_current()

    def next_root(self, *signers: CryptoSigner) -> None:
        self.root.version += 1
        self.put_root(*signers)

    def give(self, role: str, signers: list[CryptoSigner]) -> list[CryptoSigner]:
        """Let others hold a role from the next root on; returns who held it."""
        before = self.signers[role]
        for signer in before:
            self.root.revoke_key(signer.public_key.keyid, role)
        for signer in signers:
            self.root.add_key(signer.public_key, role)
        self.signers[role] = signers
        return before

    def add(self, path: str, content: bytes, custom: dict[str, Any] | None = None) -> TargetFile:
        target = TargetFile(len(content), {"sha256": hashlib.sha256(content).hexdigest()}, path)
        if custom is not None:
            target.unrecognized_fields["custom"] = custom
        self.targets.targets[path] = target
        self.files[self.file_of(path)] = content
        return target

    def file_of(self, path: str) -> str:
        where, _, name = path.rpartition("/")
        folder = f"/targets/{where}" if where else "/targets"
        return f"{folder}/{self.targets.targets[path].hashes['sha256']}.{name}"

    def _meta(self, part: Signed) -> MetaFile:
        return MetaFile.from_data(part.version, self.files[f"/metadata/{part.version}.{part.type}.json"], ["sha256"])


Trick = Callable[["Asked"], None]


class Asked(BaseHTTPRequestHandler):
    """One request; a trick may answer it in the site's stead."""

    site: ClassVar["Site"]

    def do_GET(self) -> None:
        site = self.site
        site.requests.append((self.path, self.headers.get("Range")))
        tricks = site.tricks.get(self.path, [])
        with suppress(ConnectionError):
            if tricks:
                tricks.pop(0)(self)
            else:
                self.honestly()

    def honestly(self, *, etag: str | None = None, until: int | None = None) -> None:
        """Answer as a good server does; `until` cuts the connection after so many bytes."""
        content = self.site.files.get(self.path)
        if content is None:
            self.head(404, 0)
            return
        tag = etag or f'"{hashlib.sha256(content).hexdigest()}"'
        asked = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        begins = int(asked) if asked and self.headers.get("If-Range", tag) == tag else 0
        body = content[begins:]
        extra = {"ETag": tag}
        if begins:
            extra["Content-Range"] = f"bytes {begins}-{len(content) - 1}/{len(content)}"
        self.head(206 if begins else 200, len(body), **extra)
        self.wfile.write(body[:until])

    def head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@dataclass
class Site:
    """A server, what it shows, and the tricks it plays: by path, one for each request."""

    files: dict[str, bytes] = field(default_factory=dict)
    tricks: dict[str, list[Trick]] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    port: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)
    """Ends tricks that wait."""

    def url(self, folder: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}/{folder}"

    def ranges_of(self, path: str) -> list[str | None]:
        return [asked for where, asked in self.requests if where == path]


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no error here."""


@contextmanager
def shown(files: dict[str, bytes], tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Serve files on loopback."""
    site = Site(files=files)
    server = _Server(("127.0.0.1", 0), type("OfThisSite", (Asked,), {"site": site}))
    site.port = server.server_address[1]
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        site.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Terminal:
    """A terminal's folders, and the program run in this process with clocks that are set."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.state = folder / "state"
        self.targets = folder / "targets"
        self.site = site
        self.now = NOW
        self.news: list[News] = []
        self._folder = folder

    def init(self, root: bytes) -> int:
        file = self._folder / "root.json"
        file.write_bytes(root)
        return self.run("init", str(file))

    def refresh(self, *options: str) -> int:
        return self.run(f"--metadata-url={self.site.url('metadata')}", *options, "refresh")

    def download(self, target: str = TILL, *options: str) -> int:
        where = (f"--target-base-url={self.site.url('targets')}", f"--target-dir={self.targets}")
        url = f"--metadata-url={self.site.url('metadata')}"
        return self.run(url, f"--target-name={target}", *where, "--reserve-bytes=0", *options, "download")

    def run(self, *arguments: str) -> int:
        self.news = []
        clocks = Clocks(now=lambda: self.now, now_s=time.monotonic)
        return fetch.run([f"--metadata-dir={self.state}", *arguments], self.news.append, clocks)

    @property
    def failure(self) -> tuple[str, str]:
        last = self.news[-1]
        assert isinstance(last, Failed), last
        return str(last.cause), str(last.reason)

    @property
    def fetched(self) -> Fetched:
        last = self.news[-1]
        assert isinstance(last, Fetched), last
        return last

    @property
    def progress(self) -> list[Progress]:
        return [news for news in self.news if isinstance(news, Progress)]

    def version(self, role: str) -> int | None:
        """Say which version is trusted."""
        file = self.state / f"{role}.json"
        return Metadata.from_file(str(file)).signed.version if file.exists() else None

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.targets.glob("*")} if self.targets.exists() else {}


def cut_after(count: int) -> Callable[["Asked"], None]:
    """Answer honestly, and hang up after so many bytes."""
    return lambda asked: asked.honestly(until=count)
