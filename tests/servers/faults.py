"""Faults that a wire server injects by rules, with a seeded random generator."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["status", "slow", "hang", "reset", "truncate", "trickle", "flip", "flip_upload", "lose_reply"]


@dataclass(frozen=True, slots=True)
class WireFault:
    """A fault of one request.

    ``status`` answers with that status and does nothing; ``slow`` answers late; ``hang`` sends no answer and closes the
    connection after ``seconds``; ``reset`` closes it at once; ``truncate`` announces the whole body and sends half;
    ``trickle`` sends a byte every ``seconds``; ``flip`` flips one bit of the body, ``flip_upload`` one of the request's
    body; ``lose_reply`` performs the request, then closes the connection without an answer.
    """

    kind: Kind
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)  # such as Retry-After
    seconds: float = 0.0
    body: bytes = field(default=b"injected by a fault rule", repr=False)  # of ``status``


@dataclass(slots=True)
class Rule:
    """Injects ``fault`` into requests whose ``"METHOD target"`` contains the pattern (a regular expression)."""

    fault: WireFault
    pattern: str = ""
    probability: float = 1.0
    times: int | None = None  # at most
    skip: int = 0  # so many matching requests succeed first
    seen: int = 0
    injected: int = 0


class Faults:
    """Rules in order; the first that applies decides. Thread-safe; repeatable for one seed and order of requests."""

    def __init__(self, *rules: Rule, seed: int = 0) -> None:
        self._rules = list(rules)
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def add(self, rule: Rule) -> None:
        """Append a rule."""
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            self._rules.clear()

    def injected(self) -> int:
        """Return the number of requests into which the present rules injected a fault."""
        with self._lock:
            return sum(rule.injected for rule in self._rules)

    def draw(self, method: str, target: str) -> WireFault | None:
        """Return the fault for this request, if any."""
        with self._lock:
            return next((rule.fault for rule in self._rules if self._applies(rule, f"{method} {target}")), None)

    def _applies(self, rule: Rule, request: str) -> bool:
        if not re.search(rule.pattern, request) or rule.times == rule.injected:
            return False
        rule.seen += 1
        if rule.seen <= rule.skip or self._random.random() >= rule.probability:
            return False
        rule.injected += 1
        return True


def damage(body: bytes, fault: WireFault | None) -> bytes:
    """Return the body as it is sent."""
    if fault is None or not body:
        return body
    if fault.kind == "truncate":
        return body[: len(body) // 2]
    return flipped(body) if fault.kind == "flip" else body


def flipped(body: bytes) -> bytes:
    """Return the body with one bit flipped."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :] if body else body
