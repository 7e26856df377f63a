"""Conversion of arguments for the server's scripts, and of their replies."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain

from storage.ledger.model import Run, RunOrder, RunSpec, Trouble


def run_of(run_id: str, stored: Mapping[bytes, bytes], unfinished_shards: int) -> Run:
    """Return the run that its hash describes. A cancelled one is complete only if every row got its result."""
    cursor, total_rows = int(stored[b"cursor"]), int(stored[b"total"])
    order = RunOrder(stored.get(b"order", b"").decode())
    is_cut = order is RunOrder.CANCELLED and int(stored[b"ok"]) + int(stored[b"failed"]) < total_rows
    return Run(
        run_id=run_id,
        spec=RunSpec.from_json(stored[b"spec"]),
        total_rows=total_rows,
        shard_rows=int(stored[b"shard_rows"]),
        extra_columns=tuple(json.loads(stored[b"extra_columns"])),
        submitted_at=datetime.fromtimestamp(int(stored[b"submitted"]) / 1000, tz=UTC),
        cursor=cursor,
        is_complete=cursor == total_rows and not unfinished_shards and not is_cut,
        order=order,
    )


def pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Pair a reply of alternating fields and values."""
    return zip(flat[::2], flat[1::2], strict=True)


def flat(outcomes: Mapping[int, str]) -> Iterable[int | str]:
    """Return alternating ordinals and outcomes."""
    return chain.from_iterable(outcomes.items())


def ordinals(members: Iterable[bytes]) -> tuple[int, ...]:
    """Return sorted ordinals."""
    return tuple(sorted(map(int, members)))


def check_outcomes(outcomes: Iterable[str]) -> None:
    """Raise ``ValueError`` for an empty outcome, which means no outcome yet."""
    if not all(outcomes):
        raise ValueError('an outcome is "ok" or a failure code, not an empty text')


def foreign(run_id: str, shard_id: str, ordinal: int) -> ValueError:
    """Return the error for a row that is not in the shard."""
    return ValueError(f"row {ordinal} does not belong to shard {shard_id} of run {run_id}")


def in_progress(attempts: Mapping[str, int], living: Container[str]) -> frozenset[int]:
    """Return the ordinals with an unended attempt of a living worker, from a shard's hash of attempts.

    An attempt without a worker's name (written by an older tamis) counts as one of a living worker.
    """
    unended: Counter[tuple[str, str]] = Counter()
    for field, count in attempts.items():
        ordinal, step, *rest = field.split(":")
        if rest == ["unended"]:
            unended[ordinal, step] += count
        elif rest and rest[0].partition(".")[0] not in living:
            unended[ordinal, step] -= 1
    return frozenset(int(ordinal) for (ordinal, _), count in unended.items() if count > 0)


def latest_trouble(stored: Mapping[bytes, bytes]) -> Trouble | None:
    """Return the newest of a run's troubles, stored as ``step -> "<milliseconds> <text>"``."""
    troubles = []
    for step, noted in stored.items():
        milliseconds, _, text = noted.decode().partition(" ")
        troubles.append(Trouble(step.decode(), text, datetime.fromtimestamp(int(milliseconds) / 1000, tz=UTC)))
    return max(troubles, key=lambda trouble: trouble.noted_at, default=None)
