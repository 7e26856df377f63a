"""The server's SQL: statements on tables and partitions, and queries that SQLite runs."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tests.servers.odps.dialect import bare, bracketed, parts, to_sqlite
from tests.servers.odps.refusals import Refusal, SqlError
from tests.servers.odps.schema import Row, ServedColumn, ServedSchema, Spec, columns_of, spec_text
from tests.servers.odps.store import Store, StoredTable

_NAME = r"([\w.`]+)"
_PARTITION = r"PARTITION\s*\(([^)]*)\)"


@dataclass(frozen=True, slots=True)
class SelectedRows:
    """The result of a SELECT."""

    schema: ServedSchema
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement; ``may_scan_all`` allows reading a partitioned table without naming partitions."""

    project: str
    text: str
    may_scan_all: bool = False


def execute(store: Store, statement: Statement) -> SelectedRows | None:
    """Run a statement, all or nothing; ``SqlError`` with MaxCompute's code for a wrong one."""
    text = _without_settings(statement)
    try:
        with store.transaction():
            for pattern, run in _STATEMENTS:
                if match := re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL):
                    run(store, statement, *match.groups())
                    return None
            if re.match(r"(SELECT|WITH)\b", text, re.IGNORECASE):
                return _select(store, statement, text)
    except Refusal as refusal:
        code = "ODPS-0130131" if refusal.code == "NoSuchObject" else "ODPS-0110061"
        raise SqlError(f"{code}:[1,1] {refusal.message}") from refusal
    raise _parse_error(f"the test server does not know: {text[:200]}")


def _without_settings(statement: Statement) -> str:
    return re.sub(r"\A(\s*SET\s[^;]*;)*", "", statement.text, flags=re.IGNORECASE).strip().rstrip(";").rstrip()


def _create(store: Store, _: Statement, lenient: str | None, name: str, rest: str) -> None:
    if (name := bare(name)) in store.tables:
        if not lenient:
            raise SqlError(
                f"ODPS-0110061:[1,1] Failed to run ddltask - AlreadyExistsException(Table {name} already exists)"
            )
        return
    columns, rest = bracketed(rest)
    partitions = re.search(r"PARTITIONED\s+BY\s*(\(.*)", rest, re.IGNORECASE | re.DOTALL)
    is_transactional = bool(re.search(r"[\"']transactional[\"']\s*=\s*[\"']true[\"']", rest, re.IGNORECASE))
    partition_columns = _columns(parts(bracketed(partitions[1])[0])) if partitions else ()
    key = _primary_key(columns, is_transactional=is_transactional)
    defined = [part for part in parts(columns) if not re.match(r"PRIMARY\s+KEY", part, re.IGNORECASE)]
    store.create(name, ServedSchema(_columns(defined), partition_columns, key, is_transactional))


def _primary_key(columns: str, *, is_transactional: bool) -> tuple[str, ...]:
    found = re.search(r"PRIMARY\s+KEY\s*\(([^)]*)\)", columns, re.IGNORECASE)
    if not found:
        return ()
    key = tuple(bare(name) for name in found[1].split(","))
    required = {bare(part.split()[0]) for part in parts(columns) if re.search(r"\bNOT\s+NULL\b", part, re.IGNORECASE)}
    if not is_transactional or set(key) - required:
        raise _semantic_error("a primary key needs transactional=true and columns that are NOT NULL")
    return key


def _columns(defined: Sequence[str]) -> tuple[ServedColumn, ...]:
    pairs = [part.split()[:2] for part in defined]
    try:
        return columns_of({bare(name): kind for name, kind in pairs})
    except ValueError as error:
        raise _parse_error(str(error)) from error


def _create_view(store: Store, statement: Statement, lenient: str | None, name: str, query: str) -> None:
    if (name := bare(name)) in store.tables:
        if not lenient:
            raise SqlError(f"ODPS-0110061:[1,1] Failed to run ddltask - AlreadyExistsException(Table {name} exists)")
        return
    columns = _select(store, replace(statement, may_scan_all=True), query).schema.columns
    (base,) = _sources(store, query)
    store.create_view(name, to_sqlite(query, statement.project), ServedSchema(columns), base.name)


def _drop(store: Store, _: Statement, lenient: str | None, name: str) -> None:
    if bare(name) in store.tables or not lenient:
        store.drop(store.table(bare(name)).name)


def _add_partitions(store: Store, _: Statement, name: str, lenient: str | None, specs: str) -> None:
    for table, spec in _specs(store, name, specs):
        if spec in table.partitions and not lenient:
            raise SqlError(
                "ODPS-0110061:[1,1] Failed to run ddltask - AlreadyExistsException(Partition already exists)"
            )
        store.add_partition(table.name, spec)


def _drop_partitions(store: Store, _: Statement, name: str, lenient: str | None, specs: str) -> None:
    for table, spec in _specs(store, name, specs):
        if spec in table.partitions:
            store.drop_partition(table.name, spec)
        elif not lenient:
            raise _ddl_error("NoSuchObjectException(message:partition not found)")


def _rename_partition(store: Store, _: Statement, name: str, before: str, after: str) -> None:
    table = store.table(bare(name))
    old, new = table.schema.spec(before), table.schema.spec(after)
    if old not in table.partitions:
        raise _ddl_error("NoSuchObjectException(message:partition not found)")
    if new in table.partitions:
        raise _ddl_error("AlreadyExistsException(message:partition already exists)")
    store.rename_partition(table.name, old, new)


def _truncate(store: Store, _: Statement, name: str, specs: str) -> None:
    chosen = list(_specs(store, name, specs))
    table = store.table(bare(name))
    for spec in [spec for _, spec in chosen] or list(table.partitions):
        store.partition(table.name, spec_text(spec))
        store.clear(table.name, spec)


def start(store: Store, statement: Statement) -> Callable[[], SelectedRows | None]:
    """Begin a statement and return the rest of it: an INSERT reads at its start, and writes at its end."""
    text = _without_settings(statement)
    match = re.fullmatch(_INSERT, text, re.IGNORECASE | re.DOTALL)
    if match is None:
        return lambda: execute(store, statement)
    how, name, target, source = match.groups()
    found: SelectedRows | SqlError
    try:
        found = _select(store, statement, source)
    except (SqlError, Refusal) as error:
        found = error if isinstance(error, SqlError) else SqlError(error.message)

    def write() -> None:
        if isinstance(found, SqlError):
            raise found
        _write(store, how, name, target, found)

    return write


def _insert(store: Store, statement: Statement, how: str, name: str, target: str | None, source: str) -> None:
    _write(store, how, name, target, _select(store, statement, source))


def _write(store: Store, how: str, name: str, target: str | None, found: SelectedRows) -> None:
    table = store.table(bare(name))
    spec = table.schema.spec(target or "")
    if len(found.schema.columns) != len(table.schema.columns):
        counts = f"{len(found.schema.columns)} in data source, requires {len(table.schema.columns)}"
        raise _semantic_error(f"wrong columns count {counts} columns")
    store.write(table.name, spec, found.rows, is_overwrite=how.upper() == "OVERWRITE")


def _specs(store: Store, name: str, text: str) -> Iterator[tuple[StoredTable, Spec]]:
    table = store.table(bare(name))
    for found in re.findall(_PARTITION, text, re.IGNORECASE):
        yield table, table.schema.spec(found)


def _select(store: Store, statement: Statement, text: str) -> SelectedRows:
    sources = _sources(store, text)
    if not statement.may_scan_all:
        _check_partitions_named(sources, text)
    with store.transaction() as sqlite:
        try:
            cursor = sqlite.execute(to_sqlite(text, statement.project))
        except sqlite3.Error as error:
            raise _as_sql_error(error) from error
        rows = cursor.fetchall()
    known = {one.name: one.type for table in sources for one in table.schema.columns + table.schema.partitions}
    names = [column[0].lower() for column in cursor.description]
    named = [name if re.fullmatch(r"\w+", name) else f"_c{place}" for place, name in enumerate(names)]
    kinds = [known.get(name) or _type([row[place] for row in rows]) for place, name in enumerate(named)]
    return SelectedRows(ServedSchema(tuple(map(ServedColumn, named, kinds))), rows)


def _sources(store: Store, text: str) -> list[StoredTable]:
    names = {bare(name) for name in re.findall(rf"\b(?:FROM|JOIN)\s+{_NAME}", text, re.IGNORECASE)}
    return [store.tables[name] for name in sorted(names & store.tables.keys())]


def _check_partitions_named(sources: Sequence[StoredTable], text: str) -> None:
    for table in sources:
        names = "|".join(column.name for column in table.partition_columns)
        if names and not re.search(rf"\bWHERE\b.*\b({names})\b", text, re.IGNORECASE | re.DOTALL):
            why = f"Table {table.name} is full scan with all partitions, please specify partition predicates"
            raise _semantic_error(f"physical plan generation failed: {why}")


def _type(values: Sequence[object]) -> str:
    seen = next((value for value in values if value is not None), "")
    return {int: "bigint", float: "double"}.get(type(seen), "string")


def _as_sql_error(error: sqlite3.Error) -> SqlError:
    if missing := re.match(r"no such table: (.*)", str(error)):
        return SqlError(f"ODPS-0130131:[1,1] Table not found - table {missing[1]} cannot be resolved")
    if missing := re.match(r"no such column: (.*)", str(error)):
        return _semantic_error(f"column {missing[1]} cannot be resolved")
    return _parse_error(str(error))


def _semantic_error(why: str) -> SqlError:
    return SqlError(f"ODPS-0130071:[1,1] Semantic analysis exception - {why}")


def _parse_error(why: str) -> SqlError:
    return SqlError(f"ODPS-0130161:[1,1] Parse exception - {why}")


def _ddl_error(why: str) -> SqlError:
    return SqlError(f"ODPS-0110061: Failed to run ddltask - {why}")


_INSERT = rf"INSERT\s+(OVERWRITE|INTO)\s+(?:TABLE\s+)?{_NAME}\s*(?:{_PARTITION})?\s*((?:SELECT|WITH|VALUES)\b.*)"
_STATEMENTS = (
    (rf"CREATE\s+VIEW\s+(IF\s+NOT\s+EXISTS\s+)?{_NAME}\s+AS\s+(SELECT\b.*)", _create_view),
    (rf"ALTER\s+TABLE\s+{_NAME}\s+{_PARTITION}\s+RENAME\s+TO\s+{_PARTITION}", _rename_partition),
    (rf"CREATE\s+TABLE\s+(IF\s+NOT\s+EXISTS\s+)?{_NAME}\s*(\(.*)", _create),
    (rf"DROP\s+TABLE\s+(IF\s+EXISTS\s+)?{_NAME}", _drop),
    (rf"ALTER\s+TABLE\s+{_NAME}\s+ADD\s+(IF\s+NOT\s+EXISTS\s+)?(PARTITION.*)", _add_partitions),
    (rf"ALTER\s+TABLE\s+{_NAME}\s+DROP\s+(IF\s+EXISTS\s+)?(PARTITION.*)", _drop_partitions),
    (rf"TRUNCATE\s+TABLE\s+{_NAME}(.*)", _truncate),
    (_INSERT, _insert),
)
