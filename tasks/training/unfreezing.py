"""``tamis train --unfreeze``: the clips' frames, decoded once into a file, and a manifest's backbone tuned on them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference.features.plan import FeaturePlan
from inference.manifest import load_manifest
from inference.models.build import LoadedBackbone, load_backbone
from inference.models.checkpoint import save_checkpoint, tensors_digest
from inference.models.device import choose_device
from inference.models.networks.transforms import Normalise, gather_clip
from inference.train.data import LabelledClips
from inference.train.fit import FitOptions
from inference.train.linear import fit_linear
from inference.train.manifest_entry import TrainedOn, backbone_entry
from inference.train.split import split_by_source
from inference.train.unfreeze import UnfreezeOptions, unfreeze
from storage.errors import UsageError
from tasks.resources.weights import fetch_weights
from tasks.settings import Settings, decoder_environ

BACKBONE = "backbone"  # folder in the checkpoint's


@dataclass(frozen=True, kw_only=True)
class TunedClips:
    """The clips with features of the tuned backbone, and what the manifest needs to know of it."""

    clips: LabelledClips
    trained_on: TrainedOn
    entry: str  # of the backbone
    curve: tuple[float, ...]


def tune(
    clips: LabelledClips,
    trained_on: TrainedOn,
    *,
    videos: Path,
    directory: Path,
    name: str,
    options: FitOptions,
    blocks: int,
    settings: Settings,
    progress: Callable[[str, int, int], None],
) -> TunedClips:
    """Tune the last ``blocks`` blocks on the videos below ``videos``; write the backbone into ``directory``.

    Raises:
        UsageError: a video is missing, or the manifest's backbone is not that of the features.
        TrainingError: the backbone has fewer blocks.
    """
    manifest = fetch_weights(load_manifest(settings.models.manifest), settings)
    spec = manifest.spec.backbones.get(trained_on.backbone)
    loaded = load_backbone(manifest, trained_on.backbone, spec) if spec else None
    if spec is None or loaded is None or loaded.digest != trained_on.model_digest:
        raise UsageError(
            f"manifest {manifest.name} has no backbone {trained_on.backbone} with the weights of the features: set "
            "TAMIS_MANIFEST to theirs, or extract again"
        )
    split = split_by_source(clips, options.shares, options.seed)
    head = fit_linear(clips, split.fit, split.select).weights
    clip = trained_on.plan.preprocessing
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        frames = _decoded(clips, trained_on.plan, videos, Path(scratch) / "frames.npy", settings, progress)
        tuned = unfreeze(
            loaded.model,
            Normalise(clip.mean, clip.std),
            frames,
            clips,
            split,
            head,
            UnfreezeOptions(blocks=blocks, device=str(choose_device(settings.models.device))),
            seed=options.seed,
            progress=progress,
        )
    return TunedClips(
        clips=replace(clips, features=tuned.features),
        trained_on=_written(directory / BACKBONE, name, loaded, trained_on),
        entry=backbone_entry(name, (directory / BACKBONE).absolute(), spec, trained_on.plan.preprocessing),
        curve=tuned.curve,
    )


def _written(directory: Path, name: str, loaded: LoadedBackbone, trained_on: TrainedOn) -> TrainedOn:
    weights = loaded.model.model.state_dict()
    save_checkpoint(directory, weights, {"tuned_from": trained_on.model_digest})
    return replace(trained_on, model_type=f"manifest:{name}", model_digest=tensors_digest(weights))


def _decoded(
    clips: LabelledClips,
    plan: FeaturePlan,
    videos: Path,
    path: Path,
    settings: Settings,
    progress: Callable[[str, int, int], None],
) -> npt.NDArray[np.uint8]:
    """Decode every video once; return the clips' frames, mapped from a file at ``path``."""
    from inference.decode import DecoderPool

    picture = plan.preprocessing.picture
    shape = (len(clips), plan.preprocessing.num_frames, picture.height, picture.width, 3)
    frames = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    names = list(dict.fromkeys(clips.videos.tolist()))
    decoder = DecoderPool(
        settings.decode.processes,
        settings.decode.limits,
        decoder=settings.decode.decoder,
        environ=decoder_environ(settings.decode.decoder),
    )
    with closing(decoder):
        for done, name in enumerate(names):
            rows = np.flatnonzero(clips.videos == name)
            if not (videos / name).is_file():
                raise UsageError(f"--videos {videos} has no {name}, whose features are there: give their folder")
            decoded = decoder.decode(videos / name, plan.decode_plan)
            if len(decoded.clips) != len(rows):
                raise UsageError(f"{videos / name} has other clips than its features: extract again")
            for row, clip in zip(rows, decoded.clips, strict=True):
                frames[row] = gather_clip(decoded.pictures[picture].frames, clip.indices).numpy()
            progress("videos", done + 1, len(names))
    return frames
