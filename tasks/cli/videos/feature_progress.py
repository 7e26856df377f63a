"""The progress of an extraction on a terminal, and its summary."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from inference.features.explain import SpeedFacts, Spent, lines
from inference.features.work_clock import Activity, add_up
from storage.features.cache import CacheCounters
from storage.features.index import INDEX_NAME, read_index
from tasks.cli.run.progress import Rate, clock
from tasks.cli.terminal.data_table import print_line
from tasks.extraction.order import ExtractionOrder
from tasks.extraction.processes import RunProgress
from tasks.extraction.share import Outcome, ShareProgress

SHOWN_FAILURES = 20  # more are counted; the index names them all


def show(observed: Iterator[RunProgress], order: ExtractionOrder, console: Console) -> RunProgress:
    """Show the progress, as a bar where there is a terminal; return the last of it."""
    latest, rate, is_opened = RunProgress(), Rate(), False
    sizes = {video.name: video.size_bytes for video in order.videos}
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("starting", total=len(order.videos))
        for latest in observed:
            openings = [one.opening for one in latest.shares if one.opening]
            if openings and not is_opened:
                is_opened = True
                print_line(console, openings[0])
            finished_bytes = sum(sizes[name] for name in latest.outcomes)
            rate.observe(time.monotonic(), finished_bytes)
            text = progress_text(latest.shares, rate, sum(sizes.values()) - finished_bytes)
            bars.update(bar, completed=len(latest.outcomes), description=text)
    return latest


def progress_text(shares: Sequence[ShareProgress], rate: Rate, left_bytes: int) -> str:
    """Return ``12.3 clips/s, 0:12 left, device busy 80 %, waits for decode``."""
    wall = add_up([one.wall_seconds for one in shares])
    total_seconds, clips = sum(wall.values()), sum(one.clips for one in shares)
    if not clips or total_seconds <= 0:
        return "starting"
    busy = (wall[Activity.FORWARD] + wall[Activity.UPLOAD]) / total_seconds
    waits = max((one for one in Activity if one is not Activity.FORWARD), key=lambda one: wall[one])
    left = f"{clock(left_bytes / rate.rows_per_second)} left" if rate.rows_per_second > 0 else "time left unknown"
    clips_per_second = clips * len(shares) / total_seconds
    return f"{clips_per_second:.1f} clips/s, {left}, device busy {busy:.0%}, waits for {waits.value}"


def summary(done: RunProgress, order: ExtractionOrder, decoders: int) -> Iterator[str]:
    """Yield the result in lines: failures, where the time went, and the line that must add up."""
    if done.count(Outcome.FAILED):
        yield from _failures(done, order.save_path)
    spent = spent_on(done, decoders)
    yield from lines(spent)
    if cached := [one.cache for one in done.shares if one.cache is not None]:
        yield cache_text(cached)
    parts = " + ".join(f"{one.value} {done.count(one)}" for one in (Outcome.EXTRACTED, Outcome.SKIPPED, Outcome.FAILED))
    yield f"videos {len(order.videos)} = {parts}"
    yield f"features: {order.save_path}, index {order.save_path / INDEX_NAME}"


def spent_on(done: RunProgress, decoders: int) -> Spent:
    """Return the time of all processes; ``decoders`` is their number of decoder processes together."""
    return Spent(
        clips=sum(one.clips for one in done.shares),
        processes=len(done.shares),
        decoder_processes=decoders,
        wall_seconds=add_up([one.wall_seconds for one in done.shares]),
        thread_seconds=add_up([one.thread_seconds for one in done.shares]),
    )


def facts_of(done: RunProgress, order: ExtractionOrder, devices: Sequence[str]) -> SpeedFacts:
    """Return the facts that the checklist is answered from."""
    plan = next((one.plan for one in done.shares if one.plan is not None), None)
    return SpeedFacts(
        batches=sum(one.batches for one in done.shares),
        is_gpu=any(device.startswith("cuda") for device in devices),
        precision=plan.precision if plan else order.options.precision,
        is_compiled=order.is_compiled,
        forward_clips=plan.forward_clips if plan else 0,
        devices=len(set(devices)),
        decoder_threads=order.decoder_threads,
    )


def cache_text(counters: Sequence[CacheCounters]) -> str:
    """Return ``cache: 5 of 6 videos (0.2 MB), 12.3 s of work saved``, and the errors if there were any."""
    hits = sum(one.hits for one in counters)
    asked = hits + sum(one.misses for one in counters)
    megabytes, seconds = sum(one.hit_bytes for one in counters) / 1e6, sum(one.saved_seconds for one in counters)
    errors = sum(one.errors for one in counters)
    trouble = f"; {errors} calls failed, and nothing was lost by it" if errors else ""
    return f"cache: {hits} of {asked} videos ({megabytes:.1f} MB), {seconds:.1f} s of work saved{trouble}"


def _failures(done: RunProgress, root: Path) -> Iterator[str]:
    failed = [row for row in read_index(root) if done.outcomes.get(row["video"]) is Outcome.FAILED]
    for row in failed[:SHOWN_FAILURES]:
        yield f"failed: {row['video']}: {row['code']}: {row['message']}"
    if len(failed) > SHOWN_FAILURES:
        yield f"and {len(failed) - SHOWN_FAILURES} more, in the index"
