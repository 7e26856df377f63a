"""Decisions about each partition of a source: recorded entries and present facts in, decisions out. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from storage.tables.wildcards import TablePartition
from tasks.ingest.model import (
    SETTLED_STATES,
    BackfillRange,
    CheckFailure,
    Facts,
    Partition,
    PartitionDecision,
    PartitionEntry,
    PartitionState,
)
from tasks.ingest.sources import IngestSource

LEAST_RECHECK_SECONDS = 5.0
LONGEST_RECHECK_SECONDS = 300.0  # between checks of an incomplete partition, so the longest delay once it is complete
FIRST_BACKOFF_SECONDS = 15.0
LONGEST_BACKOFF_SECONDS = 3600.0

FactsOf = Callable[[Partition], Facts | CheckFailure]


def backoff_seconds(attempts: int) -> float:
    """Return 15 s after the first failure, then twice as long after each further one, at most an hour."""
    return min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(attempts - 1, 20))


def find_partitions(
    source: IngestSource, listed: Iterable[TablePartition], backfills: Sequence[BackfillRange], now: datetime
) -> list[Partition]:
    """Return the source's partitions in the order of work: days since its start date first, then the backfills' days.

    Left out are values that are no date of the pattern's form, days before the start that no backfill asks for, and,
    where the source waits for the end of a day, days that are not over.
    """
    regular: list[Partition] = []
    asked: dict[int, list[Partition]] = {number: [] for number in range(len(backfills))}
    for table in listed:
        moment = source.tables.moment_of(table.stars)
        if moment is None or not _is_within_reach(source, moment, now):
            continue
        number = next((number for number, backfill in enumerate(backfills) if moment in backfill), None)
        if number is None and moment.date() < source.start:
            continue
        order = backfills[number].order if number is not None else None
        found = Partition(moment, table.url, source.outputs.at(moment), table.modified_at, order)
        (regular if number is None else asked[number]).append(found)
    ordered = _sorted(regular, source.order)
    for number, backfill in enumerate(backfills):
        ordered += _sorted(asked[number], backfill.order)
    return ordered


def _is_within_reach(source: IngestSource, moment: datetime, now: datetime) -> bool:
    local = now.astimezone(source.zone).replace(tzinfo=None)
    return moment.date() < local.date() if source.tables.waits_for_day_end else moment <= local


def _sorted(partitions: list[Partition], order: str) -> list[Partition]:
    return sorted(partitions, key=lambda partition: partition.moment, reverse=order == "newest")


def plan(
    source: IngestSource,
    partitions: Iterable[Partition],
    entries: Mapping[str, PartitionEntry],
    facts_of: FactsOf,
    now: datetime,
    *,
    open_runs: Collection[str] = (),
    cancelled_runs: Collection[str] = (),
    most_checks: int = 10,
    is_asked: bool = False,
    is_paused: bool = False,
) -> list[PartitionDecision]:
    """Decide about every partition, in order. ``facts_of`` is called for at most ``most_checks`` of them.

    ``open_runs`` are the runs that the ledger holds as not complete. ``is_asked``: a person asks, so waits between
    checks are ignored (the time for which a partition must be unchanged is not). ``is_paused``: nothing starts.
    ``cancelled_runs``, which are open too, are left as they are, and make room for others.
    """
    counted = frozenset(open_runs) - frozenset(cancelled_runs)
    free = 0 if is_paused else source.max_runs - sum(has_open_run(entry, counted) for entry in entries.values())
    no_room = "the source is paused" if is_paused else f"max_runs = {source.max_runs} of this source are under way"
    decisions = []
    for partition in partitions:
        key = partition.key(has_hours=source.tables.has_hours)
        entry = entries.get(key, PartitionEntry())
        decision = _without_check(key, partition, entry, now, open_runs, is_asked=is_asked)
        if decision is None and most_checks <= 0:
            left_over = replace(entry, state=PartitionState.WAITING, reason="comes after the others")
            decision = PartitionDecision(key, partition, left_over, is_left_over=free > 0)
        if decision is None:
            most_checks -= 1
            decision = decide(source, key, partition, entry, facts_of(partition), now, no_room if free <= 0 else "")
            free -= decision.is_start or decision.entry.state is PartitionState.RUNNING
        decisions.append(decision)
    return decisions


def has_open_run(entry: PartitionEntry, open_runs: Collection[str]) -> bool:
    """Return whether the entry's run is under way: it counts towards its source's ``max_runs``."""
    return entry.state is PartitionState.RUNNING and entry.run_id in open_runs


def _without_check(
    key: str, partition: Partition, entry: PartitionEntry, now: datetime, open_runs: Collection[str], *, is_asked: bool
) -> PartitionDecision | None:
    is_settled = entry.state in SETTLED_STATES or has_open_run(entry, open_runs)
    is_early = entry.state is not PartitionState.RUNNING and entry.not_before > now.timestamp() and not is_asked
    return PartitionDecision(key, partition, entry) if is_settled or is_early else None


def decide(
    source: IngestSource,
    key: str,
    partition: Partition,
    entry: PartitionEntry,
    facts: Facts | CheckFailure,
    now: datetime,
    no_room: str,
) -> PartitionDecision:
    """Decide about one checked partition. ``no_room`` is the reason why no run may start now; empty if one may."""
    if isinstance(facts, CheckFailure):
        return PartitionDecision(key, partition, failed(entry, facts.reason, now))
    since = entry.since if entry.rows == facts.rows else now.timestamp()
    seen = PartitionEntry(
        run_id=facts.run_id, rows=facts.rows, since=since, failed_rows=facts.failed_rows, attempts=entry.attempts
    )
    without_start = _done_or_running(facts, seen) or _incomplete(source, partition, facts, seen, now)
    if without_start is not None:
        return PartitionDecision(key, partition, without_start)
    if not facts.rows and source.empty == "skip":
        return PartitionDecision(key, partition, replace(seen, state=PartitionState.EMPTY, reason="it has no rows"))
    if no_room:
        return PartitionDecision(key, partition, replace(seen, reason=f"complete; {no_room}"))
    return PartitionDecision(key, partition, replace(seen, state=PartitionState.RUNNING), is_start=True)


def _done_or_running(facts: Facts, seen: PartitionEntry) -> PartitionEntry | None:
    """Return the entry as done if the output is full, as running if its run is under way; otherwise ``None``."""
    if facts.rows and facts.results >= facts.rows:
        return replace(seen, state=PartitionState.DONE, attempts=0)
    return replace(seen, state=PartitionState.RUNNING) if facts.is_run_open else None


def _incomplete(
    source: IngestSource, partition: Partition, facts: Facts, seen: PartitionEntry, now: datetime
) -> PartitionEntry | None:
    """Return the entry with the reason why the partition is not complete and the next check; ``None`` if it is."""
    seconds = now.timestamp()
    if not facts.is_marked:
        return replace(seen, reason="its done marker does not exist", not_before=seconds + _wait(source))
    if not facts.rows and source.empty == "wait":
        return replace(seen, reason="it has no rows", not_before=seconds + _wait(source))
    if (left := _seconds_unsettled(source, partition, seen, now)) > 0:
        reason = f"its {facts.rows} rows must stay unchanged for {left:.0f} s more"
        return replace(seen, reason=reason, not_before=seconds + min(left, _wait(source)))
    return None


def failed(entry: PartitionEntry, reason: str, now: datetime) -> PartitionEntry:
    """Return the entry after one more failure, with its back-off."""
    attempts = entry.attempts + 1
    not_before = now.timestamp() + backoff_seconds(attempts)
    return replace(entry, state=PartitionState.FAILED, reason=reason, attempts=attempts, not_before=not_before)


def next_due(source: IngestSource, decisions: Iterable[PartitionDecision], now: datetime) -> datetime:
    """Return the time of the source's next check: by its schedule, or sooner if a partition waits for a check.

    The end of one of its runs brings the check forward (:func:`tasks.ingest.tick.is_due`).
    """
    due = source.next_due(now)
    for decision in decisions:
        entry = decision.entry
        if entry.state in {PartitionState.WAITING, PartitionState.FAILED} and entry.not_before:
            due = min(due, now + timedelta(seconds=max(0.0, entry.not_before - now.timestamp())))
        elif decision.is_left_over:
            return now
    return due


def _wait(source: IngestSource) -> float:
    return min(LONGEST_RECHECK_SECONDS, max(LEAST_RECHECK_SECONDS, source.settle_seconds))


def _seconds_unsettled(source: IngestSource, partition: Partition, entry: PartitionEntry, now: datetime) -> float:
    """Return the seconds for which the partition must still stay unchanged.

    The table's own time of change counts; where it has none, the time at which the row count was first seen.
    """
    since = entry.since
    if partition.modified_at is not None:
        since = partition.modified_at.timestamp()
    return source.settle_seconds - (now.timestamp() - since)
