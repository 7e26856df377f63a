"""Options of an extraction as an operator states them, and the plan that they and an encoder make. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inference.errors import ManifestError
from inference.features.plan import FeaturePlan, Pooling, decoder_version
from inference.manifest.preprocessing import Preprocessing
from inference.types import Fit, PictureSpec, Scope

GPU_FORWARD_CLIPS = 8  # 12,544 tokens of a ViT at 16 x 224 x 224: enough for every unit of the largest GPUs
CPU_FORWARD_CLIPS = 1  # larger batches are not faster on a CPU
BATCH_BY_HEIGHT = ((360, 64), (720, 32), (1080, 16))  # clips gathered at once, by the height of their pictures
SMALLEST_BATCH = 4  # for pictures above that: 4K


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """Options; None takes what the encoder's checkpoint states.

    A filter of a manifest has no options but its scope: other ones beside it raise ManifestError.
    """

    scope: Scope = Scope.SLIDING
    window_seconds: float = 4.0  # WINDOWS only
    overlap_seconds: float = 1.0  # WINDOWS only
    num_frames: int | None = None
    size: int | None = None  # pixels, both sides
    fit: Fit | None = None
    stride_frames: int | None = None  # None: as many as the frames of a clip, so that clips do not overlap
    frame_step: int = 1
    pooling: Pooling | None = None  # None: MEAN, and of a filter's clips ALL
    precision: str = "auto"
    dtype: str = "float32"
    forward_clips: int | None = None
    decoder: str = "pyav"

    def __post_init__(self) -> None:
        if self.scope is not Scope.SLIDING:
            given = {
                "--num_frames": self.num_frames,
                "--size": self.size,
                "--fit": self.fit,
                "--stride": self.stride_frames,
                "--frame_step": self.frame_step if self.frame_step != 1 else None,
            }
            if stated := [f"{name} {value}" for name, value in given.items() if value is not None]:
                raise ManifestError(
                    f"--scope {self.scope} takes the frames that a filter sees, as the encoder's manifest states "
                    f"them: leave {', '.join(stated)} out"
                )
        if not 0 <= self.overlap_seconds < self.window_seconds:
            raise ManifestError(
                f"--overlap_seconds {self.overlap_seconds:g} must be below --window_seconds {self.window_seconds:g}"
            )

    def plan(self, own: Preprocessing, *, precision: str, is_gpu: bool) -> FeaturePlan:
        """Return the plan for an encoder whose checkpoint states ``own``."""
        size = self.size or own.picture.height
        fit = self.fit or own.picture.fit
        edge = own.picture.shortest_edge if size == own.picture.height else size
        picture = PictureSpec(size, size, fit, edge if fit is Fit.CENTRE_CROP else None)
        num_frames = self.num_frames or own.num_frames
        return FeaturePlan(
            preprocessing=replace(own, num_frames=num_frames, picture=picture),
            scope=self.scope,
            window_seconds=self.window_seconds,
            overlap_seconds=self.overlap_seconds,
            stride_frames=self.stride_frames or num_frames * self.frame_step,
            frame_step=self.frame_step,
            pooling=self.pooling or (Pooling.MEAN if self.scope is Scope.SLIDING else Pooling.ALL),
            precision=precision,
            dtype=self.dtype,
            forward_clips=self.forward_clips
            or (min(GPU_FORWARD_CLIPS, first_batch(size)) if is_gpu else CPU_FORWARD_CLIPS),
            decoder=self.decoder,
            decoder_version=decoder_version(self.decoder),
        )


def first_batch(height: int) -> int:
    """Return the number of clips that a batch starts with, by the height of their pictures in pixels.

    >>> [first_batch(height) for height in (224, 720, 1080, 2160)]
    [64, 32, 16, 4]
    """
    return next((clips for limit, clips in BATCH_BY_HEIGHT if height <= limit), SMALLEST_BATCH)
