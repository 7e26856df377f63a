"""The content of an input as a run numbers its rows, so that every process of a fleet reads the same order."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from pydantic import TypeAdapter

from storage import json_text
from storage.errors import UsageError
from storage.tables.protocol import InputTable

SAMPLES = 4  # ranges of rows that are compared: the first, the last and two between them
SAMPLE_ROWS = 32


@dataclass(frozen=True, slots=True)
class InputVersion:
    """Number of rows, digests of sampled ranges ``(first ordinal, digest)``, and the store's name of the snapshot."""

    count: int
    samples: tuple[tuple[int, str], ...]
    snapshot_id: str

    def to_json(self) -> str:
        """Return the version as text, for the ledger."""
        return _ADAPTER.dump_json(self).decode()

    @staticmethod
    def from_json(text: str) -> InputVersion:
        """Read back what :meth:`to_json` wrote."""
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(InputVersion)


def version_of(table: InputTable) -> InputVersion:
    """Return the version of the table's content."""
    count = table.count_rows()
    starts = {max(0, count - SAMPLE_ROWS) * number // (SAMPLES - 1) for number in range(SAMPLES)} if count else set()
    return InputVersion(count, tuple((start, _digest(table, start)) for start in sorted(starts)), table.snapshot_id)


def check_version(table: InputTable, version: InputVersion) -> None:
    """Raise ``UsageError`` unless the rows of ``version`` are at their positions; more rows may follow them."""
    if table.snapshot_id and table.snapshot_id == version.snapshot_id:
        return
    count = table.count_rows()
    changed = next((start for start, digest in version.samples if _digest(table, start) != digest), None)
    if count >= version.count and changed is None:
        return
    seen = f"it had {version.count} rows, now {count}" if count != version.count else f"row {changed} is another one"
    raise UsageError(
        f"{table.url} changed after the run was submitted: {seen}, so rows cannot be told apart by position. Restore "
        f"its rows, or copy the new ones to another partition and submit that"
    )


def _digest(table: InputTable, start: int) -> str:
    rows = json_text.write(table.read_rows(start, SAMPLE_ROWS))
    return blake2b(rows.encode(), digest_size=16).hexdigest()
