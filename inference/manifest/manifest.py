"""A manifest of filters: the outputs of the enabled switches, and the decode plan for them."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from inference.errors import ManifestError
from inference.manifest.fields import parse_seed
from inference.manifest.preprocessing import Preprocessing, agree
from inference.manifest.rules import signal_rule
from inference.manifest.schema import (
    DetectorSpec,
    FilterSpec,
    ManifestSpec,
    OutputSpec,
    ThresholdSpec,
    ThresholdsSpec,
    WeightsEntry,
)
from inference.manifest.signal_spec import SignalSpec
from inference.manifest.weights import PACKAGE, is_remote, package_path
from inference.signals.rules import Rule
from inference.types import ClipRequest, DecodePlan, Fit, PictureSpec, Scope

S = TypeVar("S", bound=BaseModel)

BUILT_IN = ("production", "starter", "tiny")
_NO_PICTURE = PictureSpec(1, 1)  # of outputs that signals score


@dataclass(frozen=True, slots=True)
class Output:
    """A key of the output, the head or the signals that score it, and the clips it needs.

    Of signals ``request`` tells only the scope and the windows: their frames are those of ``inference.signals``.
    """

    key: str
    filter: str
    head: str  # empty: signals
    labels: tuple[str, ...]
    request: ClipRequest
    is_reversed: bool
    unsure: tuple[float, float] | None = None  # a head's probabilities of the first label that are no answer

    @property
    def reads_signals(self) -> bool:
        """True when signals score the output instead of a head."""
        return not self.head

    @property
    def is_segmented(self) -> bool:
        """True when the key holds a verdict per window instead of one for the whole video."""
        return self.request.scope is Scope.WINDOWS

    @property
    def verdict_key(self) -> str:
        """Key of the verdict in a window's entry: the filter's own name, ``simcam_filter`` in ``seg_simcam_filter``."""
        return f"{self.filter}_filter"


@dataclass(frozen=True)  # without slots: the cached properties need a dict
class Manifest:
    """A validated manifest, the directory of its relative paths, and the local paths of its remote weights."""

    spec: ManifestSpec
    directory: Path
    local: Mapping[str, Path] = field(default_factory=dict)  # remote reference -> path on this machine

    @property
    def name(self) -> str:
        """Name of the manifest."""
        return self.spec.name

    @property
    def filters(self) -> tuple[FilterSpec, ...]:
        """The classifying filters, in order, without the detector."""
        return self.spec.filters

    @property
    def detector(self) -> DetectorSpec | None:
        """The detector of abnormal regions, if there is one."""
        return self.spec.detector

    @property
    def is_untrained(self) -> bool:
        """True when some weights are seeded: the verdicts then mean nothing."""
        return any(parse_seed(entry.weights) is not None for entry in self.spec.weights_entries)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of what judges: no comments, help texts, key order, defaults, ``compute`` or ``thresholds``.

        The place of weights does not count when every byte of them is pinned.
        """
        content = self.spec.model_dump(
            mode="json",
            exclude={"compute": True, "thresholds": True, "filters": {"__all__": {"help"}}, "detector": {"help"}},
        )
        for head in content["heads"].values():
            if head["unsure"] is None:
                del head["unsure"]  # as before there were such bands
        for one in content["filters"]:
            del one["signal" if one["signal"] is None else "head"]  # as if a filter never had the other
        if (detector := content["detector"]) is not None:
            for name, default in {"kind": "yolo", "crop_labels": None}.items():
                if detector[name] == default:  # as in manifests of before, whose runs go on
                    del detector[name]
        rules = [one["signal"] for one in content["filters"] if "signal" in one]
        for entry in (*content["backbones"].values(), *content["heads"].values(), content["detector"] or {}, *rules):
            if isinstance(entry.get("sha256"), dict) or is_remote(entry.get("weights") or ""):
                entry["weights"] = "pinned"
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @cached_property
    def switches(self) -> Mapping[str, str]:
        """Each switch, in the manifest's order -> the help text of its filters."""
        texts: dict[str, list[str]] = {}
        declared: list[FilterSpec | DetectorSpec] = [*self.filters, *([self.detector] if self.detector else [])]
        for one in declared:
            texts.setdefault(one.switch, []).append(one.help or f"Judge {one.name.replace('_', ' ')}.")
        return {switch: " ".join(dict.fromkeys(own)) for switch, own in texts.items()}

    @cached_property
    def preprocessing(self) -> Mapping[str, Preprocessing]:
        """Backbone name -> its input. Read at first use: only decoding and inference need the checkpoints.

        Raises:
            ManifestError: a value is missing, or the manifest and a checkpoint differ.
        """
        return {name: agree(name, spec, self.weights_path(spec.weights)) for name, spec in self.spec.backbones.items()}

    @cached_property
    def signal_rules(self) -> Mapping[str, Rule]:
        """Filter -> its rule over signals. Read at first use: only inference needs the checkpoints.

        Raises:
            ManifestError: a checkpoint is missing, not the pinned one, or wrong.
        """
        return {one.name: self._rule(one.name, one.signal) for one in self.filters if one.signal is not None}

    def _rule(self, name: str, spec: SignalSpec) -> Rule:
        path = self.weights_path(spec.weights) if spec.weights is not None else None
        return signal_rule(f"filters.{name}.signal", spec, path)

    def outputs(self, enabled: frozenset[str]) -> tuple[Output, ...]:
        """The classifiers' outputs under the enabled switches, in the manifest's order.

        Raises:
            ManifestError: a switch is unknown.
        """
        self.check_switches(enabled)
        chosen = (one for one in self.filters if one.switch in enabled)
        return tuple(self._output(one, output) for one in chosen for output in one.outputs)

    def detection(self, enabled: frozenset[str]) -> ClipRequest | None:
        """The request for the detector's frames; None when there is no detector or its switch is off."""
        self.check_switches(enabled)
        spec = self.spec.detector
        if spec is None or spec.switch not in enabled:
            return None
        picture = PictureSpec(height=spec.size, width=spec.size, fit=Fit.LETTERBOX)
        return ClipRequest(Scope.SAMPLED, picture, spec.max_frames, interval_seconds=spec.interval_seconds)

    def decode_plan(self, enabled: frozenset[str]) -> DecodePlan:
        """The requests for one decode pass, without duplicates, in the order of the outputs, the detector's last.

        Raises:
            ManifestError: a switch is unknown, or nothing is enabled.
        """
        outputs = self.outputs(enabled)
        requests = [output.request for output in outputs if not output.reads_signals]
        if len(requests) < len(outputs):
            from inference.signals import REQUESTS  # OpenCV: only decoding and inference need it

            requests += REQUESTS
        if (frames := self.detection(enabled)) is not None:
            requests.append(frames)
        if not requests:
            raise ManifestError(f"no filter is enabled; turn on at least one of {', '.join(self.switches)}")
        return DecodePlan(tuple(dict.fromkeys(requests)))

    def enabled_filters(self, enabled: frozenset[str]) -> tuple[str, ...]:
        """Names of the filters that the switches turn on, including the detector.

        Raises:
            ManifestError: a switch is unknown.
        """
        self.check_switches(enabled)
        switch_of = {one.name: one.switch for one in self.filters}
        if self.detector is not None:
            switch_of[self.detector.name] = self.detector.switch
        return tuple(name for name, switch in switch_of.items() if switch in enabled)

    def check_switches(self, enabled: Iterable[str]) -> None:
        """Raise ManifestError naming the switches this manifest does not have."""
        if unknown := sorted(set(enabled) - set(self.switches)):
            raise ManifestError(
                f"unknown switch {', '.join(unknown)}; manifest {self.name} has {', '.join(self.switches)}"
            )

    def weights_path(self, weights: str) -> Path | None:
        """Local path of a ``weights`` entry; None for seeded weights.

        Raises:
            ManifestError: the weights are remote and not on this machine, or no installed package ships them.
        """
        if parse_seed(weights) is not None:
            return None
        if is_remote(weights) and weights not in self.local:
            raise ManifestError(f"weights {weights} are not on this machine; `tamis worker` fetches them at its start")
        if weights.startswith(PACKAGE):
            return package_path(weights)
        return self.local.get(weights, self.directory / weights)

    @property
    def remote_weights(self) -> tuple[WeightsEntry, ...]:
        """The entries whose weights must be downloaded, each reference once."""
        return tuple({one.weights: one for one in self.spec.weights_entries if is_remote(one.weights)}.values())

    def with_local(self, local: Mapping[str, Path]) -> Manifest:
        """Return this manifest with the local paths of its remote weights; the digest stays the same."""
        return replace(self, local=dict(local))

    def _output(self, one: FilterSpec, output: OutputSpec) -> Output:
        picture, num_frames, unsure = _NO_PICTURE, 1, None
        if one.head is not None:
            unsure = self.spec.heads[one.head].unsure
            clip = self.preprocessing[self.spec.heads[one.head].backbone]
            picture, num_frames = clip.picture, clip.num_frames
        request = ClipRequest(output.scope, picture, num_frames)
        if output.scope is Scope.WINDOWS:
            request = ClipRequest(output.scope, picture, num_frames, output.window_seconds, output.overlap_seconds)
        labels = self.spec.labels_of(one)
        return Output(output.key, one.name, one.head or "", labels, request, output.is_reversed, unsure)


def load_manifest(name_or_path: str | Path) -> Manifest:
    """Read a manifest: ``"starter"``, ``"production"``, ``"tiny"``, or the path of a TOML file.

    Raises:
        ManifestError: no such manifest, not TOML, or a value is wrong; the message names it and the remedy.
    """
    if str(name_or_path) in BUILT_IN:
        return _read(Path(__file__).parent / "built_in" / f"{name_or_path}.toml")
    return _read(Path(name_or_path))


def parse_manifest(text: str, *, directory: Path, source: str) -> Manifest:
    """Parse TOML text. ``source`` names it in errors; relative paths of weights start from ``directory``."""
    return Manifest(_validated(ManifestSpec, _toml(text, source), source), directory)


def read_thresholds(path: Path) -> Mapping[str, ThresholdSpec]:
    """Read the tables ``[thresholds.<output key>]`` of a TOML file, which may be a whole manifest.

    Raises:
        ManifestError: the file cannot be read, has no thresholds, or a value is wrong.
    """
    content = _toml(_text_of(path, "a TOML file with [thresholds.<output>] tables"), str(path))
    is_manifest = "name" in content
    found = (
        _validated(ManifestSpec, content, str(path)).thresholds
        if is_manifest
        else _validated(ThresholdsSpec, content, str(path)).thresholds
    )
    if not found:
        raise ManifestError(f"{path} has no thresholds; add a table such as [thresholds.vfx_filter] with max = 0.5")
    return found


def _read(path: Path) -> Manifest:
    text = _text_of(path, f"a TOML file or one of {', '.join(BUILT_IN)}")
    return parse_manifest(text, directory=path.parent.absolute(), source=str(path))


def _text_of(path: Path, remedy: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"manifest {path} cannot be read ({error}); give {remedy}") from error


def _toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{source} is not a TOML manifest ({error}); correct that line") from error


def _validated(schema: type[S], content: Mapping[str, Any], source: str) -> S:
    try:
        # By way of JSON: strict validation then accepts lists for tuples and strings for enums, and nothing looser.
        return schema.model_validate_json(json.dumps(content))
    except TypeError as error:  # a date or a time, which no field takes
        raise ManifestError(f"{source} is not a TOML manifest ({error}); correct that line") from error
    except ValidationError as error:
        raise ManifestError(f"{source}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    return "; ".join(_explain_one(".".join(map(str, one["loc"])), one["msg"], one["input"]) for one in error.errors())


def _explain_one(where: str, what: str, found: object) -> str:
    what = what.removeprefix("Value error, ")
    return f"{where} = {found!r}: {what}" if where and not isinstance(found, dict) else f"{where or 'manifest'}: {what}"
