"""A lease in Redis that lets one process at a time check a source; it is renewed while its holder lives."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from redis.exceptions import LockError, RedisError
from redis.lock import Lock

from storage.ledger.scripts import answering
from tasks.ingest.journal import IngestJournal
from tasks.worker.ticker import start_ticker

log = logging.getLogger(__name__)

LEASE_SECONDS = 30.0  # a killed holder's source is checked again after this


@contextmanager
def leased(journal: IngestJournal, name: str, node: str, now: datetime) -> Iterator[str]:
    """Hold the source's lease for the block. Yield ``""``, or a text that names the other holder and its start.

    The lease only saves work. Without it nothing is lost or done twice: submitting the same run twice gives one run.
    """
    key = journal.lease_key(name)
    lock = Lock(journal.client, key, timeout=LEASE_SECONDS, thread_local=False)
    with answering(journal.client):
        is_ours = lock.acquire(blocking=False, token=f"{node}, pid {os.getpid()}, since {now:%Y-%m-%d %H:%M:%S} UTC")
    if not is_ours:
        with answering(journal.client):
            holder = journal.client.get(key)
        yield holder.decode() if isinstance(holder, bytes) else "a process that ended just now"
        return
    renewing = start_ticker(f"lease-{name}", LEASE_SECONDS / 3, lambda: _renew(lock, name))
    try:
        yield ""
    finally:
        renewing.set()
        with suppress(LockError, RedisError):  # it has expired, or it will
            lock.release()


def _renew(lock: Lock, name: str) -> None:
    try:
        lock.extend(LEASE_SECONDS, replace_ttl=True)
    except (LockError, RedisError) as error:
        log.warning("the lease of source %s was not renewed: %s", name, error)
