"""Reads a template as a person would see it: which text stands there in letters, and which words are asked for by key.

A template is HTML with holes. The holes are filled with marks, the HTML is parsed, and every letter that is left in a
text, or in an attribute that people read, is a literal. In holes at such places, constants that are shown as they are
(`"yes" if x`) are literals, too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

from jinja2 import Environment, nodes

READ_ATTRIBUTES: Final = frozenset(
    {"title", "alt", "placeholder", "label", "aria-label", "aria-description", "summary"}
)
"""What a person sees or hears of a tag."""

NOT_SHOWN: Final = frozenset({"script", "style"})
CODE: Final = frozenset({"code", "kbd", "pre", "samp"})
"""What a person types or presses is the same in every language."""

NAMES: Final = frozenset({"tillwatch", "ms", "s", "dBm", "CSV"})
"""Said alike in every language: ourselves, units, formats."""

_ENVIRONMENT: Final = Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"])
_HOLE: Final = re.compile("\ue000(\\d+)\ue001")
_ADDRESS: Final = re.compile(r"/\S*|\S+=")
"""What a macro builds an address of."""
_LETTER: Final = re.compile(r"[^\W\d_]")


@dataclass(kw_only=True)
class Template:
    """One template: what stands in it as literal text, and the keys it asks for."""

    markup: str
    """With an x for what is filled in."""
    literals: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    vocabularies: set[str] = field(default_factory=set)


def read(path: Path) -> Template:
    """Read one template."""
    source = path.read_text(encoding="utf-8")
    html, holes = _with_holes(source)
    found = Template(markup=_HOLE.sub("x", html))
    shown = _Shown()
    shown.feed(html)
    shown.close()
    for line_no, text in shown.texts:
        rest = _HOLE.sub(" ", text)
        words = [word for word in re.findall(r"[^\W\d_]+", _ADDRESS.sub(" ", rest)) if word not in NAMES]
        found.literals += [f"{path.name}:{line_no}: {rest.strip()}"] if words else []
        for number in _HOLE.findall(text):
            found.literals += [f"{path.name}:{line_no}: {constant}" for constant in _constants(holes[int(number)])]
    tree = _ENVIRONMENT.parse(source)
    for call in tree.find_all(nodes.Call):
        _asked(call, found)
    return found


def _with_holes(source: str) -> tuple[str, list[str]]:
    """Put a numbered mark where each expression stands; statements and comments leave nothing but their lines."""
    html, within = "", ""
    holes: list[str] = []
    inside = is_statement = False
    for _, kind, text in _ENVIRONMENT.lex(source):
        if kind in {"variable_begin", "block_begin", "comment_begin", "raw_begin"}:
            inside, is_statement, within = True, kind != "variable_begin", ""
        elif kind in {"variable_end", "block_end", "comment_end", "raw_end"}:
            inside = False
            if not is_statement:
                html += f"\ue000{len(holes)}\ue001"
                holes.append(within)
            html += "\n" * (within.count("\n") + text.count("\n"))
        elif inside:
            within += text
        else:
            html += text
    return html, holes


class _Shown(HTMLParser):
    """Gathers what a person sees, each with its line."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[tuple[int, str]] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        line_no = self.getpos()[0]
        given = dict(attrs)
        read_here = READ_ATTRIBUTES | ({"value"} if given.get("type") in {"submit", "button", "reset"} else set())
        self.texts += [(line_no, value) for name, value in attrs if name in read_here and value]
        self._silent += tag in NOT_SHOWN | CODE

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in NOT_SHOWN | CODE

    def handle_data(self, data: str) -> None:
        if _HOLE.search(data) or (not self._silent and _LETTER.search(data)):
            self.texts.append((self.getpos()[0], data))


def _constants(expression: str) -> Iterator[str]:
    """Yield the constants that an expression shows as they are."""
    parsed = _ENVIRONMENT.parse("{{ " + expression + " }}")
    for output in parsed.find_all(nodes.Output):
        for shown in output.nodes:
            yield from _shown_by(shown)


def _shown_by(node: nodes.Node) -> Iterator[str]:
    match node:
        case nodes.Const(value=str(value)) if _LETTER.search(value):
            yield value
        case nodes.CondExpr(expr1=one, expr2=other):
            yield from _shown_by(one)
            yield from _shown_by(other) if other is not None else ()
        case nodes.Concat(nodes=parts):
            for part in parts:
                yield from _shown_by(part)
        case nodes.Add(left=left, right=right) | nodes.Or(left=left, right=right) | nodes.And(left=left, right=right):
            yield from _shown_by(left)
            yield from _shown_by(right)
        case nodes.Call(args=arguments, kwargs=named):
            given = [*arguments, *(one.value for one in named)]
            yield from (one.value for one in given if isinstance(one, nodes.Const) and _is_prose(one.value))
        case _:
            return


def _is_prose(value: object) -> bool:
    """Whether an argument looks like a sentence, not like a key: words with spaces between, or Chinese."""
    return isinstance(value, str) and bool(re.search(r"[^\W\d_]\s+[^\W\d_]|[\u4e00-\u9fff]", value))


def _asked(call: nodes.Call, found: Template) -> None:
    """Note the key of `t("key")`, and the vocabulary of `t.word("vocabulary", code)`."""
    keys = set(_strings(call.args[0])) if call.args else set()
    match call.node:
        case nodes.Name(name="t"):
            found.keys |= keys
        case nodes.Getattr(node=nodes.Name(name="t"), attr="word"):
            found.vocabularies |= keys
        case _:
            return


def _strings(node: nodes.Node) -> Iterator[str]:
    """Yield the constant strings that an argument may be."""
    match node:
        case nodes.Const(value=str(value)):
            yield value
        case nodes.CondExpr(expr1=one, expr2=other):
            yield from _strings(one)
            yield from _strings(other) if other is not None else ()
        case _:
            return
