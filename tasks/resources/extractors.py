"""Extractors of a GPU worker: opened when the first row of a run needs one, the latest few are kept."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from inference.cores import usable_cores
from inference.errors import ManifestError, Transient
from inference.features.families import EncoderChoice
from inference.features.options import PlanOptions
from inference.manifest import load_manifest
from tasks.resources.weights import fetch_weights
from tasks.settings import Settings

if TYPE_CHECKING:  # only workers that extract load torch
    from inference.features.extract import Extractor

log = logging.getLogger(__name__)

MOST_KEPT = 2  # each holds an encoder in the device's memory


class EncoderUnavailable(Transient):
    """This worker cannot open the run's encoder: its checkpoint is missing here, or wrong."""

    code = "encoder_unavailable"


class Extractors:
    """Open extractors by encoder and options. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[EncoderChoice, PlanOptions], Extractor] = OrderedDict()

    def get(self, choice: EncoderChoice, options: PlanOptions) -> Extractor:
        """Return the extractor, and close the one that was not used for longest if there are too many.

        Rows that still use that one are tried again. Raises :class:`EncoderUnavailable`.
        """
        with self._lock:
            if (choice, options) not in self._open:
                self._open[choice, options] = self._opened(choice, options)
            self._open.move_to_end((choice, options))
            while len(self._open) > MOST_KEPT:
                _, outdated = self._open.popitem(last=False)
                outdated.close()
            return self._open[choice, options]

    def close(self) -> None:
        """Close every extractor."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def _opened(self, choice: EncoderChoice, options: PlanOptions) -> Extractor:
        from inference.features.open import open_extractor

        models, started = self._settings.models, time.monotonic()
        try:
            manifest = fetch_weights(load_manifest(models.manifest), self._settings)
            threads = models.threads or usable_cores()  # opening the judge may have set torch's number to 1
            extractor = open_extractor(choice, options, manifest, device=models.device, threads=threads)
        except ManifestError as error:
            raise EncoderUnavailable(str(error)) from error
        log.info("encoder open in %.1f s: %s", time.monotonic() - started, extractor.description)
        return extractor
