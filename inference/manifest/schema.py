"""Schema of a manifest: backbones, heads, filters and detector, declared in TOML.

This module does not import torch: feed and io workers read the same manifest as GPU workers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from inference.manifest.fields import (
    Channels,
    Divisors,
    DtypeName,
    FrameCount,
    HelpText,
    Key,
    Label,
    Name,
    PictureSide,
    Sha256Pins,
    Share,
    StrictModel,
    Weights,
    check_distinct,
    duplicates,
)
from inference.manifest.signal_spec import SignalSpec
from inference.manifest.weights import Pins, check_pins, is_remote
from inference.signals.registry import REGION_LABELS
from inference.types import Fit, Scope


class PreprocessingSpec(StrictModel):
    """A backbone's input as the manifest states it; fields that the checkpoint records may be missing."""

    num_frames: FrameCount | None = None
    size: PictureSide | None = None  # pixels, both sides
    fit: Literal[Fit.SQUASH, Fit.CENTRE_CROP] | None = None
    shortest_edge: PictureSide | None = None  # pixels; centre_crop only
    mean: Channels | None = None  # RGB, of pictures scaled to [0, 1]
    std: Divisors | None = None


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """A reference to weights, and the place in the manifest that names it, such as ``heads.vfx``."""

    name: str
    weights: str
    sha256: Pins | None


class BackboneSpec(StrictModel):
    """A video encoder: its architecture, weights and input."""

    family: Name = "vjepa2"  # the Transformers model type
    config: dict[str, Any] = Field(default_factory=dict)  # of that model type
    weights: Weights
    sha256: Sha256Pins | None = None  # of the weights file
    dtype: DtypeName = "auto"  # auto: float16 on a GPU, float32 on a CPU
    preprocessing: PreprocessingSpec = PreprocessingSpec()


class HeadSpec(StrictModel):
    """A classifier on a backbone's tokens; a label's position is its class index."""

    backbone: Name
    kind: Literal["linear", "attentive", "upright"] = "linear"
    labels: Annotated[tuple[Label, ...], Field(min_length=2, max_length=1000), AfterValidator(check_distinct)]
    weights: Weights
    sha256: Sha256Pins | None = None
    depth: Annotated[int, Field(ge=1, le=16)] = 4  # attentive: depth - 1 self-attention blocks, one cross-attention
    num_attention_heads: Annotated[int, Field(ge=1, le=64)] = 12  # attentive
    unsure: tuple[Share, Share] | None = None  # probabilities of the first label between these are unsure

    @model_validator(mode="after")
    def _is_one_question(self) -> Self:
        if self.kind == "upright" and len(self.labels) != 2:
            raise ValueError(f"an upright head has two labels, turned and upright, not {len(self.labels)}")
        if self.unsure is not None and self.unsure[0] > self.unsure[1]:
            raise ValueError(f"unsure = {list(self.unsure)}: the first bound must not be above the second")
        return self


class OutputSpec(StrictModel):
    """A key of the output and the clips that are scored for it."""

    key: Key
    scope: Literal[Scope.WHOLE, Scope.WINDOWS]
    is_reversed: bool = False  # the clip's frames in reverse order
    window_seconds: Annotated[float, Field(gt=0, le=3600)] = 4.0
    overlap_seconds: Annotated[float, Field(ge=0)] = 1.0

    @model_validator(mode="after")
    def _windows_advance(self) -> Self:
        if self.overlap_seconds >= self.window_seconds:
            raise ValueError(
                f"overlap_seconds = {self.overlap_seconds} must be below window_seconds = {self.window_seconds}"
            )
        return self


class FilterSpec(StrictModel):
    """A filter: the switch that turns it on, its outputs, and what judges: a head, or signals."""

    name: Key
    switch: Key
    help: HelpText = ""  # of the switch, in `tamis sift --help`
    head: Name | None = None
    signal: SignalSpec | None = None
    outputs: Annotated[tuple[OutputSpec, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_one_judge(self) -> Self:
        if (self.head is None) == (self.signal is None):
            raise ValueError(f'filter {self.name} needs either head = "…" or signal = {{ name = "…" }}')
        if self.signal is not None and any(one.is_reversed for one in self.outputs):
            raise ValueError(f"filter {self.name}: signals are the same backwards; remove is_reversed")
        return self


class DetectorSpec(StrictModel):
    """The detector of abnormal regions and the frames it inspects: a YOLOv8, or signals, which need no weights."""

    kind: Literal["yolo", "signal"] = "yolo"
    name: Key = "abnormal_region"
    switch: Key = "abnormal_region_enable"
    help: HelpText = "Look for logos and borders."
    architecture: Annotated[str, Field(pattern=r"^yolov8[nsmlx]$")] = "yolov8n"
    labels: Annotated[tuple[Label, ...], Field(max_length=1000), AfterValidator(check_distinct)] = ()
    weights: Weights | Literal[""] = ""
    sha256: Sha256Pins | None = None
    dtype: DtypeName = "auto"
    size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] = 960  # pixels, both sides of the letterbox
    confidence: Share = 0.25  # the lowest score of a box
    iou: Share = 0.45  # boxes of one label that overlap more are merged
    max_boxes: Annotated[int, Field(ge=1, le=1000)] = 100  # per frame
    interval_seconds: Annotated[float, Field(gt=0)] = 1.0
    max_frames: Annotated[int, Field(ge=1, le=1024)] = 64
    instances: Annotated[int, Field(ge=1, le=16)] = 1  # warm copies lent to threads; on a CPU one per core or more
    is_record_only: bool = False  # record boxes, never crop
    min_frames: FrameCount = 3  # that must be inspected before a crop is made
    min_presence: Share = 0.6  # a region lasts when more than this share of the frames shows it
    min_crop_share: Share = 0.5  # of the picture; a smaller crop is not made
    crop_margin: Share = 0.005  # added around every region, as a share of the picture's longer side
    crop_labels: tuple[Label, ...] | None = None  # whose regions are cut off; default: all, of signals borders alone

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "signal" and (self.weights or self.labels or self.sha256):
            raise ValueError('a detector with kind = "signal" has no weights and no labels of its own: remove them')
        if self.kind == "yolo" and not (self.weights and self.labels):
            raise ValueError('a detector needs weights and labels, or kind = "signal"')
        if strangers := sorted(set(self.crop_labels or ()) - set(self.all_labels)):
            raise ValueError(f"crop_labels {', '.join(strangers)} are none of {', '.join(self.all_labels)}")
        return self

    @property
    def all_labels(self) -> tuple[Label, ...]:
        """The labels of its boxes."""
        return REGION_LABELS if self.kind == "signal" else self.labels

    @property
    def labels_to_crop(self) -> frozenset[Label]:
        """The labels whose regions are cut off."""
        if self.crop_labels is not None:
            return frozenset(self.crop_labels)
        return frozenset(("border",)) if self.kind == "signal" else frozenset(self.labels)


class ThresholdSpec(StrictModel):
    """The scores of an output with which a clip is kept; see :mod:`inference.decide`."""

    label: Label | None = None  # whose probability is the score; default: all labels that do not start with "normal"
    max: Share | None = None  # a higher score is beyond the threshold
    min: Share | None = None  # a lower score is beyond the threshold
    share: Share = 0.0  # of the windows that may be beyond it in a clip that is kept
    hysteresis: Share = 0.0  # by which a score must come back before the windows after one beyond count as inside
    review: Share = 0.0  # a clip that a threshold stricter by this would drop is to be reviewed

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("a threshold needs max, min or both")
        return self


class ThresholdsSpec(StrictModel):
    """A file of thresholds alone."""

    thresholds: dict[Key, ThresholdSpec] = Field(default_factory=dict)  # output key -> threshold


class ComputeSpec(StrictModel):
    """Options of speed, which do not change verdicts and are not part of the manifest's digest."""

    attention: Literal["auto", "cudnn", "flash", "efficient", "math"] = "auto"  # GPU kernel tried first
    is_compiled: bool = False  # torch.compile of each layer, at start
    uses_cuda_graphs: bool = False  # one per batch size, recorded at start
    empty_cache_videos: Annotated[int, Field(ge=0)] = 0  # videos after which unused GPU memory is given back; 0: never


class ManifestSpec(StrictModel):
    """A whole manifest. Unknown references and duplicate names are refused."""

    name: Name
    backbones: dict[Name, BackboneSpec] = Field(default_factory=dict)
    heads: dict[Name, HeadSpec] = Field(default_factory=dict)
    filters: tuple[FilterSpec, ...] = ()
    detector: DetectorSpec | None = None
    compute: ComputeSpec = ComputeSpec()
    thresholds: dict[Key, ThresholdSpec] = Field(default_factory=dict)  # output key -> scores with which a clip is kept

    @property
    def dtypes(self) -> frozenset[str]:
        """Every dtype in the manifest."""
        detectors = [self.detector.dtype] if self.detector else []
        return frozenset([*(one.dtype for one in self.backbones.values()), *detectors])

    @property
    def weights_entries(self) -> tuple[WeightsEntry, ...]:
        """Every reference to weights: of backbones, heads, the detector, then of combinations of signals."""
        backbones = [WeightsEntry(f"backbones.{name}", one.weights, one.sha256) for name, one in self.backbones.items()]
        heads = [WeightsEntry(f"heads.{name}", one.weights, one.sha256) for name, one in self.heads.items()]
        detector = self.detector
        boxes = [WeightsEntry("detector", detector.weights, detector.sha256)] if detector and detector.weights else []
        rules = [
            WeightsEntry(f"filters.{one.name}.signal", one.signal.weights, one.signal.sha256)
            for one in self.filters
            if one.signal is not None and one.signal.weights is not None
        ]
        return (*backbones, *heads, *boxes, *rules)

    @property
    def head_of(self) -> dict[str, str]:
        """Filter -> its head, of the filters that a head judges."""
        return {one.name: one.head for one in self.filters if one.head is not None}

    def labels_of(self, one: FilterSpec) -> tuple[str, ...]:
        """Return the labels of a filter's head, or of its rule over signals."""
        return one.signal.all_labels if one.signal is not None else self.heads[self.head_of[one.name]].labels

    @model_validator(mode="after")
    def _remote_weights_are_pinned(self) -> Self:
        pins: dict[str, WeightsEntry] = {}
        for entry in self.weights_entries:
            check_pins(entry.weights, entry.sha256)
            first = pins.setdefault(entry.weights, entry)
            if is_remote(entry.weights) and first.sha256 != entry.sha256:
                raise ValueError(f"{first.name} and {entry.name} pin {entry.weights} differently; give both one sha256")
        return self

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        _check_known("head", {name: head.backbone for name, head in self.heads.items()}, "backbones", self.backbones)
        _check_known("filter", self.head_of, "heads", self.heads)
        return self

    @model_validator(mode="after")
    def _upright_heads_see_turned_views(self) -> Self:
        for name, head in self.heads.items():
            if head.kind == "upright" and self.backbones[head.backbone].config.get("turned_views") is not True:
                raise ValueError(
                    f"heads.{name} compares turned views; add config = {{ turned_views = true }} to "
                    f"backbones.{head.backbone}, of family mobilenet_v2"
                )
        return self

    @model_validator(mode="after")
    def _float32_mode_is_unique(self) -> Self:
        if {"float32", "tf32"} <= self.dtypes:
            raise ValueError("dtype float32 and tf32 set one switch of the whole process; choose one for all models")
        return self

    @model_validator(mode="after")
    def _thresholds_fit_outputs(self) -> Self:
        labels = {output.key: self.labels_of(one) for one in self.filters for output in one.outputs}
        windows = {output.key for one in self.filters for output in one.outputs if output.scope is Scope.WINDOWS}
        for key, spec in self.thresholds.items():
            if key not in labels:
                raise ValueError(f"thresholds.{key} names no output; there are: {', '.join(labels)}")
            if spec.label is not None and spec.label not in labels[key]:
                raise ValueError(f"thresholds.{key}.label = {spec.label!r} is none of {', '.join(labels[key])}")
            if spec.label is None and not any(label.startswith("normal") for label in labels[key]):
                raise ValueError(f"thresholds.{key} needs a label: one of {', '.join(labels[key])}")
            if key not in windows and (spec.share or spec.hysteresis):
                raise ValueError(f'thresholds.{key}: share and hysteresis are for outputs with scope = "windows"')
        return self

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        detectors = [self.detector.name] if self.detector else []
        _refuse_duplicates("filter name", [*(one.name for one in self.filters), *detectors])
        _refuse_duplicates("output key", [output.key for one in self.filters for output in one.outputs])
        if not self.filters and self.detector is None:
            raise ValueError("there is neither a filter nor a detector; declare at least one")
        return self


def _check_known(kind: str, references: dict[str, str], table: str, known: Iterable[str]) -> None:
    known = sorted(known)
    for name, reference in references.items():
        if reference not in known:
            raise ValueError(
                f"{kind} {name} names {reference!r}, which is not in [{table}]; there are: {', '.join(known)}"
            )


def _refuse_duplicates(what: str, names: Iterable[str]) -> None:
    if twice := duplicates(names):
        raise ValueError(f"{what} {', '.join(twice)} stands twice; rename one")
