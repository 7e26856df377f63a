"""Trying again: how a download is cut and repeated, and the waits between attempts."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from storage.errors import ObjectCorrupt, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """How an object is fetched: up to ``parallel_parts`` ranges at once, each tried ``attempts`` times."""

    parallel_parts: int = 16
    part_bytes: int = 8 << 20
    attempts: int = 5
    first_wait_seconds: float = 0.5  # before the second attempt; doubles, and is shortened by up to half at random
    longest_wait_seconds: float = 15.0

    def wait_seconds(self, attempt: int) -> float:
        """The wait after failed attempt number ``attempt``, from 1 on."""
        ceiling = min(self.longest_wait_seconds, self.first_wait_seconds * 2.0 ** (attempt - 1))
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads retries, guards no secret


def retrying(call: Callable[[], T], plan: DownloadPlan, what: str, wait: Callable[[float], object]) -> T:
    """Call until it succeeds; what the last attempt meets is raised, and at once what no attempt will change."""
    for attempt in count(1):
        try:
            return call()
        except (Unavailable, ObjectCorrupt) as error:
            if attempt >= plan.attempts:
                raise
            seconds = plan.wait_seconds(attempt)
            log.warning("%s failed (attempt %d), again in %.1f s: %s", what, attempt, seconds, error)
            wait(seconds)
    raise AssertionError  # count never ends
