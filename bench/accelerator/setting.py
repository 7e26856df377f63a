"""What every section is told, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch

from bench.accelerator.clock import Deadline
from bench.accelerator.encoder import Shape

Figures = Mapping[str, float | int | str]
TERA = 1e12


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a section's table."""

    case: str
    figures: Figures


@dataclass(slots=True)
class Setting:
    """The machine, the model, how long one measurement takes, and what earlier sections found."""

    device: torch.device
    shape: Shape
    batch_sizes: tuple[int, ...]
    seconds: float  # of one measurement
    deadline: Deadline  # of the section
    gemm_tflops: float | None = None  # what the first section measured
    peak_tflops: float | None = None  # what the maker states, dense
    best_attention: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def has_gpu(self) -> bool:
        """Whether the device is a CUDA GPU."""
        return self.device.type == "cuda"

    @property
    def dtype(self) -> torch.dtype:
        """The number format of production on this device."""
        return torch.float16 if self.has_gpu else torch.float32

    def rates(self, clips_per_second: float) -> dict[str, float]:
        """Clips a second as TFLOP/s, and as shares of what was measured and of what is stated."""
        tflops = clips_per_second * self.shape.flop / TERA
        found = {"TFLOP/s": tflops}
        if self.gemm_tflops:
            found["% of GEMM"] = 100 * tflops / self.gemm_tflops
        if self.peak_tflops:
            found["% of peak"] = 100 * tflops / self.peak_tflops
        return found


Trial = tuple[str, Callable[[], Figures]]
Section = Callable[[Setting], Iterator[Row]]


def attempt(setting: Setting, case: str, run: Callable[[], Figures]) -> Row:
    """Run one measurement; what it lacks (time, memory, a kernel) stands in its row instead of figures."""
    if setting.deadline.has_passed:
        return Row(case, {"not run": "no time left"})
    try:
        return Row(case, run())
    except (RuntimeError, NotImplementedError) as error:  # no memory, no such kernel, no compiler: told, not fatal
        return Row(case, {"failed": first_line(error)})


def first_line(error: BaseException) -> str:
    """An error in one short line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
