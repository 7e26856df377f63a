"""The frames that one pass must pick, computed from a plan and a timeline. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from inference.decode.frames import sampling
from inference.decode.frames.timeline import Timeline
from inference.types import Clip, ClipRequest, DecodePlan, Indices, PictureSpec, Scope


@dataclass(frozen=True, slots=True)
class Selection:
    """The union of wanted frames per picture, and the clips whose indices point into it."""

    wanted: Mapping[PictureSpec, Indices]  # ascending and distinct, into the timeline
    clips: tuple[Clip, ...]


def select(plan: DecodePlan, timeline: Timeline) -> Selection:
    """Choose every clip's frames; clips of equal pictures share frames."""
    over_timeline = [clip for request in plan.requests for clip in _clips(request, timeline)]
    chosen: dict[PictureSpec, list[Indices]] = {}
    for clip in over_timeline:
        chosen.setdefault(clip.request.picture, []).append(clip.indices)
    wanted = {spec: np.unique(np.concatenate(parts)) for spec, parts in chosen.items()}
    clips = tuple(
        replace(clip, indices=np.searchsorted(wanted[clip.request.picture], clip.indices)) for clip in over_timeline
    )
    return Selection(wanted, clips)


def _clips(request: ClipRequest, timeline: Timeline) -> Iterator[Clip]:
    pts_seconds, duration_seconds = timeline.pts_seconds, timeline.duration_seconds
    if request.scope is Scope.WINDOWS:
        for start, end in sampling.windows(duration_seconds, request.window_seconds, request.overlap_seconds):
            yield Clip(request, start, end, sampling.window_frames(pts_seconds, start, end, request.num_frames))
    elif request.scope is Scope.SAMPLED:
        indices = sampling.sampled(pts_seconds, request.interval_seconds, request.num_frames)
        yield Clip(request, 0.0, duration_seconds, indices)
    elif request.scope is Scope.BURSTS:
        for indices in sampling.bursts(pts_seconds, request.num_frames, request.interval_seconds):
            yield Clip(request, float(pts_seconds[indices[0]]), float(pts_seconds[indices[-1]]), indices)
    elif request.scope is Scope.SLIDING:
        ends = np.append(pts_seconds[1:], duration_seconds)  # a frame is shown until the next one
        for indices in sampling.sliding(
            len(pts_seconds), request.num_frames, request.stride_frames, request.frame_step
        ):
            yield Clip(request, float(pts_seconds[indices[0]]), float(ends[indices[-1]]), indices)
    else:
        yield Clip(request, 0.0, duration_seconds, sampling.uniform(len(pts_seconds), request.num_frames))
