"""Parser of conditions: the text of ``--where`` becomes a :class:`~storage.tables.selection.condition.Condition`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from storage.errors import UsageError
from storage.tables.selection.condition import (
    COMPARISONS,
    EXAMPLES,
    AllOf,
    AnyOf,
    ColumnComparison,
    Condition,
    IsNull,
    Literal,
    Match,
    Membership,
    Negation,
)

MOST_CHARACTERS = 10_000
MOST_NESTED = 50
KEYWORDS = frozenset({"AND", "OR", "NOT", "IN", "LIKE", "IS", "NULL"})
SPELLINGS = {"==": "=", "<>": "!="}
INT64 = 2**63

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*')
          |(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
          |(?P<name>[^\W\d]\w*|"(?:[^"]|"")+")
          |(?P<sign><>|!=|==|<=|>=|[=<>(),]))""",
    re.VERBOSE,
)


def parse_condition(text: str) -> Condition:
    """Parse ``tag = 'street' AND …``; ``UsageError`` names the place of what is not understood."""
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"--where is {len(text)} characters long; at most {MOST_CHARACTERS} are read")
    return _Parser(text, list(_tokens(text))).whole()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # text, number, name, sign, keyword or end
    value: str
    at: int


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise _fault(text, at)
        kind, value = found.lastgroup, found[found.lastgroup]
        if kind == "name" and value.upper() in KEYWORDS:
            kind, value = "keyword", value.upper()
        yield _Token(kind, value, found.start(found.lastgroup))
        at = found.end()
    yield _Token("end", "", len(text))


def _fault(text: str, at: int) -> UsageError:
    rest = text[at:].strip()
    where = f"not understood at {rest[:30]!r}" if rest else "it ends too early"
    return UsageError(f"--where {text!r}: {where}. Examples: {EXAMPLES}")


class _Parser:
    """A recursive descent over the tokens: OR over AND over NOT over single conditions."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self._text, self._tokens = text, tokens
        self._next = self._depth = 0

    def whole(self) -> Condition:
        condition = self._any()
        if self._peek().kind != "end":
            raise self._fault()
        return condition

    def _any(self) -> Condition:
        found = [self._all()]
        while self._takes("OR"):
            found.append(self._all())
        return found[0] if len(found) == 1 else AnyOf(tuple(found))

    def _all(self) -> Condition:
        found = [self._one()]
        while self._takes("AND"):
            found.append(self._one())
        return found[0] if len(found) == 1 else AllOf(tuple(found))

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise UsageError(f"--where {self._text!r}: nested more than {MOST_NESTED} deep")
        try:
            if self._takes("NOT"):
                return Negation(self._one())
            if self._takes("("):
                condition = self._any()
                self._expect(")")
                return condition
            return self._single()
        finally:
            self._depth -= 1

    def _single(self) -> Condition:
        token = self._take("name")
        column = token.value[1:-1].replace('""', '"') if token.value.startswith('"') else token.value
        if self._takes("IS"):
            is_negated = self._takes("NOT")
            self._expect("NULL")
            return Negation(IsNull(column)) if is_negated else IsNull(column)
        is_negated = self._takes("NOT")
        condition = self._operation(column, is_negated=is_negated)
        return Negation(condition) if is_negated else condition

    def _operation(self, column: str, *, is_negated: bool) -> Condition:
        if self._takes("IN"):
            self._expect("(")
            literals = [self._literal()]
            while self._takes(","):
                literals.append(self._literal())
            self._expect(")")
            return Membership(column, tuple(literals))
        if self._takes("LIKE"):
            return Match(column, self._unquoted(self._take("text").value))
        sign = SPELLINGS.get(self._peek().value, self._peek().value)
        if is_negated or sign not in COMPARISONS:
            raise self._fault()
        self._next += 1
        return ColumnComparison(column, sign, self._literal())

    def _literal(self) -> Literal:
        token = self._peek()
        if token.kind == "text":
            self._next += 1
            return self._unquoted(token.value)
        token = self._take("number")
        if re.fullmatch(r"[+-]?\d+", token.value) and -INT64 <= int(token.value) < INT64:
            return int(token.value)
        value = float(token.value)
        if not math.isfinite(value):
            raise _fault(self._text, token.at)
        return value

    @staticmethod
    def _unquoted(text: str) -> str:
        return text[1:-1].replace("''", "'")

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _takes(self, value: str) -> bool:
        token = self._peek()
        if token.kind in {"keyword", "sign"} and token.value == value:
            self._next += 1
            return True
        return False

    def _expect(self, value: str) -> None:
        if not self._takes(value):
            raise self._fault()

    def _take(self, kind: str) -> _Token:
        token = self._peek()
        if token.kind != kind:
            raise self._fault()
        self._next += 1
        return token

    def _fault(self) -> UsageError:
        return _fault(self._text, self._peek().at)
