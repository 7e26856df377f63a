"""Conditions as SQLite's SQL, with the meaning that they have for every other table.

SQLite converts values by a column's declared type and orders kinds among each other; ``typeof`` and a unary plus keep
that out.
"""

from __future__ import annotations

from collections.abc import Iterable

from storage.tables.selection.condition import (
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

Clause = tuple[str, tuple[Literal, ...]]  # SQL, and the values of its question marks


def sqlite_clause(condition: Condition) -> Clause:
    """Return the condition as an SQL expression. Its columns must be names of the table."""
    match condition:
        case Negation(inner):
            sql, values = sqlite_clause(inner)
            return f"(NOT {sql})", values
        case AllOf(conditions):
            return _joined(" AND ", map(sqlite_clause, conditions))
        case AnyOf(conditions):
            return _joined(" OR ", map(sqlite_clause, conditions))
    return _of_column(condition)


def _of_column(condition: Condition) -> Clause:
    match condition:
        case ColumnComparison(column, operator, literal):
            return _comparison(_quoted(column), operator, literal)
        case Membership(column, literals):
            return _joined(" OR ", (_comparison(_quoted(column), "=", one) for one in literals))
        case Match(column, pattern):
            name = _quoted(column)
            matched = f"(CASE WHEN {_is_null(name)} THEN NULL ELSE {_is_text(name)} AND {_text(name)} GLOB ? END)"
            return matched, (_glob(pattern),)
        case IsNull(column):
            return _is_null(_quoted(column)), ()
    raise TypeError(f"{type(condition).__name__} is no condition")


def _comparison(name: str, operator: str, literal: Literal) -> Clause:
    is_text = isinstance(literal, str)
    kind, value = (_is_text(name), _text(name)) if is_text else (f"NOT {_is_text(name)}", f"+{name}")
    otherwise = 1 if operator == "!=" else 0
    compared = f"{value} {operator} ?" if not is_text else f"{value} {operator} ? COLLATE BINARY"
    return f"(CASE WHEN {_is_null(name)} THEN NULL WHEN {kind} THEN {compared} ELSE {otherwise} END)", (literal,)


def _joined(word: str, clauses: Iterable[Clause]) -> Clause:
    texts, values = zip(*clauses, strict=True)
    return f"({word.join(texts)})", tuple(value for some in values for value in some)


def _is_null(name: str) -> str:
    return f"({name} IS NULL OR +{name} IN (9e999, -9e999))"  # an infinity is read as NULL (json_text.scalar)


def _is_text(name: str) -> str:
    return f"typeof({name}) IN ('text', 'blob')"


def _text(name: str) -> str:
    return f"CAST({name} AS TEXT)"


def _glob(pattern: str) -> str:
    """Return the pattern of ``LIKE`` for SQLite's ``GLOB``, which regards case."""
    return "".join({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}.get(one, one) for one in pattern)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
