"""Conditions on rows, a small part of SQL's ``WHERE``: comparisons, ``IN``, ``LIKE``, ``IS NULL``, AND, OR, NOT.

They mean the same for every kind of table. Numbers compare with numbers and texts with texts, by value and by Unicode
code point; values of different kinds are unequal, and neither is smaller. ``LIKE`` regards case; ``%`` and ``_`` stand
for any text and any character. NULL makes a comparison unknown, and a row is chosen only if its condition is true.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from storage.errors import UsageError
from storage.json_text import Scalar

Literal = str | int | float

ALIASES = {"id": "video_id", "bucket": "oss_bucket", "path": "video_path", "tag": "video_tag"}
COMPARISONS: Mapping[str, Callable[[Literal, Literal], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
EXAMPLES = "tag = 'street' AND NOT path LIKE 'old/%', score >= 0.5, lang IN ('de', 'fr') OR lang IS NULL"


class Condition(Protocol):
    """A node of a parsed condition."""

    def holds(self, row: Mapping[str, Scalar]) -> bool | None:
        """Return whether it holds for the row; ``None``: unknown, because of a NULL."""

    def bound(self, name_of: Callable[[str], str]) -> Condition:
        """Return the condition with each column's name replaced."""


@dataclass(frozen=True, slots=True)
class ColumnComparison:
    """A column compared with a literal."""

    column: str
    operator: str
    literal: Literal

    def holds(self, row: Mapping[str, Scalar]) -> bool | None:
        """Compare values of one kind; unequal kinds are unequal."""
        value = row[self.column]
        if value is None:
            return None
        if isinstance(value, str) is not isinstance(self.literal, str):
            return self.operator == "!="
        return COMPARISONS[self.operator](value, self.literal)

    def bound(self, name_of: Callable[[str], str]) -> Condition:
        """Replace the column's name."""
        return replace(self, column=name_of(self.column))


@dataclass(frozen=True, slots=True)
class Membership:
    """A column that equals one of some literals."""

    column: str
    literals: tuple[Literal, ...]

    def holds(self, row: Mapping[str, Scalar]) -> bool | None:
        """Return whether a literal equals the value."""
        return AnyOf(tuple(ColumnComparison(self.column, "=", one) for one in self.literals)).holds(row)

    def bound(self, name_of: Callable[[str], str]) -> Condition:
        """Replace the column's name."""
        return replace(self, column=name_of(self.column))


@dataclass(frozen=True, slots=True)
class Match:
    """A column whose text matches a pattern of ``LIKE``."""

    column: str
    pattern: str

    def holds(self, row: Mapping[str, Scalar]) -> bool | None:
        """Match the whole text; a number matches nothing."""
        value = row[self.column]
        if value is None:
            return None
        parts = ({"%": ".*", "_": "."}.get(character, re.escape(character)) for character in self.pattern)
        return isinstance(value, str) and re.fullmatch("".join(parts), value, re.DOTALL) is not None

    def bound(self, name_of: Callable[[str], str]) -> Condition:
        """Replace the column's name."""
        return replace(self, column=name_of(self.column))


@dataclass(frozen=True, slots=True)
class IsNull:
    """A column without a value."""

    column: str

    def holds(self, row: Mapping[str, Scalar]) -> bool | None:
        """Return whether there is no value; never unknown."""
        return row[self.column] is None

    def bound(self, name_of: Callable[[str], str]) -> Condition:
        """Replace the column's name."""
        return replace(self, column=name_of(self.column))


@dataclass(frozen=True, slots=True)
class Negation:
    """The opposite of a condition; of an unknown one, unknown."""

    condition: Condition

    def holds(self, row: Mapping[str, Scalar]) -> bool | None:
        """Negate."""
        found = self.condition.holds(row)
        return None if found is None else not found

    def bound(self, name_of: Callable[[str], str]) -> Condition:
        """Replace the names in the condition."""
        return Negation(self.condition.bound(name_of))


@dataclass(frozen=True, slots=True)
class AllOf:
    """Conditions that must all hold."""

    conditions: tuple[Condition, ...]

    def holds(self, row: Mapping[str, Scalar]) -> bool | None:
        """Return False if one is false, else unknown if one is unknown."""
        found = [condition.holds(row) for condition in self.conditions]
        return False if False in found else None if None in found else True

    def bound(self, name_of: Callable[[str], str]) -> Condition:
        """Replace the names in each condition."""
        return AllOf(tuple(condition.bound(name_of) for condition in self.conditions))


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Conditions of which one must hold."""

    conditions: tuple[Condition, ...]

    def holds(self, row: Mapping[str, Scalar]) -> bool | None:
        """Return True if one is true, else unknown if one is unknown."""
        found = [condition.holds(row) for condition in self.conditions]
        return True if True in found else None if None in found else False

    def bound(self, name_of: Callable[[str], str]) -> Condition:
        """Replace the names in each condition."""
        return AnyOf(tuple(condition.bound(name_of) for condition in self.conditions))


def bind(condition: Condition, columns: Sequence[str], text: str) -> Condition:
    """Return the condition with the table's own column names; ``UsageError`` for a column that it lacks.

    Names have no case where that is unambiguous; ``tag``, ``path``, ``bucket`` and ``id`` are short for ours.
    """

    def name_of(name: str) -> str:
        for wanted in (name, ALIASES.get(name.lower(), name)):
            if wanted in columns:
                return wanted
            alike = [column for column in columns if column.lower() == wanted.lower()]
            if len(alike) == 1:
                return alike[0]
        raise UsageError(f"--where {text!r}: there is no column {name!r} (columns found: {', '.join(columns)})")

    return condition.bound(name_of)
