"""Errors of judging a video, in two kinds: try again, or record the error as the row's result.

InferenceError
├── Transient            retry: another worker, or this one later, may succeed
│   ├── PoolTimeout      no warm model became free in time
│   └── DeviceLost       the accelerator failed during the work
├── BadVideo             record: the file itself is the reason (see ``code``)
├── ManifestError        tell the operator: the manifest or a checkpoint is wrong
├── ProfilingError       tell the operator: a profile cannot be made as asked
└── TrainingError        tell the operator: nothing can be trained from these rows or options

``code`` is stable: it stands in ``result_info.error.code`` and in ``tamis retry --reason``.
"""

from __future__ import annotations

from enum import StrEnum


class VideoFault(StrEnum):
    """Reasons why a video cannot be judged, each with a stable code."""

    NOT_A_VIDEO = "not_a_video"  # no container or no video stream
    UNSUPPORTED = "unsupported_video"  # sound, but this decoder cannot read it correctly; another may
    CORRUPT = "corrupt_video"  # damaged beyond the tolerated share of frames
    NO_FRAMES = "no_frames"  # opens, but yields nothing
    TOO_LONG = "video_too_long"  # over the limit in seconds or in decoded bytes
    TOO_LARGE = "picture_too_large"  # over the limit in pixels
    DECODE_TIMEOUT = "decode_timeout"  # the decoder child passed its deadline and was killed
    DECODE_CRASHED = "decode_crashed"  # the decoder child died twice on these bytes
    DECODE_MEMORY = "decode_out_of_memory"  # the decoder child hit its memory limit
    CROP_FAILED = "crop_failed"  # the crop could not be encoded
    CROP_TIMEOUT = "crop_timeout"  # the child passed the crop's deadline and was killed
    SCORES_NOT_FINITE = "scores_not_finite"  # a model returned NaN or Inf


class InferenceError(Exception):
    """Base class of every error of judging."""

    code: str = "inference_error"


class Transient(InferenceError):
    """A failure that the video did not cause. Retry with back-off."""

    code: str = "inference_unavailable"


class PoolTimeout(Transient):
    """No warm model became free within the timeout."""

    code: str = "pool_timeout"


class DeviceLost(Transient):
    """The accelerator failed; the process must be restarted before it can work again."""

    code: str = "device_lost"


class BadVideo(InferenceError):
    """A file that cannot be judged; another attempt would give the same answer."""

    def __init__(self, fault: VideoFault, message: str) -> None:
        super().__init__(message)
        self.code = fault.value

    def __reduce__(self) -> tuple[type[BadVideo], tuple[VideoFault, str]]:
        """Pickle with both arguments: a pool of processes sends errors pickled; one that cannot be read hangs it."""
        return type(self), (VideoFault(self.code), str(self))


class ManifestError(InferenceError):
    """A wrong manifest or checkpoint; the message names the value and the remedy."""

    code: str = "manifest"


class ProfilingError(InferenceError):
    """A profile or an annotation cannot be made as asked: the message names the value and the remedy."""

    code: str = "profiling"


class TrainingError(InferenceError):
    """A head cannot be trained as asked: the message names the value and the remedy."""

    code: str = "training"
