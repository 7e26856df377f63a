"""Runs, shards and results in Redis.

One run's keys, after ``<prefix>run:{<run_id>}`` (the braces keep a run in one cluster slot)::

    (itself)                    hash    spec, total, shard_rows, extra_columns, submitted, cursor, ok, failed,
                                        generation, input; order, resumed, refed (see orders)
    :open                       zset    shard id -> time of its last progress, milliseconds
    :queue                      list    shards to claim first: given back, or retries
    :failures                   hash    failure code -> rows
    :failed:<code>              bitmap  ordinals with this failure that may be retried (one bit per row of the run)
    :retries                    set     retry shards ever opened
    :troubles                   hash    step -> time in milliseconds and the reason for waiting
    :batches                    hash    batch -> its upload session (see batch_journal)
    :figures                    hash    sums over the recorded rows (see figures)
    :shard:<id>:rows            hash    ordinal -> outcome, "" while there is none
    :shard:<id>:results         hash    ordinal -> payload
    :shard:<id>:state           hash    recorded, refeeds, generation, refusals
    :shard:<id>:attempts        hash    <ordinal>:<step> -> attempts; …:unended -> attempts that never ended;
                                        …:<worker>.<token> -> 1 for each of those whose worker is known

A shard's keys are deleted when it closes. A run takes 3 KB, and a closed row one bit per failure code of the run;
``python -m bench.memory`` measures the memory of a row in flight (docs/operations.md).

Any method may run twice: a client that lost a reply sends the request again. A second ``claim_shard`` then leaves the
first shard without progress, which the sweep finds; a second ``close_shard`` returns ``False``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import redis
from redis.commands.core import Script

from storage.errors import UsageError
from storage.ledger.attempts import Attempts
from storage.ledger.figures import POINTS, RunFigures
from storage.ledger.heartbeats import Heartbeats
from storage.ledger.model import (
    MAX_ROWS,
    Counts,
    OpenShard,
    Recorded,
    Run,
    RunSpec,
    Shard,
    ShardState,
    Trouble,
    is_retry,
    retry_shard_id,
)
from storage.ledger.orders import RunOrders
from storage.ledger.replies import check_outcomes, flat, foreign, latest_trouble, ordinals, pairs, run_of
from storage.ledger.scripts import Scripts, answering, read_at_once

TROUBLE_CHARACTERS = 500


class Ledger:
    """Runs, shards and results in flight. After a wipe of the server, submitting a run again resumes it.

    Unknown runs and shards are normal (the server may have been wiped): they read as empty and closed.
    Raises ``Unavailable`` when the server does not answer. Safe to share between threads.
    """

    def __init__(self, client: redis.Redis, *, prefix: str = "tamis:") -> None:
        if client.get_encoder().decode_responses:
            raise ValueError("the ledger stores bytes: open its Redis client without decode_responses")
        self._client = client
        self._prefix = prefix
        self._runs = f"{prefix}runs"
        self._scripts = Scripts.registered_with(client)
        self.orders = RunOrders(client, prefix=prefix)
        self.attempts = Attempts(client, prefix=prefix)
        self.figures = RunFigures(client, prefix=prefix)
        self.heartbeats = Heartbeats(client, prefix=prefix)

    def _run_key(self, run_id: str) -> str:
        return f"{self._prefix}run:{{{run_id}}}"

    def _call(self, script: Script, key: str, *args: str | int | bytes) -> Any:
        with answering(self._client):
            return script(keys=[key], args=args)

    # -- runs --

    def submit(
        self,
        spec: RunSpec,
        *,
        total_rows: int,
        shard_rows: int,
        extra_columns: Sequence[str],
        input_version: str = "",
    ) -> tuple[Run, bool]:
        """Start the run, or find it; the flag says that it is new. The first submission's parameters are kept.

        Only the total may grow: if all rows were fed, the new shards start at the old total, so a short last shard
        keeps its range. A smaller total raises ``UsageError``.
        """
        if not 0 <= total_rows <= MAX_ROWS or shard_rows < 1:
            raise ValueError(
                f"a run of {total_rows} rows in shards of {shard_rows}: 0..{MAX_ROWS} and 1.. are possible"
            )
        with answering(self._client):
            self._client.sadd(self._runs, spec.run_id)  # before the run exists: a crash leaves no unlisted run
        columns = json.dumps(list(extra_columns))
        key = self._run_key(spec.run_id)
        reply = self._call(self._scripts.submit, key, spec.to_json(), total_rows, shard_rows, columns, input_version)
        is_new, rows_before, stored, open_shards, queued = reply
        if total_rows < int(rows_before):
            raise UsageError(
                f"run {spec.run_id} was submitted with {int(rows_before)} rows, but {spec.tables} now has {total_rows}:"
                " a partition may only grow; restore its rows, or write to another output"
            )
        return run_of(spec.run_id, dict(pairs(stored)), open_shards + queued), bool(is_new)

    def runs(self) -> list[Run]:
        """Return every run, the newest submission first."""
        known = (self.run(run_id) for run_id in self._run_ids())
        return sorted((run for run in known if run), key=lambda run: (run.submitted_at, run.run_id), reverse=True)

    def _run_ids(self) -> list[str]:
        (members,) = read_at_once(self._client, ("SMEMBERS", self._runs))
        return [member.decode() for member in members]

    def run(self, run_id: str) -> Run | None:
        """Return the run, or ``None``."""
        key = self._run_key(run_id)
        stored, open_shards, queued = read_at_once(
            self._client, ("HGETALL", key), ("ZCARD", f"{key}:open"), ("LLEN", f"{key}:queue")
        )
        return run_of(run_id, stored, open_shards + queued) if stored else None

    def find(self, prefix: str) -> Run:
        """Return the only run whose id starts with ``prefix``; otherwise ``UsageError`` with the candidates."""
        runs = self.runs()
        matching = [run for run in runs if run.run_id.startswith(prefix)]
        if len(matching) == 1:
            return matching[0]
        candidates = ", ".join(run.run_id for run in matching or runs) or "none at all"
        fault = "is ambiguous" if matching else "matches no run"
        raise UsageError(f"run id {prefix!r} {fault}; there are: {candidates}")

    def counts(self, run_id: str) -> Counts | None:
        """Return the run's row counts at this instant, or ``None``."""
        key = self._run_key(run_id)
        (rows, ok, failed, cursor), failures, open_shards = read_at_once(
            self._client,
            ("HMGET", key, "total", "ok", "failed", "cursor"),
            ("HGETALL", f"{key}:failures"),
            ("ZCARD", f"{key}:open"),
        )
        if rows is None:
            return None
        by_code = {code.decode(): int(count) for code, count in sorted(failures.items()) if int(count)}
        return Counts(int(rows), int(ok), int(failed), by_code, int(cursor), open_shards)

    def input_version(self, run_id: str) -> str | None:
        """Return the version of the input that all processes of the run read; ``None`` if none was submitted."""
        (version,) = read_at_once(self._client, ("HGET", self._run_key(run_id), "input"))
        return version.decode() if version else None

    def forget(self, run_id: str) -> None:
        """Remove everything of the run."""
        self._call(self._scripts.forget, self._run_key(run_id))
        with answering(self._client):
            self._client.srem(self._runs, run_id)

    def note_trouble(self, run_id: str, text: str, *, step: str) -> None:
        """Store the reason that the run waits at this step, for ``tamis runs``; it replaces an earlier reason."""
        self._call(self._scripts.note_trouble, self._run_key(run_id), step, text[:TROUBLE_CHARACTERS])

    def clear_trouble(self, run_id: str, *, step: str) -> None:
        """Remove the step's reason: the step succeeded."""
        with answering(self._client):
            self._client.hdel(f"{self._run_key(run_id)}:troubles", step)

    def trouble(self, run_id: str) -> Trouble | None:
        """Return the newest trouble that no success of its step has cleared."""
        (troubles,) = read_at_once(self._client, ("HGETALL", f"{self._run_key(run_id)}:troubles"))
        return latest_trouble(troubles)

    # -- shards --

    def claim_shard(self, run_id: str, *, max_open: int) -> Shard | None:
        """Open the next shard, a queued one first; ``None`` while ``max_open`` shards are open or no row is left."""
        reply = self._call(self._scripts.claim, self._run_key(run_id), max_open)
        return Shard(run_id, reply[0].decode(), ordinals(reply[1])) if reply else None

    def give_back(self, run_id: str, shard_id: str) -> bool:
        """Undo a claim, so that the shard is claimed next; ``False`` if a row of it was recorded since."""
        return bool(self._call(self._scripts.give_back, self._run_key(run_id), shard_id))

    def settle(self, run_id: str, shard_id: str, outcomes: Mapping[int, str]) -> ShardState:
        """Count rows that the output table already holds (``ordinal -> "ok"`` or code); return the missing rows.

        Idempotent. Closes the shard if no row is missing and no result is to be written. Only for base shards: the rows
        of a retry are always in the table (``ValueError``).
        """
        if is_retry(shard_id):
            raise ValueError(f"shard {shard_id} is a retry: settling it would drop it unworked")
        check_outcomes(outcomes.values())
        reply = self._call(self._scripts.settle, self._run_key(run_id), shard_id, *flat(outcomes))
        if isinstance(reply, bytes):
            raise foreign(run_id, shard_id, int(reply))
        return ShardState(bool(reply[0]), ordinals(reply[1]))

    def missing(self, run_id: str, shard_id: str) -> tuple[int, ...]:
        """Return the ordinals of an open shard that have no result."""
        key = self._run_key(run_id)
        progress, rows = read_at_once(
            self._client, ("ZSCORE", f"{key}:open", shard_id), ("HGETALL", f"{key}:shard:{shard_id}:rows")
        )
        return ordinals(ordinal for ordinal, outcome in rows.items() if progress is not None and not outcome)

    def open_shards(self, run_id: str) -> list[OpenShard]:
        """Return the shards in flight, the longest idle first."""
        reply = self._call(self._scripts.open_shards, self._run_key(run_id))
        return [
            OpenShard(shard.decode(), recorded, expected, idle / 1000, recorded == expected, refeeds)
            for shard, recorded, expected, idle, refeeds in reply
        ]

    def note_refeed(self, run_id: str, shard_id: str) -> int:
        """Count a re-feed and restart the idle time; return the number of re-feeds, 0 if the shard is not open."""
        return int(self._call(self._scripts.refeed, self._run_key(run_id), shard_id))

    def amend(self, run_id: str, shard_id: str, outcomes: Mapping[int, str]) -> int:
        """Replace outcomes of recorded rows of an open shard: the output holds them as other failures. Idempotent."""
        check_outcomes(outcomes.values())
        return int(self._call(self._scripts.amend, self._run_key(run_id), shard_id, *flat(outcomes)))

    def note_refused_write(self, run_id: str, shard_id: str) -> int:
        """Count that the output refused the shard; return the count, 0 if the shard is not open."""
        return int(self._call(self._scripts.refuse_write, self._run_key(run_id), shard_id))

    def close_shard(self, run_id: str, shard_id: str) -> bool:
        """Drop a written shard. ``True`` for the only call that closed it; ``False`` also while rows are missing."""
        return bool(self._call(self._scripts.close, self._run_key(run_id), shard_id))

    def open_retry(self, run_id: str, token: str, failures: Mapping[int, str]) -> int:
        """Put failed rows (``ordinal -> failure code``) back into flight, in queued shards; return their number.

        A row is taken only if its shard is closed and the ledger counts it under that code: rows in flight, rows not
        fed yet and outdated codes are ignored. Equal failures under one token have one effect.
        """
        run = self.run(run_id)
        if run is None:
            return 0
        check_outcomes(failures.values())
        ordinals = sorted(ordinal for ordinal in failures if 0 <= ordinal < run.total_rows)
        taken = 0
        for start in range(
            0, len(ordinals), run.shard_rows
        ):  # one shard per script: none may block the server for long
            chunk = ordinals[start : start + run.shard_rows]
            rows = flat({ordinal: failures[ordinal] for ordinal in chunk})
            taken += self._call(self._scripts.retry, self._run_key(run_id), retry_shard_id(token, chunk), *rows)
        return taken

    # -- rows --

    def record(
        self,
        run_id: str,
        shard_id: str,
        ordinal: int,
        payload: bytes,
        outcome: str,
        *,
        step: str = "",
        token: str = "",
        figures: Iterable[tuple[str, int]] = (),
    ) -> Recorded:
        """Store a row's result. Only the first result counts; ``is_full`` stays true until the shard is closed.

        The attempt at ``step`` with this token ends with it. The ``figures`` of a first result are added to the run's.
        """
        check_outcomes([outcome])
        numbers: Iterable[str | int] = chain.from_iterable(figures)
        told = (shard_id, ordinal, payload, outcome, step, token, POINTS, *numbers)
        reply = self._call(self._scripts.record, self._run_key(run_id), *told)
        if reply is None:
            raise foreign(run_id, shard_id, ordinal)
        return Recorded(bool(reply[0]), bool(reply[1]))

    def is_recorded(self, run_id: str, shard_id: str, ordinal: int) -> bool:
        """True if the row needs no work: it has a result, or its shard is closed or unknown."""
        key = self._run_key(run_id)
        progress, outcome = read_at_once(
            self._client,
            ("ZSCORE", f"{key}:open", shard_id),
            ("HGET", f"{key}:shard:{shard_id}:rows", str(ordinal)),
        )
        if progress is not None and outcome is None:
            raise foreign(run_id, shard_id, ordinal)
        return progress is None or bool(outcome)

    def is_full(self, run_id: str, shard_id: str) -> bool:
        """True if the shard can be written: open, with every row recorded."""
        key = self._run_key(run_id)
        progress, rows = read_at_once(
            self._client, ("ZSCORE", f"{key}:open", shard_id), ("HVALS", f"{key}:shard:{shard_id}:rows")
        )
        return progress is not None and all(rows)

    def results(self, run_id: str, shard_id: str, *, is_cut: bool = False) -> dict[int, bytes] | None:
        """Return the payloads of a full shard without settled rows; ``None`` for a shard that is not open or not full.

        A partial batch must never be written under the shard's id, which means the whole shard. With ``is_cut``, those
        of a shard that is not full are returned too, for a batch of another id.
        """
        key = self._run_key(run_id)
        part = f"{key}:shard:{shard_id}"
        progress, rows, payloads = read_at_once(
            self._client,
            ("ZSCORE", f"{key}:open", shard_id),
            ("HVALS", f"{part}:rows"),
            ("HGETALL", f"{part}:results"),
        )
        if progress is None or not (is_cut or all(rows)):
            return None
        return {ordinal: payloads[b"%d" % ordinal] for ordinal in ordinals(payloads)}

    def generation(self, run_id: str, shard_id: str) -> int:
        """Return the generation of an open shard's rows: 0 for a base shard, milliseconds for a retry.

        A later retry has a higher generation, whatever the workers' clocks say, also after a wipe of the server.
        """
        (stored,) = read_at_once(
            self._client, ("HGET", f"{self._run_key(run_id)}:shard:{shard_id}:state", "generation")
        )
        return int(stored or 0)
