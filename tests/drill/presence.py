"""When no worker of a role was at work: then nobody could begin its steps, however soon they were delivered again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tests.drill.fleet import Fleet
from tests.drill.redelivery import Absence

STEPS_OF = {"io": "download ", "gpu0": "infer ", "results": "write "}


@dataclass
class Presence:
    """Looks whether each role has a worker, and notes for how long it had none."""

    fleet: Fleet
    absences: list[Absence] = field(default_factory=list)
    _since: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        """Note what changed since the last look."""
        now = time.monotonic()
        for role, steps in STEPS_OF.items():
            if not self.fleet.targets(role):
                self._since.setdefault(role, now)
            elif role in self._since:
                self.absences.append(Absence(self._since.pop(role), now, steps))
