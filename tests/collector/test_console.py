import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.collector.shell_fixtures import NOW, ORIGIN, Web, describe, tell

from tillwatch_collector import policies
from tillwatch_collector.config import WebConfig
from tillwatch_collector.console import bar, texts
from tillwatch_collector.console.pages import LANGUAGE_COOKIE, REFRESH_S, TOKEN_COOKIE
from tillwatch_collector.console.texts import Texts, catalogue, choose
from tillwatch_collector.domain.inventory import Store as Shop
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.presence import State
from tillwatch_collector.domain.ticket import Status
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope
from tillwatch_protocol.vocabulary import ConditionCode

CSS = Path(texts.__file__).parent / "console.css"


@pytest.fixture(scope="module")
def served(module_store: Store) -> Web:
    served = Web(database=module_store)
    describe(served.database)
    tell(served.database)
    return served


def signed_in(served: Web, **cookies: str) -> TestClient:
    client = served.client()
    client.cookies = {TOKEN_COOKIE: served.secret(Scope.READ)} | cookies
    return client


# --- signing in


def test_without_a_token_there_is_the_way_to_one_and_nothing_of_the_fleet(served: Web) -> None:
    answer = served.client().get("/")
    assert answer.status_code == 401
    assert "tillwatch-collector token create" in answer.text
    assert "t-2" not in answer.text


@pytest.mark.parametrize("secret", ["", "nonsense", "tw_" + "x" * 43])
def test_a_wrong_token_is_said_to_be_wrong(served: Web, secret: str) -> None:
    answer = served.client().post("/signin", data={"token": secret})
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(("scopes", "status"), [((Scope.READ,), 200), ((Scope.ADMIN,), 200), ((Scope.WRITE,), 401)])
def test_the_page_needs_to_read(served: Web, scopes: tuple[Scope, ...], status: int) -> None:
    client = served.client()
    client.cookies = {TOKEN_COOKIE: served.secret(*scopes)}
    assert client.get("/").status_code == status


def test_a_token_in_the_address_becomes_a_cookie_and_leaves_the_address(served: Web) -> None:
    answer = served.client().get("/", params={"token": served.secret(Scope.READ)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie  # on loopback there is no TLS


def test_the_form_signs_in_and_out(served: Web) -> None:
    client = served.client(Origin=ORIGIN)
    assert client.post("/signin", data={"token": f" {served.secret(Scope.READ)} "}).status_code == 303
    assert client.get("/").status_code == 200
    assert client.post("/signout").status_code == 303
    assert client.get("/").status_code == 401


def test_behind_tls_the_cookie_never_leaves_it(empty: Web) -> None:
    empty.settings = WebConfig(behind_proxy=True)
    answer = empty.client().get("/", params={"token": empty.secret(Scope.READ)})
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("site", "signs_in"),
    [(None, True), ("none", True), ("same-origin", True), ("cross-site", False), ("same-site", False)],
)
def test_another_sites_page_cannot_sign_a_browser_in(served: Web, site: str | None, signs_in: bool) -> None:
    headers = {"Sec-Fetch-Site": site} if site else {}
    answer = served.client().get("/", params={"token": served.secret(Scope.READ)}, headers=headers)
    assert ("set-cookie" in answer.headers) is signs_in
    posted = served.client().post(
        "/signin", data={"token": served.secret(Scope.READ)}, headers={"Origin": "https://x.y"}
    )
    assert posted.status_code == 403


# --- the page


def test_the_page_shows_counts_open_tickets_and_who_is_silent(served: Web) -> None:
    page = signed_in(served).get("/").text
    assert "Out of paper" in page
    assert "Terminal is silent" in page
    assert "Cover open" not in page  # resolved, and not to be worked on
    assert "Shop s-2" in page
    assert "not assigned" in page
    assert "110 s ago" in page
    assert "1 lost, 2 dropped by terminals" in page


def test_the_page_is_told_in_chinese(served: Web) -> None:
    page = signed_in(served, **{LANGUAGE_COOKIE: "zh-CN"}).get("/").text
    assert '<html lang="zh-CN">' in page
    assert "缺纸" in page
    assert "Out of paper" not in page


def test_the_language_that_is_asked_for_is_kept(served: Web) -> None:
    client = signed_in(served)
    answer = client.get("/?lang=zh-CN&paused=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?paused=1")
    assert f"{LANGUAGE_COOKIE}=zh-CN" in answer.headers["set-cookie"]
    assert client.get("/?lang=tlh").status_code == 200


def test_the_page_asks_again_until_it_is_paused(served: Web) -> None:
    client = signed_in(served)
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_S}">'
    assert refresh in client.get("/").text
    paused = client.get("/?paused=1").text
    assert refresh not in paused
    assert "Resume" in paused


def test_a_collector_that_does_not_hear_says_so(served: Web) -> None:
    client = signed_in(served)
    assert 'class="banner"' not in client.get("/").text
    served.listening = False
    try:
        deaf = signed_in(served).get("/").text
    finally:
        served.listening = True
    assert "nobody is called silent" in deaf


def test_an_empty_fleet_has_a_page_too(empty: Web) -> None:
    page = signed_in(empty).get("/").text
    assert "No terminal has been heard yet" in page
    assert "No ticket is open" in page
    assert "No terminal is silent" in page


def test_what_people_wrote_is_never_markup(empty: Web) -> None:
    describe(empty.database)
    tell(empty.database)
    with empty.database.transaction() as repository:
        store = Shop(store_id="s-2", merchant_id="m-1", name="<script>alert(1)</script>", time_zone="Asia/Shanghai")
        Inventory(repository.connection).put_store(store, NOW)
    page = signed_in(empty).get("/").text
    assert "<script" not in page
    assert "&lt;script&gt;" in page


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.styles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"href", "src", "action"} and value:
                self.found.append(value)
            if name == "style" or name.startswith("on"):
                self.styles.append(f"{tag} {name}")
        if tag in {"script", "style", "iframe", "object"}:
            self.styles.append(tag)


def test_the_page_loads_nothing_from_elsewhere_and_obeys_its_own_policy(served: Web) -> None:
    for page in (signed_in(served).get("/").text, served.client().get("/").text):
        links = _Links()
        links.feed(page)
        assert all(link.startswith("/") and not link.startswith("//") for link in links.found)
        assert links.styles == []
    style = CSS.read_text(encoding="utf-8")
    assert "url(" not in style
    assert "@import" not in style


# --- the picture


@pytest.mark.parametrize(
    ("counts", "presences"),
    [
        ({}, []),
        ({"online": 5}, ["online"]),
        ({"silent": 1, "online": 9_999}, ["online", "silent"]),
        ({"online": 0, "off": 2}, ["off"]),
        ({"unknown": 1, "off": 1, "silent": 1, "late": 1, "online": 1}, list(bar.PRESENCES)),
    ],
)
def test_the_bar_is_filled_and_everyone_is_seen(counts: dict[str, int], presences: list[str]) -> None:
    parts = bar.segments(counts)
    assert [part.presence for part in parts] == presences
    assert all(part.width > 3 for part in parts)
    if parts:
        assert parts[-1].x + parts[-1].width == pytest.approx(bar.WIDTH, abs=0.1)


def test_every_presence_has_a_colour_and_a_place_in_the_bar() -> None:
    style = CSS.read_text(encoding="utf-8")
    assert set(bar.PRESENCES) == set(State)
    assert all(f"rect.{presence}" in style for presence in bar.PRESENCES)


# --- the words


def test_every_language_has_the_same_words() -> None:
    english, *others = (_keys(words) for words in catalogue().values())
    assert all(other == english for other in others)


def test_every_language_fills_in_the_same_values() -> None:
    for key, text in catalogue()["en"].items():
        if isinstance(text, str):
            wanted = set(re.findall(r"\{(\w+)\}", text))
            assert all(set(re.findall(r"\{(\w+)\}", words[key])) == wanted for words in catalogue().values()), key


def test_every_code_that_we_know_has_words() -> None:
    codes = {value for name, value in vars(ConditionCode).items() if name.isupper()} | set(policies.load(None).code)
    for words in catalogue().values():
        assert codes <= set(words["conditions"])
        assert set(Severity) <= set(words["severities"])
        assert set(Status) <= set(words["statuses"])
        assert set(State) <= set(words["presences"])


def test_a_code_that_nobody_has_heard_of_is_shown_as_it_is_written() -> None:
    assert Texts(language="en").word("conditions", "coin_jam") == "coin jam"


@pytest.mark.parametrize(
    ("asked", "kept", "accepted", "language"),
    [
        (None, None, None, "en"),
        (None, None, "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        (None, None, "de,en;q=0.5,zh;q=0.7", "zh-CN"),
        (None, None, "fr;q=x, ,;", "en"),
        (None, "zh-CN", "en", "zh-CN"),
        ("en", "zh-CN", "zh", "en"),
        ("zh_TW", None, None, "zh-CN"),
        ("tlh", None, "zh", "zh-CN"),
    ],
)
def test_the_language_is_what_is_asked_for_or_kept_or_preferred(
    asked: str | None, kept: str | None, accepted: str | None, language: str
) -> None:
    assert choose(asked, kept, accepted).language == language


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s ago"),  # a clock that was put back
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7_199, "119 min ago"),
        (7_200, "2 h ago"),
        (172_800, "2 d ago"),
    ],
)
def test_how_long_ago_is_told_in_one_unit(seconds: int, said: str) -> None:
    assert Texts(language="en").ago(NOW - timedelta(seconds=seconds), NOW) == said


def test_what_never_was_is_told() -> None:
    assert Texts(language="en").ago(None, NOW) == "never"


def _keys(words: object, prefix: str = "") -> set[str]:
    if not isinstance(words, dict):
        return {prefix}
    return {key for name, inner in words.items() for key in _keys(inner, f"{prefix}.{name}")}
