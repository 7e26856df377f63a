"""Weights: read from safetensors or a pinned state dict, or drawn from a seed; loaded strictly; digested.

A checkpoint is a ``.safetensors`` file, or a directory with ``model.safetensors`` or ``pytorch_model.bin`` and an
optional ``config.json``. It holds the keys of one part, or of a whole classifier with the prefixes of :class:`Part`.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from inference.errors import ManifestError
from inference.manifest.preprocessing import CONFIG_NAME
from inference.manifest.weights import Pins, check_content, pin_of

SAFETENSORS_NAME = "model.safetensors"
PICKLE_NAME = "pytorch_model.bin"
NAMED_AT_MOST = 5  # keys in an error message


class Part(StrEnum):
    """A part of a classifier; the value is its key prefix in a whole classifier's checkpoint."""

    BACKBONE = "backbone.model."
    HEAD = "head."


def read_tensors(path: Path, *, sha256: Pins | None = None) -> dict[str, Tensor]:
    """Every tensor of the checkpoint at ``path``, on the CPU.

    The digest is computed from the same bytes that are loaded, so a file that changes in between is noticed.

    Raises:
        ManifestError: missing, damaged, not the pinned bytes, or a pickle without a pin.
    """
    file = _weights_file(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ManifestError(f"weights {file} cannot be read ({error}); correct the path or its permissions") from error
    _check_pin(file, content, pin_of(file.name, sha256, file.parent))
    try:
        if file.suffix == ".safetensors":
            tensors: dict[str, Tensor] = safetensors.torch.load(content)
            return tensors
        return _state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), file)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ManifestError(
            f"weights {file} are damaged or not plain tensors ({error}); fetch the file again"
        ) from error


def select_part(tensors: Mapping[str, Tensor], part: Part, source: str) -> dict[str, Tensor]:
    """Tensors of ``part`` without its prefix. A checkpoint of one part alone is returned whole.

    Raises:
        ManifestError: a whole classifier's checkpoint holds keys of no known part.
    """
    if not any(key.startswith(tuple(Part)) for key in tensors):
        return dict(tensors)
    if strays := [key for key in tensors if not key.startswith(tuple(Part))]:
        raise ManifestError(
            f"{source} holds {_named(strays)}, of neither backbone nor head; necks and 2d backbones are not supported"
        )
    return {key.removeprefix(part): tensor for key, tensor in tensors.items() if key.startswith(part)}


def load_strictly(
    module: nn.Module, tensors: Mapping[str, Tensor], *, source: str, droppable: tuple[str, ...] = ()
) -> None:
    """Copy ``tensors`` into ``module``; only keys that start with a prefix in ``droppable`` may be left over.

    Raises:
        ManifestError: a key is missing or unexpected, a tensor has another shape, or a value is not finite.
    """
    kept = {key: tensor for key, tensor in tensors.items() if not key.startswith(droppable)} if droppable else tensors
    own = module.state_dict()
    _refuse(source, "lacks", [key for key in own if key not in kept], "it has another architecture")
    _refuse(source, "holds unexpected", [key for key in kept if key not in own], "it has another architecture")
    _refuse(source, "holds other shapes:", _other_shapes(own, kept), "correct the manifest's config")
    broken = [key for key, tensor in kept.items() if not _is_finite(tensor)]
    _refuse(source, "holds NaN or Inf in", broken, "train it again")
    module.load_state_dict(dict(kept), strict=True)


def fill_from_seed(module: nn.Module, seed: int) -> None:
    """Set every trainable parameter from ``seed`` and its name, equally in every process and on every CPU.

    Draws are uniform, because those are exact everywhere; a normal draw depends on the CPU's vector instructions.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(_draw(name, parameter.shape, seed))


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of names, dtypes, shapes and bytes, independent of their order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_checkpoint(directory: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write ``model.safetensors`` and ``config.json`` into ``directory``, which is created if missing."""
    directory.mkdir(parents=True, exist_ok=True)
    own = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}  # no shared storage
    safetensors.torch.save_file(own, directory / SAFETENSORS_NAME)
    (directory / CONFIG_NAME).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _weights_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in (SAFETENSORS_NAME, PICKLE_NAME):
        if (path / name).is_file():
            return path / name
    raise ManifestError(f"checkpoint {path} holds neither {SAFETENSORS_NAME} nor {PICKLE_NAME}; put one there")


def _check_pin(file: Path, content: bytes, sha256: str | None) -> None:
    if sha256 is None and file.suffix != ".safetensors":
        found = hashlib.sha256(content).hexdigest()
        raise ManifestError(
            f'weights {file} are a pickle and must be pinned; if you trust them, add sha256 = "{found}"'
        )
    check_content(file, content, sha256)


def _state_dict(loaded: object, file: Path) -> dict[str, Tensor]:
    if isinstance(loaded, dict) and all(isinstance(value, Tensor) for value in loaded.values()):
        return dict(loaded)
    raise ManifestError(f"weights {file} are not a state dict of tensors; save model.state_dict() instead")


def _draw(name: str, shape: torch.Size, seed: int) -> Tensor:
    key = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)  # 63 bits: manual_seed is signed
    noise = torch.rand(shape, generator=generator) * 2 - 1
    if len(shape) > 1:
        return noise * math.sqrt(3 / max(1, math.prod(shape[1:])))  # variance 1 / fan-in keeps activations in range
    return 1 + noise * 0.02 if name.endswith("weight") else noise * 0.02  # a norm's gain, or a bias


def _other_shapes(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    pairs = ((key, list(found[key].shape), list(tensor.shape)) for key, tensor in own.items())
    return [f"{key} {given} for {wanted}" for key, given, wanted in pairs if given != wanted]


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _refuse(source: str, what: str, keys: list[str], remedy: str) -> None:
    if keys:
        raise ManifestError(f"{source} {what} {_named(keys)}; {remedy}")


def _named(keys: list[str]) -> str:
    more = len(keys) - NAMED_AT_MOST
    return ", ".join(keys[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
