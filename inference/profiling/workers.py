"""Several profiles at once, each on cores of its own, against each of them alone."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import yaml

from inference.errors import ProfilingError
from inference.profiling.child import failure, options_of, start_child
from inference.profiling.options import ProfileOptions, parse_cores
from inference.profiling.report.stored import load

COLUMNS = ("worker", "model", "cores", "alone_per_second", "together_per_second", "slow_down", "verdict_together")


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """One worker: samples a second alone and beside the others."""

    number: int
    options: ProfileOptions
    alone_per_second: float
    together_per_second: float
    verdict: str  # together

    @property
    def slow_down(self) -> float:
        """The factor by which it was slower beside the others."""
        return self.alone_per_second / self.together_per_second


def read_config(path: Path, cores: Sequence[int], manifest: str) -> tuple[ProfileOptions, ...]:
    """The workers of a YAML file: ``workers``, a list of options; ``defaults`` are options of all of them.

    Raises:
        ProfilingError: the file is no such list, an option is wrong, or two workers share a core.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ProfilingError(f"{path} cannot be read as YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict) or not isinstance(content.get("workers"), list) or not content["workers"]:
        raise ProfilingError(f"{path} names no workers: write `workers:` and a list of options (docs/profiling.md)")
    if unknown := set(content) - {"workers", "defaults"}:
        raise ProfilingError(f"{path}: {min(unknown)!r} is unknown beside workers and defaults")
    defaults = {"manifest": manifest, **(content.get("defaults") or {})}
    workers = tuple(options_of({**defaults, **one}) for one in content["workers"])
    _check_cores(workers, cores)
    return workers


def run_workers(
    workers: Sequence[ProfileOptions], directory: Path, say: Callable[[str], object] = lambda _line: None
) -> list[WorkerResult]:
    """Run each worker alone, then all of them together; write their files below ``directory`` and ``workers.csv``.

    Raises:
        ProfilingError: one of them failed.
    """
    alone = []
    for number, options in enumerate(workers):
        say(f"worker {number} ({options.model_name}) alone")
        alone += _measure({number: options}, directory / "alone")
    say(f"{len(workers)} workers together")
    together = _measure(dict(enumerate(workers)), directory / "together")
    results = [
        WorkerResult(number, workers[number], _rate(one), _rate(other), other["verdict"]["bound"])
        for number, (one, other) in enumerate(zip(alone, together, strict=True))
    ]
    _write(results, directory / "workers.csv")
    return results


def _check_cores(workers: Sequence[ProfileOptions], available: Sequence[int]) -> None:
    taken: dict[int, int] = {}
    for number, options in enumerate(workers):
        cores = parse_cores(options.core_bind, available)
        if cores is None and len(workers) > 1:
            raise ProfilingError(f"worker {number} has no cores of its own: give each a core_bind, as in 0-1")
        for core in cores or ():
            if core in taken:
                raise ProfilingError(
                    f"workers {taken[core]} and {number} share core {core}: give each cores of its own"
                )
            taken[core] = number


def _measure(workers: Mapping[int, ProfileOptions], directory: Path) -> list[dict[str, Any]]:
    """Run these workers at the same time, from the end of the slowest warm-up on; their stored summaries."""
    places = {number: directory / f"worker-{number}" for number in workers}
    with _children({places[number]: options for number, options in workers.items()}) as children:
        for child in children:
            if child.stdout is None or child.stdout.readline() != "ready\n":
                raise ProfilingError(_failed(child))
        for child in children:
            if child.stdin is not None:
                child.stdin.write("go\n")
                child.stdin.flush()
        for child in children:
            _, errors = child.communicate()
            if child.returncode:
                raise ProfilingError(failure(child.returncode, errors))
    return [load(next(place.glob("*_summary.json"))) for place in places.values()]


@contextmanager
def _children(workers: Mapping[Path, ProfileOptions]) -> Iterator[list[Popen[str]]]:
    """Started profiles, in directories without files of earlier ones; killed if the block ends before them."""
    children: list[Popen[str]] = []
    try:
        for place, options in workers.items():
            for old in place.glob("M_*_P_*"):
                old.unlink()
            children.append(start_child(options, place, is_together=True))
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _failed(child: Popen[str]) -> str:
    _, errors = child.communicate()
    return failure(child.returncode, errors)


def _rate(summary: Mapping[str, Any]) -> float:
    return float(summary["summary"]["samples_per_second"])


def _write(results: Sequence[WorkerResult], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for one in results:
            rates = [f"{value:.4f}" for value in (one.alone_per_second, one.together_per_second, one.slow_down)]
            lines.writerow([one.number, one.options.model_name, one.options.core_bind, *rates, one.verdict])
