"""Messages that really leave: to a webhook that is unkind, and by apprise to servers on loopback."""

import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_string
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import pytest
from tests.collector import receivers
from tests.collector.receivers import Mail, Web

from tillwatch_collector.domain.delivery import DELIVERED, Outcome, Verdict
from tillwatch_collector.domain.message import Message
from tillwatch_collector.domain.notification import Item, Route, Said, Word
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.notifiers import ITEMS_MAX, SECRET_BYTES_MIN, Letter, Notifier, TargetUnusable

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise imports it

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SECRET = b"0123456789abcdef"


@pytest.fixture
def web() -> Iterator[Web]:
    with receivers.web() as told:
        yield told


@pytest.fixture
def mail() -> Iterator[Mail]:
    with receivers.mail() as told:
        yield told


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    return path


def letter(count: int = 1) -> Letter:
    word = Word(said=Said.OPENED, severity=Severity.MAJOR)
    return Letter(
        delivery_id=42,
        route="ops",
        message=Message(title="opened: 缺纸", body="#1 opened\nand more"),
        created_at=NOW,
        items=tuple(Item(ticket_id=number, word=word) for number in range(1, count + 1)),
    )


def hooked(web: Web, secret_file: Path) -> Route:
    target = {"webhook": web.url("/hook?x=1"), "secret_file": secret_file}
    return Route.model_validate({"name": "ops", "target": target})


def by_apprise(url: str) -> tuple[Route, Notifier]:
    route = Route.model_validate({"name": "ops", "target": {"url_env": "OPS_URL"}})
    return route, Notifier({"OPS_URL": url})


def posted(web: Web, secret_file: Path, *, timeout_s: float = 10) -> Outcome:
    return Notifier({}, timeout_s=timeout_s).send(hooked(web, secret_file), letter(), NOW)


# --- our own webhook


def test_a_webhook_gets_a_signed_json_document(web: Web, secret_file: Path) -> None:
    assert posted(web, secret_file) == DELIVERED
    (got,) = web.got
    at, digest = (part.partition("=")[2] for part in got.headers["Tillwatch-Signature"].split(","))
    assert at == str(int(NOW.timestamp()))
    assert hmac.new(SECRET, f"{at}.".encode() + got.body, hashlib.sha256).hexdigest() == digest
    assert (got.path, got.headers["Tillwatch-Delivery"]) == ("/hook?x=1", "42")
    assert got.headers["Content-Type"] == "application/json"
    assert json.loads(got.body) == {
        "v": 1,
        "route": "ops",
        "created_at": "2026-11-21T12:00:00+00:00",
        "title": "opened: 缺纸",
        "body": "#1 opened\nand more",
        "tickets": [{"ticket_id": 1, "said": "opened", "severity": "major", "escalation_step": 0}],
        "tickets_total": 1,
    }


def test_a_webhook_gets_so_many_tickets_and_the_number_of_all(web: Web, secret_file: Path) -> None:
    Notifier({}).send(hooked(web, secret_file), letter(ITEMS_MAX + 5), NOW)
    said = json.loads(web.got[0].body)
    assert (len(said["tickets"]), said["tickets_total"]) == (ITEMS_MAX, ITEMS_MAX + 5)


@pytest.mark.parametrize(
    ("status", "headers", "outcome"),
    [
        (204, {}, DELIVERED),
        (500, {}, Outcome(verdict=Verdict.FAILED, error="expected 2xx, got 500")),
        (400, {}, Outcome(verdict=Verdict.FAILED, error="expected 2xx, got 400")),
        (410, {}, Outcome(verdict=Verdict.REFUSED, error="410 Gone")),
        # it says when to come again
        (
            429,
            {"Retry-After": "90"},
            Outcome(verdict=Verdict.FAILED, error="expected 2xx, got 429", retry_after_s=90),
        ),
        # a date, which is not worth a parser
        (
            503,
            {"Retry-After": "Sat, 21 Nov 2026 12:00:00 GMT"},
            Outcome(verdict=Verdict.FAILED, error="expected 2xx, got 503"),
        ),
    ],
)
def test_what_a_webhook_answers_decides(
    web: Web, secret_file: Path, status: int, headers: dict[str, str], outcome: Outcome
) -> None:
    web.status, web.headers = status, headers
    assert posted(web, secret_file) == outcome


def test_a_redirect_is_not_followed(web: Web, secret_file: Path) -> None:
    web.status, web.headers = 302, {"Location": web.url("/elsewhere")}
    assert posted(web, secret_file).error == "expected 2xx, got 302"
    assert [got.path for got in web.got] == ["/hook?x=1"]


@pytest.mark.parametrize("manner", ["hangs", "drips"])
def test_a_webhook_that_does_not_come_to_an_end_is_cut(web: Web, secret_file: Path, manner: str) -> None:
    setattr(web, manner, True)
    assert posted(web, secret_file, timeout_s=0.2).verdict is Verdict.FAILED


def test_nobody_at_the_address_is_a_failure_with_its_reason(secret_file: Path) -> None:
    nobody = Web(port=1)
    assert "refused" in (posted(nobody, secret_file).error or "")


@pytest.mark.parametrize("secret", [None, b"", b"x" * (SECRET_BYTES_MIN - 1)])  # no file, an empty one, a short one
def test_without_its_secret_nothing_is_posted(web: Web, tmp_path: Path, secret: bytes | None) -> None:
    path = tmp_path / "its-secret"
    if secret is not None:
        path.write_bytes(secret)
    outcome = posted(web, path)
    assert outcome.verdict is Verdict.FAILED
    assert "route ops" in (outcome.error or "")
    assert web.got == []
    with pytest.raises(TargetUnusable, match="its-secret: expected"):
        Notifier({}).check(hooked(web, path))


# --- apprise


def test_apprise_posts_json(web: Web) -> None:
    route, notifier = by_apprise(f"json://127.0.0.1:{web.port}/in")
    notifier.check_url(route)
    assert notifier.send(route, letter(), NOW) == DELIVERED
    said = json.loads(web.got[0].body)
    assert (said["title"], said["message"]) == ("opened: 缺纸", "#1 opened\nand more")


def test_apprise_follows_no_redirect_either(web: Web) -> None:
    web.status, web.headers = 302, {"Location": web.url("/elsewhere")}
    route, notifier = by_apprise(f"json://127.0.0.1:{web.port}/in")
    assert notifier.send(route, letter(), NOW).verdict is Verdict.FAILED
    assert [got.path for got in web.got] == ["/in"]


def test_what_apprise_says_of_a_failure_is_told_without_the_secrets_of_its_url(
    web: Web, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    web.status = 503
    route, notifier = by_apprise(f"json://someone:hunter2%21@127.0.0.1:{web.port}/token-9f8e7d")
    outcome = notifier.send(route, letter(), NOW)
    assert "503" in (outcome.error or "")
    for text in (str(outcome), caplog.text, *capfd.readouterr()):
        assert not any(secret in text for secret in ("hunter2", "token-9f8e7d", "someone"))


def test_apprise_sends_mail(mail: Mail) -> None:
    route, notifier = by_apprise(
        f"mailto://127.0.0.1:{mail.port}?from=till@example.org&to=ops@example.org&mode=insecure&format=text"
    )
    assert notifier.send(route, letter(), NOW) == DELIVERED
    (sent,) = mail.letters
    read: Any = message_from_string(sent)
    assert str(make_header(decode_header(read["Subject"]))) == "opened: 缺纸"
    assert "ops@example.org" in read["To"]
    assert b"#1 opened" in read.get_payload(decode=True)


def test_the_url_may_lie_in_a_file_and_is_read_at_each_use(web: Web, tmp_path: Path) -> None:
    path = tmp_path / "url"
    route = Route.model_validate({"name": "ops", "target": {"url_file": path}})
    assert "expected a readable file" in (Notifier({}).send(route, letter(), NOW).error or "")
    path.write_text(f"json://127.0.0.1:{web.port}/\n", encoding="utf-8")
    assert Notifier({}).send(route, letter(), NOW) == DELIVERED


@pytest.mark.parametrize(
    "url",
    [
        "wecombot://bd4a1b3e-6b3a-4d2c-9c1e-0a1b2c3d4e5f",
        "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=bd4a1b3e-6b3a-4d2c-9c1e-0a1b2c3d4e5f",
        "dingtalk://0a1b2c3d4e5f0a1b2c3d4e5f",
        "dingtalk://secret@0a1b2c3d4e5f0a1b2c3d4e5f/13800000000",
        "feishu://0a1b2c3d-4e5f-0a1b-2c3d-4e5f0a1b2c3d",
        "lark://0a1b2c3d-4e5f-0a1b-2c3d-4e5f0a1b2c3d",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops",
        "mailtos://user:password@mail.example.org?to=ops@example.org",
        "jsons://hooks.example.org/in",
    ],
)
def test_apprise_knows_the_services_that_we_name(url: str) -> None:
    route, notifier = by_apprise(url)
    notifier.check_url(route)


@pytest.mark.parametrize("url", ["", "  ", "nonsense", "gopher-9://SECRET", "json://a.example SECRET json://b.example"])
def test_a_url_that_apprise_does_not_know_is_said_without_it(url: str) -> None:
    route, notifier = by_apprise(url)
    with pytest.raises(TargetUnusable) as error:
        notifier.check_url(route)
    assert str(error.value).startswith("route ops: environment variable OPS_URL: expected ")
    assert "SECRET" not in str(error.value)
    assert notifier.send(route, letter(), NOW).verdict is Verdict.FAILED


def test_nobody_pays_for_apprise_who_has_no_route_through_it() -> None:
    program = "import sys, tillwatch_collector.app, tillwatch_collector.cli.root; print('apprise' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
