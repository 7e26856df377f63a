"""Pool of warm instances, each lent to one thread at a time, for models that are not thread-safe."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from inference.errors import PoolTimeout

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PoolCounters:
    """Use of the instances of one name."""

    instances: int
    in_use: int
    waiting: int
    lent: int  # since the start
    timeouts: int  # since the start
    waited_seconds: float  # since the start, all borrowers together


class Pool(Generic[T]):
    """Named groups of instances. Borrowers of a name are served in the order of their calls."""

    def __init__(self, instances: Mapping[str, Sequence[T]]) -> None:
        self._shelves = {name: _Shelf(name, group) for name, group in instances.items()}

    @contextmanager
    def acquire(self, name: str, timeout_seconds: float = 300) -> Iterator[T]:
        """Lend an instance of ``name`` for the block; it is put back also when the block raises.

        Raises:
            KeyError: the pool has no such name.
            PoolTimeout: none became free in time.
        """
        shelf = self._shelves[name]
        instance = shelf.take(timeout_seconds)
        try:
            yield instance
        finally:
            shelf.put_back(instance)

    def instances(self, name: str) -> tuple[T, ...]:
        """Every instance of ``name``, lent or not; for warming up."""
        return self._shelves[name].instances

    def counters(self) -> dict[str, PoolCounters]:
        """Name -> its current counters."""
        return {name: shelf.counters() for name, shelf in self._shelves.items()}


class _Shelf(Generic[T]):
    """The instances of one name, and the queue for them."""

    def __init__(self, name: str, instances: Sequence[T]) -> None:
        if not instances:
            raise ValueError(f"pool {name} has no instance; give it at least one")
        self.instances = tuple(instances)
        self._name = name
        self._free = deque(instances)
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()
        self._lent = 0
        self._timeouts = 0
        self._waited_seconds = 0.0

    def take(self, timeout_seconds: float) -> T:
        ticket, begin = object(), time.monotonic()
        with self._changed:
            self._queue.append(ticket)
            try:
                is_served = self._changed.wait_for(lambda: self._is_next(ticket), timeout_seconds)
            finally:  # also when the wait is interrupted: a ticket that stays would block all later ones
                self._queue.remove(ticket)
                self._waited_seconds += time.monotonic() - begin
                self._changed.notify_all()
            if not is_served:
                self._timeouts += 1
                raise PoolTimeout(
                    f"no {self._name} became free in {timeout_seconds} s ({len(self.instances)} in all); "
                    "retry, or open more instances"
                )
            self._lent += 1
            return self._free.popleft()

    def put_back(self, instance: T) -> None:
        with self._changed:
            self._free.append(instance)
            self._changed.notify_all()

    def counters(self) -> PoolCounters:
        with self._changed:
            in_use = len(self.instances) - len(self._free)
            return PoolCounters(
                len(self.instances), in_use, len(self._queue), self._lent, self._timeouts, self._waited_seconds
            )

    def _is_next(self, ticket: object) -> bool:
        return bool(self._free) and self._queue[0] is ticket
