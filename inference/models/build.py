"""Opening a manifest's models: build the parts, load weights strictly, share equal backbones, compose."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from hashlib import sha256

import torch

from inference.cores import usable_cores
from inference.errors import ManifestError
from inference.manifest import Manifest
from inference.manifest.fields import parse_seed
from inference.manifest.preprocessing import TRAINED_ON, Preprocessing, read_config
from inference.manifest.schema import BackboneSpec, ComputeSpec, HeadSpec
from inference.manifest.weights import Pins
from inference.models.accelerators import accelerator_of
from inference.models.batcher import Batcher, Batching
from inference.models.checkpoint import (
    Part,
    fill_from_seed,
    load_strictly,
    read_tensors,
    select_part,
    tensors_digest,
)
from inference.models.compilation import CudaCapture, GraphedFeatures, compile_layers
from inference.models.device import choose_device, choose_dtype, is_gpu
from inference.models.lending import Pool
from inference.models.networks.backbone import DROPPABLE, VJEPA2, Backbone, build_backbone
from inference.models.networks.frame_encoder import FrameEncoder
from inference.models.networks.heads import AttentiveHead, Head, build_head
from inference.models.networks.rope import cache_rope
from inference.models.networks.transforms import Normalise
from inference.models.networks.video_model import ClipScorer, Features, VideoModel
from inference.models.scoring import Engine, Models, RegionDetector
from inference.models.torch_settings import hold_settings

__all__ = ["Models", "open_models"]

logger = logging.getLogger(__name__)

# On a CPU padding costs as much as other clips and larger batches are not faster: run every size.
CPU_BATCHING = Batching(buckets=(1, 2, 3, 4), max_wait_seconds=0.002, queue_clips=16)
GPU_BATCHING = Batching()
TORCHS_OWN_THREADS = torch.get_num_threads()  # read before the first call of open_models changes it


@dataclass(frozen=True, slots=True)
class LoadedBackbone:
    """A backbone with its weights; entries of equal ``identity`` share one instance."""

    model: Backbone | FrameEncoder
    digest: str
    identity: str


def open_models(
    manifest: Manifest, *, device: str = "auto", threads: int | None = None, batching: Batching | None = None
) -> Models:
    """Build and load every model of ``manifest`` on ``device``. The network is never used.

    ``threads`` is the number of CPU threads for the models; None: torch's own, at most the usable cores. With a GPU
    they work together on one operation. On a CPU each runs batches of its own: two batches at once take less time
    than one batch on two cores. torch's number is set for the whole process, as are the manifest's attention kernels
    and float32 precision, these until the models are closed.

    Raises:
        ManifestError: an architecture, checkpoint or device is wrong; the message names it and the remedy.
    """
    chosen = choose_device(device)
    threads = threads or min(TORCHS_OWN_THREADS, usable_cores())  # torch ignores container limits
    runners = 1 if is_gpu(chosen) else threads
    torch.set_num_threads(threads // runners)
    backbones = _load_backbones(manifest)
    heads = {name: _load_head(manifest, name, spec, backbones) for name, spec in manifest.spec.heads.items()}
    detectors, detector_digests = _open_detectors(manifest, chosen, runners)
    rules = {name: rule.digest for name, rule in manifest.signal_rules.items()}
    digests = _head_digests(manifest, backbones, heads) | detector_digests | rules
    batching = batching or (GPU_BATCHING if is_gpu(chosen) else replace(CPU_BATCHING, runners=runners))
    engines = tuple(
        _engine(manifest, instance, backbones, heads, chosen, batching) for instance in _shared(manifest, backbones)
    )
    return Models(
        manifest=manifest,
        device=chosen,
        engines=engines,
        detectors=detectors,
        digests=digests,
        untrained=_untrained(manifest),
        threads=threads,
        settings=hold_settings(manifest.spec.compute.attention, manifest.spec.dtypes, chosen),
    )


def _load_backbones(manifest: Manifest) -> dict[str, LoadedBackbone]:
    used = {head.backbone for head in manifest.spec.heads.values()}
    entries = manifest.spec.backbones.items()
    return {name: load_backbone(manifest, name, spec) for name, spec in entries if name in used}


def load_backbone(manifest: Manifest, name: str, spec: BackboneSpec) -> LoadedBackbone:
    """Build the backbone ``name`` with its weights, on the CPU.

    Raises:
        ManifestError: the architecture or its checkpoint is wrong.
    """
    preprocessing = manifest.preprocessing[name]
    model = build_backbone(name, spec, preprocessing)
    droppable = DROPPABLE.get(spec.family, ())
    _set_weights(manifest, model.model, spec.weights, spec.sha256, Part.BACKBONE, f"backbones.{name}", droppable)
    if spec.family == VJEPA2:
        cache_rope(model.model, f"backbones.{name}")
    digest = tensors_digest(model.model.state_dict())
    return LoadedBackbone(model, digest, _identity(digest, spec, preprocessing))


def _load_head(
    manifest: Manifest, name: str, spec: HeadSpec, backbones: Mapping[str, LoadedBackbone]
) -> tuple[Head, str]:
    """Return the head and the digest of its weights."""
    _check_training(manifest, name, spec, backbones[spec.backbone])
    head = build_head(name, spec, backbones[spec.backbone].model.hidden_size)
    _set_weights(manifest, head, spec.weights, spec.sha256, Part.HEAD, f"heads.{name}", ())
    return head, tensors_digest(head.state_dict())


def _check_training(manifest: Manifest, name: str, spec: HeadSpec, backbone: LoadedBackbone) -> None:
    """Refuse a head under other labels, over another backbone or on other input than its checkpoint records."""
    path = manifest.weights_path(spec.weights)
    config = read_config(path, spec.sha256) if path else {}
    _check_labels(name, spec, config.get("labels"))
    if (trained_on := config.get(TRAINED_ON)) is None:
        return
    own = {"backbone_digest": backbone.digest, "preprocessing": asdict(manifest.preprocessing[spec.backbone])}
    for field, value in json.loads(json.dumps(own)).items():
        if trained_on.get(field) != value:
            raise ManifestError(
                f"heads.{name} was trained over {field} = {trained_on.get(field)}, but backbones.{spec.backbone} has "
                f"{value}; name the backbone that the head was trained over, or train it again"
            )


def _check_labels(name: str, spec: HeadSpec, recorded: Sequence[str] | None) -> None:
    if recorded is not None and list(recorded) != list(spec.labels):
        raise ManifestError(
            f"heads.{name}.labels = {list(spec.labels)}, but the checkpoint's classes are {recorded}; "
            "use those, in that order"
        )


def _set_weights(
    manifest: Manifest,
    module: torch.nn.Module,
    weights: str,
    pin: Pins | None,
    part: Part | None,
    source: str,
    droppable: tuple[str, ...],
) -> None:
    seed, path = parse_seed(weights), manifest.weights_path(weights)
    if seed is not None:
        fill_from_seed(module, seed)
    elif path is not None:
        tensors = read_tensors(path, sha256=pin)
        own = select_part(tensors, part, str(path)) if part else tensors
        load_strictly(module, own, source=f"{source}: {path}", droppable=droppable)


def _identity(digest: str, spec: BackboneSpec, preprocessing: Preprocessing) -> str:
    return json.dumps([digest, spec.family, spec.config, spec.dtype, repr(preprocessing)], sort_keys=True)


@dataclass(frozen=True, slots=True)
class _Instance:
    """Backbone entries that share one instance, and the filters that use it."""

    names: tuple[str, ...]
    filters: tuple[str, ...]


def _shared(manifest: Manifest, backbones: Mapping[str, LoadedBackbone]) -> list[_Instance]:
    """Group backbone entries of equal identity into instances, and log the groups."""
    groups: dict[str, list[str]] = {}
    for name, loaded in backbones.items():
        groups.setdefault(loaded.identity, []).append(name)
    instances = [_Instance(tuple(names), _readers(manifest, names)) for names in groups.values()]
    for one in instances:
        digest = backbones[one.names[0]].digest
        logger.info(
            "one backbone pass per clip for %s: %s (%s)", ", ".join(one.filters), " = ".join(one.names), digest[:12]
        )
    return instances


def _readers(manifest: Manifest, names: Sequence[str]) -> tuple[str, ...]:
    heads = manifest.spec.heads
    return tuple(name for name, head in manifest.spec.head_of.items() if heads[head].backbone in names)


def _engine(
    manifest: Manifest,
    instance: _Instance,
    backbones: Mapping[str, LoadedBackbone],
    heads: Mapping[str, tuple[Head, str]],
    device: torch.device,
    batching: Batching,
) -> Engine:
    name = instance.names[0]
    preprocessing = manifest.preprocessing[name]
    dtype = choose_dtype(manifest.spec.backbones[name].dtype, device)
    specs = manifest.spec.heads.items()
    own = {head: heads[head][0].to(dtype) for head, spec in specs if spec.backbone in instance.names}
    normalise = Normalise(preprocessing.mean, preprocessing.std, dtype)
    model = VideoModel(normalise, backbones[name].model.to(dtype), own).to(device).eval().requires_grad_(False)
    features = _accelerate(manifest.spec.compute, model, device, batching)
    batcher = Batcher(name, ClipScorer(model, device, features=features, max_batch=batching.max_batch), batching)
    setting = repr((backbones[name].identity, dtype, device.type, sorted(manifest.spec.dtypes)))
    makers = {head: _vectors_digest(manifest, head, module, setting) for head, module in own.items()}
    return Engine(model, batcher, tuple(own), preprocessing, " = ".join(instance.names), instance.filters, makers)


def _vectors_digest(manifest: Manifest, name: str, head: Head, setting: str) -> str:
    """SHA-256 (hex) of what makes the head's vectors; options of speed count, as they change last bits."""
    spec, compute = manifest.spec.heads[name], manifest.spec.compute
    reduction: tuple[object, ...] = (spec.kind,)
    if isinstance(head, AttentiveHead):
        reduction += (spec.num_attention_heads, tensors_digest(head.pooler.state_dict()))
    made_by = (setting, compute.attention, compute.is_compiled, reduction)
    return sha256(repr(made_by).encode()).hexdigest()


def _accelerate(compute: ComputeSpec, model: VideoModel, device: torch.device, batching: Batching) -> Features:
    """The model's features with the manifest's compilation and CUDA graphs; both happen at a batch size's first run."""
    if compute.is_compiled:
        layers = compile_layers(model.backbone, len(batching.buckets))
        logger.info(
            "%d layers are compiled at their first run with each of the batch sizes %s", layers, batching.buckets
        )
    accelerator = accelerator_of(device)
    if compute.uses_cuda_graphs and accelerator is not None and accelerator.has_graphs():
        return GraphedFeatures(model.features, CudaCapture())
    if compute.uses_cuda_graphs:
        logger.warning("uses_cuda_graphs = true does nothing on this device: %s", device.type)
    return model.features


def _open_detectors(
    manifest: Manifest, device: torch.device, runners: int
) -> tuple[Pool[RegionDetector], dict[str, str]]:
    """Return the pool of detectors, at least one for each runner, empty if the manifest has none; filter -> digest.

    All detectors have the same weights in memory.
    """
    spec = manifest.detector
    if spec is None:
        return Pool({}), {}
    if spec.kind == "signal":
        from inference.signals.regions import VERSION, SignalDetector

        return Pool({spec.name: [SignalDetector()] * spec.instances}), {spec.name: sha256(VERSION.encode()).hexdigest()}
    # Imported here, because ultralytics is AGPL-3.0 and optional: only a manifest with a detector needs it.
    from inference.models.detector import Detector, build_network, prime_biases

    network = build_network(spec)
    _set_weights(manifest, network, spec.weights, spec.sha256, None, "detector", ())
    if parse_seed(spec.weights) is not None:
        prime_biases(network)
    digest = tensors_digest(network.state_dict())
    weights = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    copies = [deepcopy(network, dict(weights)) for _ in range(1, max(spec.instances, runners))]
    dtype = choose_dtype(spec.dtype, device)
    instances: list[RegionDetector] = [Detector(one, spec, device, dtype) for one in (network, *copies)]
    return Pool({spec.name: instances}), {spec.name: digest}


def _head_digests(
    manifest: Manifest, backbones: Mapping[str, LoadedBackbone], heads: Mapping[str, tuple[Head, str]]
) -> dict[str, str]:
    """Filter -> digest of the weights of its backbone and its head together."""
    digests: dict[str, str] = {}
    for name, head in manifest.spec.head_of.items():
        backbone = backbones[manifest.spec.heads[head].backbone]
        digests[name] = sha256((backbone.digest + heads[head][1]).encode()).hexdigest()
    return digests


def _untrained(manifest: Manifest) -> frozenset[str]:
    spec = manifest.spec
    sources = {
        name: (spec.heads[head].weights, spec.backbones[spec.heads[head].backbone].weights)
        for name, head in spec.head_of.items()
    }
    if spec.detector is not None:
        sources[spec.detector.name] = (spec.detector.weights, spec.detector.weights)
    return frozenset(name for name, weights in sources.items() if any(parse_seed(one) is not None for one in weights))
