"""Try the changes that could shorten a run's longest stage, each for a few steps, and say what each brought."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from inference.errors import ProfilingError
from inference.profiling.figures.statistics import typical
from inference.profiling.figures.verdict import Bound
from inference.profiling.options import PrepLevel, ProfileOptions, check_machine, has_gpu
from inference.profiling.run import open_work
from inference.profiling.steps.steps import StepPhase, run_steps

TRIAL_STEPS, TRIAL_WARMUP = 15, 2

Changes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tried:
    """A change and the milliseconds a sample of a step with it; ``refusal`` says why it could not be tried."""

    name: str
    before_ms: float = 0.0
    with_ms: float = 0.0
    refusal: str = ""

    def __str__(self) -> str:
        if self.refusal:
            return f"{self.name}: not tried ({self.refusal})"
        change = self.with_ms / self.before_ms - 1
        return f"{self.name}: {change:+.0%} of a step ({self.before_ms:.2f} → {self.with_ms:.2f} ms a sample)"


def advise(options: ProfileOptions, bound: Bound) -> Iterator[Tried]:
    """Yield each change that answers ``bound``, tried by turns with the unchanged run on this machine."""
    plain = replace(options, repeats=1, warmup_steps=TRIAL_WARMUP, max_steps=min(options.max_steps, TRIAL_STEPS))
    for name, changes in candidates(options, bound).items():
        changed = replace(plain, **changes)
        try:
            check_machine(changed, has_gpu=has_gpu())
            yield Tried(name, _sample_ms(plain), _sample_ms(changed))
        except (ProfilingError, RuntimeError) as error:  # CUDA's out-of-memory error is a RuntimeError
            yield Tried(name, refusal=str(error).splitlines()[0])


def candidates(options: ProfileOptions, bound: Bound) -> dict[str, Changes]:
    """Changes that could help against ``bound`` and are not made yet, by the flags that make them."""
    doubled = 2 * options.batch_size
    flags: dict[str, Changes] = {
        f"--batch-size {doubled}": {"batch_size": doubled},
        "--read-ahead": {"read_ahead": True},
        "--use-amp": {"use_amp": True},
        "--enable-compile": {"enable_compile": True},
        "--prep-on-gpu": {"prep_on_gpu": True},
        "--prep-level simple": {"prep_level": PrepLevel.SIMPLE},
        "--infer-on-gpu": {"infer_on_gpu": True},
    }
    batch, ahead, amp, compiled, prep_on_gpu, simple, infer_on_gpu = flags
    answers = {
        Bound.READ: (ahead,),
        Bound.PREP: (prep_on_gpu, simple, ahead),
        Bound.TRANSFER: (prep_on_gpu, amp),
        Bound.LAUNCH: (batch, compiled) if options.infer_on_gpu else (batch,),  # on a CPU it compiles for minutes
        Bound.COMPUTE: (infer_on_gpu, amp, batch),
        Bound.CONTENDED: (),  # other processes are the cause: no flag of ours removes them
    }
    wanted = {name: flags[name] for name in answers[bound]}
    return {name: changes for name, changes in wanted.items() if _is_new(options, changes)}


def _is_new(options: ProfileOptions, changes: Changes) -> bool:
    return any(getattr(options, name) != value for name, value in changes.items())


def _sample_ms(options: ProfileOptions) -> float:
    """Median milliseconds a sample of a steady step, with the gap after it."""
    with open_work(options) as work:
        steps = list(run_steps(work, options.warmup_steps, options.max_steps))
    steady = [one.total_ms for one in steps if one.phase is StepPhase.STEADY] or [one.total_ms for one in steps]
    return typical(steady) / options.batch_size
