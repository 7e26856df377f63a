"""The stage that limits a run, the figures that say so, and what the next change could bring at best. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from inference.profiling.figures.summary import ProfileSummary

CONTENDED_SHARE = 0.3  # of a step without a core: above it every other figure is another process's doing too
FIXED_SHARE = 0.5  # of exec that a batch twice as large does not double
LAUNCH_SHARE = 0.9  # of exec on a GPU until the call returned: the device waits for the next kernel


class Bound(StrEnum):
    """The resource that a run waits for."""

    READ = "read-bound"
    PREP = "prep-bound"
    TRANSFER = "transfer-bound"
    LAUNCH = "launch-bound"
    COMPUTE = "compute-bound"
    CONTENDED = "contended"


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What limits the run. ``next_change`` names a change and its gain at best, computed and not tried."""

    bound: Bound
    evidence: tuple[str, ...]
    next_change: str


def judge(summary: ProfileSummary, fixed_share: float | None, *, is_gpu: bool) -> Bottleneck:
    """The verdict of a run.

    ``fixed_share`` is the part of exec that does not grow with the batch, from :func:`..probe.fixed_share`; None when
    it was not measured.
    """
    shares = {
        Bound.READ: summary.shares["read"] + summary.shares["wait"],
        Bound.PREP: summary.shares["prep"],
        Bound.TRANSFER: summary.shares["transfer"],
        Bound.COMPUTE: summary.shares["exec"],
    }
    shown = ", ".join(f"{name.value.removesuffix('-bound')} {share:.0%}" for name, share in shares.items())
    evidence = [f"of a step of {summary.stages['step'].mean:.2f} ms: {shown}".replace("compute", "exec")]
    if summary.preempted_share >= CONTENDED_SHARE:
        evidence.insert(0, f"for {summary.preempted_share:.0%} of a step this thread could run and had no core")
        gain = f"a core of its own takes up to {summary.preempted_share:.0%} off a step: --core-bind to free cores"
        return Bottleneck(Bound.CONTENDED, tuple(evidence), gain)
    largest = max(shares, key=lambda name: shares[name])
    if largest is Bound.COMPUTE:
        return _of_exec(summary, evidence, fixed_share, is_gpu=is_gpu)
    return Bottleneck(largest, tuple(evidence), _next_change(largest, shares))


def _of_exec(summary: ProfileSummary, evidence: list[str], fixed_share: float | None, *, is_gpu: bool) -> Bottleneck:
    exec_share = summary.shares["exec"]
    is_launching = is_gpu and summary.launch_share > LAUNCH_SHARE
    if is_gpu:
        evidence.append(f"the model's call returned after {summary.launch_share:.0%} of exec; the device did the rest")
    if fixed_share is not None:
        evidence.append(
            f"twice the batch takes {2 - fixed_share:.2f} times as long: {fixed_share:.0%} of exec is fixed"
        )
        is_launching |= fixed_share > FIXED_SHARE
    if is_launching:
        share = exec_share * (fixed_share or summary.launch_share) / 2
        return Bottleneck(Bound.LAUNCH, tuple(evidence), f"twice the batch: up to {-share:.0%} of a step per sample")
    rest = 1 - exec_share
    gain = f"a faster model or device: up to {-exec_share:.0%}; overlapping the other stages: at most {-rest:.0%}"
    return Bottleneck(Bound.COMPUTE, tuple(evidence), gain)


def _next_change(largest: Bound, shares: dict[Bound, float]) -> str:
    hidden = min(shares[largest], 1 - shares[largest])
    return {
        Bound.READ: f"--read-ahead hides the model's time behind reading: at most {-hidden:.0%} of a step",
        Bound.PREP: f"--prep-on-gpu or a simpler --prep-level: at most {-shares[largest]:.0%} of a step",
        Bound.TRANSFER: f"--prep-on-gpu sends bytes in place of floats: up to {-0.75 * shares[largest]:.0%} of a step",
    }[largest]
