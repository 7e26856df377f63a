"""The clips that change sides between two decisions, and the page that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from storage.json_text import Scalar
from storage.records import Record
from tasks.cli.terminal.usage import settings

UNDECIDED = "undecided"


def is_changed(before: Scalar, after: Scalar) -> bool:
    """Return True if a clip changes sides; one without an earlier decision does not."""
    return before not in {UNDECIDED, after}


def noting(records: Iterable[Record], changed: dict[int, str]) -> Iterator[Record]:
    """Yield the records of a decision, and note by ordinal those that change sides: ``"keep → drop"``."""
    for one in records:
        if is_changed(one["before"], one["decision"]):
            changed[int(one["ordinal"] or 0)] = f"{one['before']} → {one['decision']}"
        yield one


def write_changes(tables: str, run_id: str, folder: Path, changed: Mapping[int, str]) -> Path | None:
    """Write the gallery of the clips that change sides and return its page; None, and no page, when there are none."""
    if not changed:
        return None
    from tasks.cli.videos.gallery import write_page  # it loads the decoder

    return write_page(tables, folder, settings(), run=run_id, changes=changed).page
