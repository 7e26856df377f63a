"""The encoder of a model type, and the extractor of an operator's options."""

from __future__ import annotations

import torch

from inference.errors import ManifestError
from inference.features.encoder import Encoder, FrameTokens, VideoTokens
from inference.features.extract import Extractor, compile_encoder
from inference.features.families import FAMILIES, MANIFEST, TORCHVISION, EncoderChoice, check_choice
from inference.features.forward import allow_tf32, choose_precision
from inference.features.options import PlanOptions, first_batch
from inference.features.transformers_encoders import open_transformers_encoder
from inference.features.work_clock import WorkClock
from inference.manifest import Manifest
from inference.manifest.fields import parse_seed
from inference.models.build import load_backbone
from inference.models.device import choose_device, is_gpu


def open_extractor(
    choice: EncoderChoice,
    options: PlanOptions,
    manifest: Manifest,
    *,
    device: str = "auto",
    threads: int | None = None,
    batch_clips: int | None = None,
    is_compiled: bool = False,
    clock: WorkClock | None = None,
) -> Extractor:
    """Open the encoder on a device and run it once. ``threads`` is torch's number of CPU threads, of the whole process.

    Raises:
        ManifestError: the encoder, its checkpoint, the device or an option is wrong.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    chosen = choose_device(device)
    encoder = open_encoder(choice, manifest)
    precision = choose_precision(options.precision, chosen)
    plan = options.plan(encoder.preprocessing, precision=precision, is_gpu=is_gpu(chosen))
    if precision == "tf32":
        allow_tf32(chosen)
    if is_compiled:
        compile_encoder(encoder)
    batch = batch_clips or first_batch(plan.preprocessing.picture.height)
    extractor = Extractor(encoder, plan, chosen, clock=clock, batch_clips=batch)
    try:
        extractor.warm_up()
    except BaseException:
        extractor.close()
        raise
    return extractor


def open_encoder(choice: EncoderChoice, manifest: Manifest) -> Encoder:
    """Open the encoder; ``manifest`` is read only for a backbone of it.

    Raises:
        ManifestError: the model type is unknown, or the checkpoint is missing or wrong.
    """
    seed, path = check_choice(choice)
    if choice.kind == MANIFEST:
        return _manifest_encoder(choice.name, manifest)
    if choice.kind == TORCHVISION:
        from inference.features.torchvision_encoders import open_torchvision_encoder

        return open_torchvision_encoder(choice.name, path, choice.sha256, seed)
    return open_transformers_encoder(choice.model_type, path, seed)


def _manifest_encoder(name: str, manifest: Manifest) -> Encoder:
    backbones = manifest.spec.backbones
    chosen = name or next(iter(backbones), "")
    if chosen not in backbones:
        raise ManifestError(
            f"manifest {manifest.name} has no backbone {chosen!r}; there are: {', '.join(backbones) or 'none'}"
        )
    loaded = load_backbone(manifest, chosen, backbones[chosen])
    family = FAMILIES.get(backbones[chosen].family)
    is_video = family is None or family.is_video
    return Encoder(
        model_type=f"{MANIFEST}:{chosen}",
        network=(VideoTokens(loaded.model) if is_video else FrameTokens(loaded.model)).eval(),
        prefix_tokens=family.prefix_tokens if family else 0,
        preprocessing=manifest.preprocessing[chosen],
        digest=loaded.digest,
        is_untrained=parse_seed(backbones[chosen].weights) is not None,
    )
