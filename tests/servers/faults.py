"""Faults that a wire server injects by rule, drawn from a seeded generator."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["status", "slow", "hang", "reset", "truncate", "flip", "flip_upload", "lose_reply"]


@dataclass(frozen=True, slots=True)
class WireFault:
    """What goes wrong.

    ``status`` answers with that status and does nothing; ``slow`` answers late; ``hang`` answers never and hangs up
    after ``seconds``; ``reset`` hangs up at once; ``truncate`` promises the whole body and sends half; ``flip`` turns
    one bit of the body, ``flip_upload`` one of the request's; ``lose_reply`` does what was asked, then hangs up without
    a word.
    """

    kind: Kind
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)  # such as Retry-After
    seconds: float = 0.0
    body: bytes = field(default=b"injected by a fault rule", repr=False)  # of ``status``


@dataclass(slots=True)
class Rule:
    """``fault`` befalls requests whose ``"METHOD target"`` the pattern is found in."""

    fault: WireFault
    pattern: str = ""
    probability: float = 1.0
    times: int | None = None  # how often at most
    skip: int = 0  # so many matching requests go well first
    seen: int = 0
    injected: int = 0


class Faults:
    """The first rule that strikes decides. Thread-safe, and repeatable for one seed and order of requests."""

    def __init__(self, *rules: Rule, seed: int = 0) -> None:
        self._rules = list(rules)
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def add(self, rule: Rule) -> None:
        """Put a rule after those there are."""
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        """Let everything go well from now on."""
        with self._lock:
            self._rules.clear()

    def injected(self) -> int:
        """How many requests the present rules have injected."""
        with self._lock:
            return sum(rule.injected for rule in self._rules)

    def draw(self, method: str, target: str) -> WireFault | None:
        """The fault for this request, if any."""
        with self._lock:
            return next((rule.fault for rule in self._rules if self._strikes(rule, f"{method} {target}")), None)

    def _strikes(self, rule: Rule, request: str) -> bool:
        if not re.search(rule.pattern, request) or rule.times == rule.injected:
            return False
        rule.seen += 1
        if rule.seen <= rule.skip or self._random.random() >= rule.probability:
            return False
        rule.injected += 1
        return True


def damage(body: bytes, fault: WireFault | None) -> bytes:
    """The body as it is sent."""
    if fault is None or not body:
        return body
    if fault.kind == "truncate":
        return body[: len(body) // 2]
    return flipped(body) if fault.kind == "flip" else body


def flipped(body: bytes) -> bytes:
    """The body with one bit turned."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :] if body else body
