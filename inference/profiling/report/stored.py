"""A run's figures as a file, and two runs side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inference.errors import ProfilingError
from inference.profiling.machine import Fingerprint
from inference.profiling.run import ProfileResult

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of an earlier run and of this one. ``change`` is relative: -0.38 is 38 % less."""

    name: str
    before: float
    now: float

    @property
    def change(self) -> float | None:
        """The change, or None from nothing."""
        return self.now / self.before - 1 if self.before else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side, and the conditions in which they differ."""

    stem: str  # of the earlier run
    figures: Sequence[Compared]
    differences: Mapping[str, tuple[str, str]]  # a condition -> before, now


def describe(result: ProfileResult) -> dict[str, Any]:
    """A run as JSON: everything but its single steps, which are in the CSV files."""
    return {
        "schema": SCHEMA,
        "stem": result.stem,
        "options": asdict(result.options),
        "machine": result.machine,
        "summary": asdict(result.summary),
        "verdict": asdict(result.verdict),
        "interrupted": result.is_interrupted,
        "outages_seconds": result.outages_seconds,
        "trace": str(result.trace_path) if result.trace_path else None,
    }


def store(result: ProfileResult, directory: Path) -> Path:
    """Write ``<stem>_summary.json``; return its path."""
    path = directory / f"{result.stem}_summary.json"
    path.write_text(json.dumps(describe(result), indent=1), encoding="utf-8")
    return path


def load(path: Path) -> dict[str, Any]:
    """A stored run, by its summary file.

    Raises:
        ProfilingError: the file is not one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProfilingError(
            f"{path} cannot be read ({error}): give the …_summary.json of an earlier profile"
        ) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ProfilingError(f"{path} is no profile of this release: give the …_summary.json of an earlier profile")
    return content


def compare(before: Mapping[str, Any], result: ProfileResult) -> Comparison:
    """This run against a stored one: per sample, so that runs of other batch sizes compare, too."""
    now = describe(result)
    figures = [Compared("samples/s", before["summary"]["samples_per_second"], now["summary"]["samples_per_second"])]
    for stage, distribution in now["summary"]["stages"].items():
        old_ms = before["summary"]["stages"][stage]["mean"] / before["options"]["batch_size"]
        new_ms = distribution["mean"] / now["options"]["batch_size"]
        figures.append(Compared(f"{stage}, ms a sample", old_ms, new_ms))
    return Comparison(before["stem"], figures, _differences(before, now))


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    machine: Fingerprint = now["machine"]
    conditions = {name: (before["machine"].get(name, "unknown"), value) for name, value in machine.items()}
    for name, value in json.loads(json.dumps(now["options"])).items():
        conditions[name] = (str(before["options"].get(name)), str(value))
    return {name: pair for name, pair in conditions.items() if pair[0] != pair[1]}
