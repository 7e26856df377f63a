"""The models and decoder of the settings: the one way in which worker, doctor and ``tamis judge`` open them."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from inference.manifest import load_manifest
from storage.features.cache import FeatureCache
from tasks.resources.memory import CachedPieces
from tasks.resources.weights import fetch_weights
from tasks.settings import Settings, decoder_environ

if TYPE_CHECKING:  # only processes that judge load torch
    from inference.judge import Judge

log = logging.getLogger(__name__)


def open_judge(
    settings: Settings, *, scratch: Path | None = None, warms_up: bool = True, cache: FeatureCache | None = None
) -> Judge:
    """Download missing weights, then load the models, and run each once with every batch size if ``warms_up``.

    Files of crops are made in ``scratch``, by default in the temporary directory. Videos whose features are in
    ``cache`` are not decoded.

    Raises the errors of :func:`inference.judge.open_judge` and of :func:`tasks.resources.weights.fetch_weights`.
    """
    from inference.judge import open_judge

    manifest = fetch_weights(load_manifest(settings.models.manifest), settings)
    started = time.monotonic()
    judge = open_judge(
        manifest,
        device=settings.models.device,
        threads=settings.models.threads,
        decoder=settings.decode.decoder,
        decoder_processes=settings.decode.processes,
        limits=settings.decode.limits,
        scratch=scratch,
        decoder_environ=decoder_environ(settings.decode.decoder),
        warms_up=warms_up,
    )
    seconds = time.monotonic() - started
    log.info("models of manifest %s opened in %.1f s on %s", manifest.name, seconds, judge.models.device_name)
    return judge if cache is None else replace(judge, memory=CachedPieces(cache))
