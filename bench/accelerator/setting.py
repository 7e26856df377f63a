"""Parameters of all sections, and rows of their results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch

from bench.accelerator.clock import Deadline
from bench.accelerator.encoder import Shape

Figures = Mapping[str, float | int | str]
TERA = 1e12


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A line of a section's table."""

    case: str
    figures: Figures


@dataclass(slots=True)
class BenchSetting:
    """The device, the model, the time limits, and results of earlier sections."""

    device: torch.device
    shape: Shape
    batch_sizes: tuple[int, ...]
    seconds: float  # of one measurement
    deadline: Deadline  # of the section
    gemm_tflops: float | None = None  # measured by the first section
    peak_tflops: float | None = None  # stated by the maker, dense
    best_attention: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def has_gpu(self) -> bool:
        """True when the device is a CUDA GPU."""
        return self.device.type == "cuda"

    @property
    def dtype(self) -> torch.dtype:
        """The number format of production on this device."""
        return torch.float16 if self.has_gpu else torch.float32

    def rates(self, clips_per_second: float) -> dict[str, float]:
        """Convert clips per second to TFLOP/s, and to shares of the measured and the stated limit."""
        tflops = clips_per_second * self.shape.flop / TERA
        found = {"TFLOP/s": tflops}
        if self.gemm_tflops:
            found["% of GEMM"] = 100 * tflops / self.gemm_tflops
        if self.peak_tflops:
            found["% of peak"] = 100 * tflops / self.peak_tflops
        return found


Trial = tuple[str, Callable[[], Figures]]
Section = Callable[[BenchSetting], Iterator[FigureRow]]


def attempt(setting: BenchSetting, case: str, run: Callable[[], Figures]) -> FigureRow:
    """Run a measurement; if it fails or no time is left, the row holds the reason instead of figures."""
    if setting.deadline.has_passed:
        return FigureRow(case, {"not run": "no time left"})
    try:
        return FigureRow(case, run())
    except (RuntimeError, NotImplementedError) as error:  # no memory, kernel or compiler: reported in the row
        return FigureRow(case, {"failed": first_line(error)})


def first_line(error: BaseException) -> str:
    """Format an error as one short line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
