"""The worker's own HTTP port: ``/metrics`` for Prometheus, ``/livez`` and ``/readyz`` for probes.

It answers without authentication, so it listens on loopback unless the settings say otherwise.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from celery import bootsteps, signals
from prometheus_client import PlatformCollector, ProcessCollector, make_wsgi_app

from tasks.telemetry.metrics.instruments import REGISTRY
from tasks.telemetry.pulse import Pulse, WorkerPhase
from tasks.worker.config import wiring_of
from tasks.worker.liveness.health import is_live
from tasks.worker.warmup import consumed_queues

if TYPE_CHECKING:
    from celery.worker.worker import WorkController

logger = logging.getLogger(__name__)

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def is_ready(pulse: Pulse) -> bool:
    """Return whether the worker is warm and takes messages; a closed gate is back-pressure and counts as ready."""
    return pulse.phase is WorkerPhase.CONSUMING and not pulse.is_cordoned and is_live(pulse)


def application(metrics: Wsgi, pulse: Pulse) -> Wsgi:
    """Return a WSGI application that serves the metrics and the two probes."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return metrics(environ, start_response)
            case "/livez":
                return _probe(start_response, pulse, is_well=is_live(pulse))
            case "/readyz":
                return _probe(start_response, pulse, is_well=is_ready(pulse))
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/metrics, /livez and /readyz are here\n"]

    return answer


def _probe(start_response: Callable[..., Any], pulse: Pulse, *, is_well: bool) -> Iterable[bytes]:
    start_response("200 OK" if is_well else "503 Service Unavailable", [("Content-Type", "text/plain")])
    cordoned = ", cordoned" if pulse.is_cordoned else ""
    return [f"{pulse.phase.value}{cordoned}\n".encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class names it so
        """Log nothing: a line per scrape would fill the log."""


def _register(collectors: Iterable[Any]) -> None:
    for collector in collectors:
        REGISTRY.register(collector)
    ProcessCollector(registry=REGISTRY)  # the two standard collectors register themselves
    PlatformCollector(registry=REGISTRY)


class Exposition(bootsteps.StartStopStep):
    """Serves from before the warm-up on: probes see a worker that lives and is not ready yet."""

    requires = ("tasks.worker.stop:Drain",)

    def include_if(self, parent: WorkController) -> bool:
        """Return whether a port is configured."""
        return wiring_of(parent.app).config.metrics_address is not None

    def start(self, parent: WorkController) -> None:
        """Bind the port. A port that is in use is only logged: the worker can work without its metrics."""
        wiring = wiring_of(parent.app)
        host, port = wiring.config.metrics_address or ("", 0)
        _register(self._collectors(parent))
        try:
            server = make_server(
                host, port, application(make_wsgi_app(REGISTRY), wiring.pulse), _Server, handler_class=_Silent
            )
        except OSError as error:
            logger.error("no metrics on %s:%d: %s", host, port, error.strerror)  # noqa: TRY400 -- the reason is enough
            return
        threading.Thread(target=server.serve_forever, name="tamis-metrics", daemon=True).start()
        signals.worker_shutdown.connect(lambda **_: server.shutdown(), sender=parent, weak=False)
        logger.info("metrics on http://%s:%d/metrics", host, port)

    def _collectors(self, parent: WorkController) -> Iterable[Any]:
        make = wiring_of(parent.app).config.collectors
        return make(consumed_queues(parent)) if make is not None else ()
