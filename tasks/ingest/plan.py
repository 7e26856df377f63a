"""What to do with each partition of a source. Pure: what is known goes in, decisions come out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from storage.tables.wildcards import TablePartition
from tasks.ingest.model import SETTLED_STATES, Backfill, Decision, Entry, Facts, Fault, Partition, State
from tasks.ingest.sources import Source

LEAST_RECHECK_SECONDS = 5.0
LONGEST_RECHECK_SECONDS = 300.0  # between looks at a partition that is not complete, and at most so long after it is
FIRST_BACKOFF_SECONDS = 15.0
LONGEST_BACKOFF_SECONDS = 3600.0

FactsOf = Callable[[Partition], Facts | Fault]


def backoff_seconds(attempts: int) -> float:
    """15 s after the first failure, doubling up to an hour."""
    return min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(attempts - 1, 20))


def find_partitions(
    source: Source, listed: Iterable[TablePartition], backfills: Sequence[Backfill], now: datetime
) -> list[Partition]:
    """Partitions of the source, in the order of work: what its start date asks for, then what the backfills do.

    What has no date of the pattern's form is another's; days before the start, and days that are not over where the
    source waits for that, are left out.
    """
    regular: list[Partition] = []
    asked: dict[int, list[Partition]] = {number: [] for number in range(len(backfills))}
    for one in listed:
        moment = source.tables.moment_of(one.stars)
        if moment is None or not _has_come(source, moment, now):
            continue
        number = next((number for number, backfill in enumerate(backfills) if moment in backfill), None)
        if number is None and moment.date() < source.start:
            continue
        order = backfills[number].order if number is not None else None
        found = Partition(moment, one.url, source.outputs.at(moment), one.modified_at, order)
        (regular if number is None else asked[number]).append(found)
    ordered = _sorted(regular, source.order)
    for number, backfill in enumerate(backfills):
        ordered += _sorted(asked[number], backfill.order)
    return ordered


def _has_come(source: Source, moment: datetime, now: datetime) -> bool:
    local = now.astimezone(source.zone).replace(tzinfo=None)
    return moment.date() < local.date() if source.tables.waits_for_day_end else moment <= local


def _sorted(partitions: list[Partition], order: str) -> list[Partition]:
    return sorted(partitions, key=lambda one: one.moment, reverse=order == "newest")


def plan(
    source: Source,
    partitions: Iterable[Partition],
    entries: Mapping[str, Entry],
    facts_of: FactsOf,
    now: datetime,
    *,
    open_runs: Collection[str] = (),
    looks: int = 10,
    is_asked: bool = False,
    is_paused: bool = False,
) -> list[Decision]:
    """Decide about every partition, in order. ``facts_of`` is asked about at most ``looks`` of them.

    ``open_runs`` are the runs that the ledger knows as not complete. ``is_asked``: a person asks, so no wait between
    two looks is kept (how long a partition must be settled is). ``is_paused``: nothing starts.
    """
    free = 0 if is_paused else source.max_runs - sum(is_at_work(entry, open_runs) for entry in entries.values())
    no_room = "the source is paused" if is_paused else f"max_runs = {source.max_runs} of this source are under way"
    decisions = []
    for partition in partitions:
        key = partition.key(has_hours=source.tables.has_hours)
        entry = entries.get(key, Entry())
        decision = _without_looking(key, partition, entry, now, open_runs, is_asked=is_asked)
        if decision is None and looks <= 0:
            later = replace(entry, state=State.WAITING, reason="comes after the others")
            decision = Decision(key, partition, later, is_left_over=free > 0)
        if decision is None:
            looks -= 1
            decision = decide(source, key, partition, entry, facts_of(partition), now, no_room if free <= 0 else "")
            free -= decision.is_start or decision.entry.state is State.RUNNING
        decisions.append(decision)
    return decisions


def is_at_work(entry: Entry, open_runs: Collection[str]) -> bool:
    """Whether the entry's run takes one of its source's places."""
    return entry.state is State.RUNNING and entry.run_id in open_runs


def _without_looking(
    key: str, partition: Partition, entry: Entry, now: datetime, open_runs: Collection[str], *, is_asked: bool
) -> Decision | None:
    is_settled = entry.state in SETTLED_STATES or is_at_work(entry, open_runs)
    is_early = entry.state is not State.RUNNING and entry.not_before > now.timestamp() and not is_asked
    return Decision(key, partition, entry) if is_settled or is_early else None


def decide(
    source: Source, key: str, partition: Partition, entry: Entry, facts: Facts | Fault, now: datetime, no_room: str
) -> Decision:
    """Decide about one partition that was looked at; ``no_room`` says why no run may start now, empty if one may."""
    if isinstance(facts, Fault):
        return Decision(key, partition, failed(entry, facts.reason, now))
    since = entry.since if entry.rows == facts.rows else now.timestamp()
    seen = Entry(
        run_id=facts.run_id, rows=facts.rows, since=since, failed_rows=facts.failed_rows, attempts=entry.attempts
    )
    standing = _standing(facts, seen) or _incomplete(source, partition, facts, seen, now)
    if standing is not None:
        return Decision(key, partition, standing)
    if not facts.rows and source.empty == "skip":
        return Decision(key, partition, replace(seen, state=State.EMPTY, reason="it has no rows"))
    if no_room:
        return Decision(key, partition, replace(seen, reason=f"complete; {no_room}"))
    return Decision(key, partition, replace(seen, state=State.RUNNING), is_start=True)


def _standing(facts: Facts, seen: Entry) -> Entry | None:
    """What the output, or the run that somebody started, says."""
    if facts.rows and facts.results >= facts.rows:
        return replace(seen, state=State.DONE, attempts=0)
    return replace(seen, state=State.RUNNING) if facts.is_run_open else None


def _incomplete(source: Source, partition: Partition, facts: Facts, seen: Entry, now: datetime) -> Entry | None:
    """Why the partition is not complete, and when it is looked at again."""
    seconds = now.timestamp()
    if not facts.is_marked:
        return replace(seen, reason="its done marker is not there", not_before=seconds + _wait(source))
    if not facts.rows and source.empty == "wait":
        return replace(seen, reason="it has no rows", not_before=seconds + _wait(source))
    if (left := _seconds_unsettled(source, partition, seen, now)) > 0:
        reason = f"its {facts.rows} rows must stay unchanged for {left:.0f} s more"
        return replace(seen, reason=reason, not_before=seconds + min(left, _wait(source)))
    return None


def failed(entry: Entry, reason: str, now: datetime) -> Entry:
    """Return the entry after one more failure, with its back-off."""
    attempts = entry.attempts + 1
    not_before = now.timestamp() + backoff_seconds(attempts)
    return replace(entry, state=State.FAILED, reason=reason, attempts=attempts, not_before=not_before)


def next_due(source: Source, decisions: Iterable[Decision], now: datetime) -> datetime:
    """When the source is looked at next, if no run of it ends before: by its schedule, or sooner for who waits."""
    due = source.next_due(now)
    for decision in decisions:
        entry = decision.entry
        if entry.state in {State.WAITING, State.FAILED} and entry.not_before:
            due = min(due, now + timedelta(seconds=max(0.0, entry.not_before - now.timestamp())))
        elif decision.is_left_over:
            return now
    return due


def _wait(source: Source) -> float:
    return min(LONGEST_RECHECK_SECONDS, max(LEAST_RECHECK_SECONDS, source.settle_seconds))


def _seconds_unsettled(source: Source, partition: Partition, entry: Entry, now: datetime) -> float:
    """How long the partition must still stay as it is; the table's own time of change counts, where it has one."""
    since = entry.since
    if partition.modified_at is not None:
        since = partition.modified_at.timestamp()
    return source.settle_seconds - (now.timestamp() - since)
