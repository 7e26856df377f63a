"""A filter's rule over signals, from its manifest entry and its checkpoint."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from inference.errors import ManifestError
from inference.manifest.signal_spec import SignalSpec
from inference.manifest.weights import check_content
from inference.signals.registry import BY_NAME
from inference.signals.rules import Combination, Rule, SignalBound

FILE_NAME = "signals.json"  # of a combination in a checkpoint directory


def signal_rule(source: str, spec: SignalSpec, path: Path | None) -> Rule:
    """Return the rule of the entry ``source``: a bound, or the combination in the checkpoint at ``path``.

    Raises:
        ManifestError: the checkpoint is missing, not the pinned one, or wrong.
    """
    if path is not None:
        return _combination(source, spec, path)
    if spec.name is None:
        raise ValueError(f"{source} has neither a signal nor a checkpoint")
    signal = BY_NAME[spec.name]
    minimum, maximum = spec.min, spec.max
    if minimum is None and maximum is None:
        minimum, maximum = signal.minimum, signal.maximum
    return SignalBound(signal.name, minimum, maximum, signal.unsure if spec.unsure is None else spec.unsure)


def _combination(source: str, spec: SignalSpec, path: Path) -> Combination:
    path = path / FILE_NAME if path.is_dir() else path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{source}: {path} cannot be read ({error}); put the checkpoint there") from error
    check_content(path, content, spec.sha256)
    try:
        found = Combination.model_validate_json(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ManifestError(f"{source}: {path} is no combination of signals: {problems}; restore the file") from error
    if spec.labels != found.labels:
        raise ManifestError(
            f"{source}.labels = {list(spec.labels or ())}, but the checkpoint's are {list(found.labels)}; use those"
        )
    return found
