"""The time of an extraction in words: four sums, shares of the wall clock, and the verdict. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from inference.features.work_clock import Activity

SLIGHT_SHARE = 0.1  # a wait below this share of the wall clock is no bottleneck
MORE_CORES = 2  # that the verdict reckons with


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The time of all processes of an extraction."""

    clips: int  # extracted; those whose features were there are not counted
    processes: int
    decoder_processes: int  # of all processes together
    wall_seconds: Mapping[str, float]  # by activity, the processes' clocks added
    thread_seconds: Mapping[str, float]  # by activity, the processes' threads added

    @property
    def total_seconds(self) -> float:
        """Mean wall-clock time of a process."""
        return sum(self.wall_seconds.values()) / max(1, self.processes)

    def seconds(self, *activities: Activity) -> float:
        """Mean wall-clock time of a process in which the run waited for these activities."""
        return sum(self.wall_seconds.get(one.value, 0.0) for one in activities) / max(1, self.processes)

    def share(self, *activities: Activity) -> float:
        """Share of the wall clock; the shares of all activities add up to 1."""
        return self.seconds(*activities) / self.total_seconds if self.total_seconds > 0 else 0.0


def lines(spent: Spent) -> Iterator[str]:
    """Yield the four sums, the shares of the wall clock, and the verdict."""
    preparation = spent.seconds(Activity.READ, Activity.DECODE, Activity.UPLOAD)
    yield f"data preparation    {preparation:9.2f} s"
    yield f"feature extraction  {spent.seconds(Activity.FORWARD):9.2f} s"
    yield f"saving              {spent.seconds(Activity.SAVE):9.2f} s"
    yield f"total               {spent.total_seconds:9.2f} s"
    parts = ", ".join(f"{one.value} {spent.share(one):.1%}" for one in Activity)
    yield f"of the wall clock: {parts}"
    yield verdict(spent)


def verdict(spent: Spent) -> str:
    """Name what the run waited for most, and what would shorten it."""
    waits = {one: spent.share(one) for one in (Activity.READ, Activity.DECODE, Activity.UPLOAD, Activity.SAVE)}
    worst, starting = max(waits, key=lambda one: waits[one]), spent.share(Activity.START, Activity.OTHER)
    if not spent.clips:
        return "nothing was extracted: every feature was there"
    if starting > SLIGHT_SHARE and starting >= max(waits[worst], spent.share(Activity.FORWARD)):
        return f"too short to judge: starting took {starting:.0%} of the time"
    if waits[worst] < SLIGHT_SHARE:
        return f"compute-bound: the encoder ran {spent.share(Activity.FORWARD):.0%} of the time"
    if worst is Activity.DECODE:
        return _decode_bound(spent)
    return f"{worst.value}-bound: the encoder waited {waits[worst]:.0%} of the time for it"


def _decode_bound(spent: Spent) -> str:
    """Reckon with decoding that scales with the number of decoder processes, and with everything else unchanged."""
    more = MORE_CORES * spent.processes
    saved = spent.seconds(Activity.DECODE) * more / (spent.decoder_processes + more)
    shorter = spent.total_seconds - saved
    return (
        f"decode-bound: the encoder waited {spent.share(Activity.DECODE):.0%} of the time for frames; "
        f"{MORE_CORES} more cores for decoding would give {spent.clips / shorter:.1f} clips/s "
        f"instead of {spent.clips / spent.total_seconds:.1f}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedFacts:
    """Facts about an extraction for the checklist."""

    batches: int  # handed to the device
    is_gpu: bool
    precision: str
    is_compiled: bool
    forward_clips: int
    devices: int
    decoder_threads: int


def checklist(spent: Spent, facts: SpeedFacts) -> Iterator[str]:
    """Yield the points that make an extraction fast, each answered by what was measured or done here."""
    decoding = spent.thread_seconds.get(Activity.DECODE.value, 0.0)
    hidden = 1 - spent.seconds(Activity.DECODE) * spent.processes / decoding if decoding > 0 else 0.0
    saving, batches = spent.share(Activity.SAVE), max(1, facts.batches)
    points = (
        (spent.clips > batches, f"clips share batches: {spent.clips / batches:.1f} a batch"),
        (hidden > SLIGHT_SHARE, f"decoding beside the encoder: {hidden:.0%} of its time costs no wall clock"),
        (facts.decoder_threads > 1, f"several videos at once: {facts.decoder_threads} in each process"),
        (facts.devices > 1, f"several devices: {facts.devices}"),
        (facts.is_gpu, f"pinned memory and copies without waiting: {'used' if facts.is_gpu else 'no GPU here'}"),
        (facts.precision != "float32", f"faster arithmetic: {facts.precision}"),
        (facts.is_compiled, f"torch.compile: {'asked for' if facts.is_compiled else 'not asked for'}"),
        (facts.forward_clips > 1, f"clips in one forward pass: {facts.forward_clips}"),
        (saving < SLIGHT_SHARE, f"saving: {saving:.1%} of the wall clock"),
    )
    for is_so, text in points:
        yield f"[{'x' if is_so else ' '}] {text}"
