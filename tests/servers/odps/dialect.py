"""Translation of MaxCompute's SQL to SQLite's."""

from __future__ import annotations

import re
from collections.abc import Callable

_LITERAL = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}


def to_sqlite(text: str, project: str) -> str:
    """Return the query with SQLite's literals and type names, and tables without their project."""

    def plain(code: str) -> str:
        code = re.sub(rf"(?<![\w`.])(`?){re.escape(project)}\1\.(?=[\w`])", "", code)
        code = re.sub(
            r"\bAS\s+STRING\s*\)", "AS TEXT)", code, flags=re.IGNORECASE
        )  # else SQLite would convert strings to numbers
        return re.sub(r"\bIF\s*\(", "IIF(", code, flags=re.IGNORECASE)

    return _rewritten(text, plain, lambda literal: "'" + _value(literal).replace("'", "''") + "'")


def bare(name: str) -> str:
    """Return the last part of a name, without backquotes, in lower case."""
    return name.replace("`", "").strip().split(".")[-1].lower()


def bracketed(text: str) -> tuple[str, str]:
    """Return the text inside the first pair of brackets, and the text after it."""
    blank = _blanked(text)
    start, depth = blank.index("(") + 1, 1
    end = start
    while depth and end < len(blank):
        depth += {"(": 1, ")": -1}.get(blank[end], 0)
        end += 1
    return text[start : end - 1], text[end:]


def parts(text: str) -> list[str]:
    """Split the text at the commas outside of brackets and literals."""
    blank, cuts, depth = _blanked(text), [-1], 0
    for place, sign in enumerate(blank):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if sign == "," and not depth:
            cuts.append(place)
    pieces = [text[start + 1 : end].strip() for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]
    return [piece for piece in pieces if piece]


def _blanked(text: str) -> str:
    return _rewritten(text, lambda code: code, lambda literal: " " * len(literal))


def _rewritten(text: str, plain: Callable[[str], str], literal: Callable[[str], str]) -> str:
    out, place = [], 0
    for match in _LITERAL.finditer(text):
        out += [plain(text[place : match.start()]), literal(match[0])]
        place = match.end()
    return "".join([*out, plain(text[place:])])


def _value(literal: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), literal[1:-1], flags=re.DOTALL)
