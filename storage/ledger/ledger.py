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

A shard's keys are deleted when it closes. A run takes 1 KB, and a closed row one bit per failure code of the run;
``python -m bench.memory`` measures the memory of a row in flight (docs/operations.md).

Any method may run twice: a client that lost a reply sends the request again. A second ``claim_shard`` then leaves the
first shard without progress, which the sweep finds; a second ``close_shard`` returns ``False``.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import redis
from redis.commands.core import Script

from storage.errors import UsageError
from storage.ledger.figures import RunFigures
from storage.ledger.model import (
    MAX_ROWS,
    Attempt,
    Counts,
    Node,
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
from storage.ledger.replies import check_outcomes, flat, foreign, in_progress, latest_trouble, ordinals, pairs, run_of
from storage.ledger.scripts import Scripts, answering, read_at_once

KNOWN_NODE_SECONDS = 7 * 24 * 3600.0  # a node without a heartbeat for longer is forgotten
KNOWN_WORKER_SECONDS = 3600.0
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
        self._nodes = f"{prefix}nodes"
        self._workers = f"{prefix}workers"
        self._scripts = Scripts.registered_with(client)
        self.orders = RunOrders(client, prefix=prefix)
        self.figures = RunFigures(client, prefix=prefix)

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

    def record(self, run_id: str, shard_id: str, ordinal: int, payload: bytes, outcome: str) -> Recorded:
        """Store a row's result. Only the first result counts; ``is_full`` stays true until the shard is closed."""
        check_outcomes([outcome])
        reply = self._call(self._scripts.record, self._run_key(run_id), shard_id, ordinal, payload, outcome)
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

    def begin_attempt(self, run_id: str, shard_id: str, ordinal: int, step: str, token: str = "") -> Attempt:
        """Count an attempt at one step of a row; number 0 if the shard is not open.

        ``token`` is ``<worker>.<unique text>``, new for each attempt. It names the attempt's worker, and a call that is
        repeated because its reply was lost counts once.
        """
        reply = self._call(self._scripts.begin_attempt, self._run_key(run_id), shard_id, ordinal, step, token)
        if reply is None:
            raise foreign(run_id, shard_id, ordinal)
        number, unended = map(int, reply)
        return Attempt(number, unended)

    def end_attempt(self, run_id: str, shard_id: str, ordinal: int, step: str, token: str = "") -> None:
        """Note that an attempt ended, in success or failure: its process did not die during it."""
        self._call(self._scripts.end_attempt, self._run_key(run_id), shard_id, ordinal, step, token)

    def unended_attempts(self, run_id: str, shard_id: str, ordinal: int, step: str) -> int:
        """Return the number of attempts at the step that have not ended: still running, or their process died."""
        attempts = f"{self._run_key(run_id)}:shard:{shard_id}:attempts"
        (count,) = read_at_once(self._client, ("HGET", attempts, f"{ordinal}:{step}:unended"))
        return int(count or 0)

    def in_progress(self, run_id: str, shard_id: str, living: Container[str]) -> frozenset[int]:
        """Return the ordinals with an unended attempt at any step, except attempts of workers known to be dead."""
        attempts = f"{self._run_key(run_id)}:shard:{shard_id}:attempts"
        (counts,) = read_at_once(self._client, ("HGETALL", attempts))
        return in_progress({field.decode(): int(count) for field, count in counts.items()}, living)

    def forget_attempts(self, run_id: str, shard_id: str, ordinal: int) -> None:
        """Reset the attempts of every step of the row."""
        self._call(self._scripts.forget_attempts, self._run_key(run_id), shard_id, ordinal)

    # -- nodes and their workers --

    def beat_worker(self, worker: str) -> None:
        """Store a heartbeat of this worker process; its name is never reused."""
        self._call(self._scripts.beat_node, self._workers, round(KNOWN_WORKER_SECONDS * 1000), worker, "worker")

    def living_workers(self, max_age_seconds: float) -> frozenset[str]:
        """Return the workers with a heartbeat within ``max_age_seconds``."""
        reply = self._call(self._scripts.nodes, self._workers, round(max_age_seconds * 1000))
        return frozenset(member.decode().partition(" ")[2] for member in reply[::2])

    def beat_node(self, node: str, roles: Iterable[str]) -> None:
        """Store a heartbeat of a worker of the node, for each of its roles."""
        roles = tuple(roles)
        if any(" " in role for role in roles):
            raise ValueError(f"a role is one word, not one of {roles!r}")
        self._call(self._scripts.beat_node, self._nodes, round(KNOWN_NODE_SECONDS * 1000), node, *roles)

    def nodes(self, max_age_seconds: float) -> list[Node]:
        """Return the nodes with a heartbeat within ``max_age_seconds`` and its roles, sorted by name."""
        reply = iter(self._call(self._scripts.nodes, self._nodes, round(max_age_seconds * 1000)))
        beats: dict[str, dict[str, float]] = {}
        for member, age_milliseconds in zip(reply, reply, strict=True):
            role, _, node = member.decode().partition(" ")
            beats.setdefault(node, {})[role] = age_milliseconds / 1000
        return [Node(name, ages) for name, ages in sorted(beats.items())]
