"""Which files a ticket takes."""

import hashlib

import pytest

from tillwatch_collector.domain import attachment
from tillwatch_collector.domain.attachment import FILE_BYTES_MAX, MEDIA_TYPES, checked
from tillwatch_collector.errors import AttachmentRefused

BEGINNINGS = {
    "image/png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "image/jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "image/gif": b"GIF89a\x01\0\x01\0",
    "image/webp": b"RIFF\x24\0\0\0WEBPVP8 ",
    "application/pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
    "text/plain": "打印机 is out of paper\n".encode(),
    "text/csv": b"at,said\n09:00,no paper\n",
}


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_every_allowed_type_is_taken_as_it_is(media_type: str) -> None:
    content = BEGINNINGS[media_type]
    file = checked("photo.1", f"{media_type.upper()}; charset=utf-8", content)
    assert (file.name, file.media_type, file.content) == ("photo.1", media_type, content)
    assert file.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("said", MEDIA_TYPES)
@pytest.mark.parametrize("sent", MEDIA_TYPES)
def test_a_file_is_what_its_first_bytes_say(said: str, sent: str) -> None:
    if said == sent or {said, sent} == {"text/plain", "text/csv"}:  # no bytes tell these two apart
        checked("a", said, BEGINNINGS[sent])
        return
    with pytest.raises(AttachmentRefused, match=f"content: expected {said}, got "):
        checked("a", said, BEGINNINGS[sent])


REFUSED: list[tuple[str, str, bytes, str]] = [
    # empty
    ("a.txt", "text/plain", b"", "expected 1 to"),
    # too long
    ("a.txt", "text/plain", b"x" * (FILE_BYTES_MAX + 1), "expected 1 to"),
    # what a browser would run
    ("a.html", "text/html", b"<script>", "media_type: expected one of"),
    ("a.svg", "image/svg+xml", b"<svg/>", "media_type: expected one of"),
    # a program that calls itself a picture, and a text
    ("a.png", "image/png", b"MZ\x90\0", "expected image/png, got something else"),
    ("a.txt", "text/plain", b"MZ\x90\0", "expected text in UTF-8"),
    ("a.txt", "text/plain", b"a\0b", "got a control character at 1"),
    # a name of nothing, of too much, of a folder, of no file
    ("", "text/plain", b"x", "name: expected"),
    ("x" * 201, "text/plain", b"x", "name: expected"),
    ("etc/", "text/plain", b"x", "name: expected"),
    ("..", "text/plain", b"x", "name: expected"),
    ("a\nb.txt", "text/plain", b"x", "name: expected"),
    # a name that reads as another: "exe.txt" written backwards
    ("a\u202etxt.exe", "text/plain", b"x", "name: expected"),
]


@pytest.mark.parametrize(("name", "media_type", "content", "said"), REFUSED)
def test_a_file_is_refused(name: str, media_type: str, content: bytes, said: str) -> None:
    with pytest.raises(AttachmentRefused, match=said):
        checked(name, media_type, content)


def test_a_file_as_long_as_it_may_be_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachment, "FILE_BYTES_MAX", 10)
    assert checked("a", "text/plain", b"x" * 10).content == b"x" * 10


@pytest.mark.parametrize("path", ["/var/tmp/a.txt", "C:\\Users\\ann\\a.txt", "../../a.txt", "a.txt"])
def test_a_name_has_no_path(path: str) -> None:
    assert checked(path, "text/plain", b"x").name == "a.txt"


def test_text_and_names_are_scrubbed_and_pictures_are_kept_as_they_are() -> None:
    card = "4111111111111111"
    text = checked(f"{card}.csv", "text/csv", f"card\n{card}\n".encode())
    assert card not in text.name
    assert card.encode() not in text.content
    assert text.sha256 == hashlib.sha256(text.content).hexdigest()
    picture = BEGINNINGS["image/png"] + card.encode()
    assert checked("a.png", "image/png", picture).content == picture
