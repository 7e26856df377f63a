"""Checks of a machine and its settings before a fleet starts: `tamis up` makes them first, and `tamis doctor` too."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kombu import Connection
from kombu.exceptions import OperationalError

from inference.errors import ManifestError
from inference.manifest import load_manifest
from inference.manifest.weights import is_remote
from storage.errors import StorageError
from tasks.cli.checks.deadline import stream_within
from tasks.ingest.sources import load_sources
from tasks.node.devices import usable_devices
from tasks.resources.stores import open_tiers
from tasks.resources.weights import check_trained
from tasks.settings import Settings
from tasks.settings.groups import GIB

LEAST_OPEN_FILES = 256  # of a process: connections, decoder pipes, videos
BROKER_SECONDS = 3
DIRECTORY_SECONDS = 5.0  # a directory that does not answer for so long is on a dead mount


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with its remedy. ``is_fatal``: no row can be judged until it is corrected."""

    subject: str
    text: str
    remedy: str
    is_fatal: bool = True

    def __str__(self) -> str:
        return ": ".join(part for part in (self.subject, self.text, self.remedy) if part)


def find_problems(settings: Settings) -> Iterator[Problem]:
    """Yield what would stop the fleet, or make it wait for ever."""
    yield from _machine_problems()
    yield from _gpu_problems(settings)
    yield from _tier_problems(settings)
    yield from _disk_problems(settings)
    yield from _model_problems(settings)
    yield from _source_problems(settings)


def _machine_problems() -> Iterator[Problem]:
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        yield Problem("temporary directory", "none is writable", "make /tmp writable, or set TMPDIR to one that is")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < LEAST_OPEN_FILES:
        text = f"a process may open {soft}, and needs {LEAST_OPEN_FILES}"
        yield Problem("open files", text, "raise the limit: `ulimit -n 4096`, or LimitNOFILE= of the unit")


def _gpu_problems(settings: Settings) -> Iterator[Problem]:
    devices, wanted = usable_devices(settings), settings.models.device
    if devices.problem:
        yield Problem("GPUs", devices.problem, devices.remedy, is_fatal=wanted != "auto")
    elif wanted not in {"auto", "cpu"} and not devices.gpus:
        yield Problem(
            "GPUs", f"TAMIS_DEVICE={wanted}, and none is found", "install its driver, or set TAMIS_DEVICE=auto"
        )


def _tier_problems(settings: Settings) -> Iterator[Problem]:
    try:
        open_tiers(settings)
    except StorageError as error:
        yield Problem("tiers", str(error), "")
        return
    tiers = settings.tiers
    for variable, root, is_origin in (
        ("TAMIS_OBJECT_ROOT", tiers.object_root, True),
        ("TAMIS_CPFS_ROOT", tiers.cpfs_root, False),
        ("TAMIS_ALLUXIO_ROOT", tiers.alluxio_root, False),
    ):
        if root is not None and (fault := directory_fault(root)):
            remedy = f"mount it, or correct {variable}"
            yield Problem(f"{variable}={root}", fault, remedy, is_fatal=is_origin)


def directory_fault(path: Path, seconds: float = DIRECTORY_SECONDS) -> str:
    """Return why the path is no directory that can be read; empty if it is one."""
    try:
        (is_readable,) = stream_within(seconds, lambda: [path.is_dir() and os.access(path, os.R_OK | os.X_OK)])
    except TimeoutError:
        return f"it does not answer within {seconds:g} s"
    except OSError as error:
        return str(error.strerror)
    return "" if is_readable else "it is not a directory that can be read"


def busy_port_problems(settings: Settings, workers: int) -> Iterator[Problem]:
    """Yield the metrics ports that another process has. Only for `tamis up`: a running fleet has its own."""
    first, host = settings.telemetry.metrics_port, settings.telemetry.metrics_host
    for port in range(first, first + workers) if first is not None else ():
        try:
            socket.create_server((host, port)).close()
        except OSError as error:
            text = f"{host}:{port} cannot be opened ({error.strerror})"
            yield Problem("metrics", text, "end the process that has the port, or choose another TAMIS_METRICS_PORT")


def broker_problems(settings: Settings) -> Iterator[Problem]:
    """Yield a warning if a broker that the settings name does not answer. Only for `tamis up`, which goes on."""
    if settings.broker.url is None:
        return
    with Connection(settings.broker.url.get_secret_value(), connect_timeout=BROKER_SECONDS) as connection:
        try:
            connection.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
        except OperationalError as error:
            text = f"{connection.as_uri()} does not answer ({error})"
            remedy = "workers connect as soon as it does; correct TAMIS_BROKER_URL if it never will"
            yield Problem("broker", text, remedy, is_fatal=False)


def _disk_problems(settings: Settings) -> Iterator[Problem]:
    for name, variable, path in (
        ("state directory", "TAMIS_STATE_DIR", settings.node.state_dir),
        ("spool", "TAMIS_SPOOL_DIR", settings.spool_root),
    ):
        existing = existing_parent(path)
        if not os.access(existing, os.W_OK | os.X_OK):
            yield Problem(name, f"{existing} is not writable", f"make it writable, or set {variable}")
    free_bytes = shutil.disk_usage(existing_parent(settings.spool_root)).free + spooled_bytes(settings.spool_root)
    if free_bytes < settings.spool.limit_bytes:
        limit, free = (f"{number / GIB:.1f} GiB" for number in (settings.spool.limit_bytes, free_bytes))
        text = f"it may take {limit}, and its disk has {free} for it"
        remedy = "set TAMIS_DISK_LIMIT_BYTES below that: on a full disk downloads pause"
        yield Problem("spool", text, remedy, is_fatal=False)


def existing_parent(path: Path) -> Path:
    """Return the path, or its nearest parent that exists."""
    return next(parent for parent in (path, *path.parents) if parent.exists())


def spooled_bytes(root: Path) -> int:
    """Return the bytes of the files in a spool directory, which may be absent."""
    return sum(path.stat().st_size for path in root.glob("*/*") if path.is_file())


def _model_problems(settings: Settings) -> Iterator[Problem]:
    try:
        manifest = load_manifest(settings.models.manifest)
        check_trained(manifest, settings)
    except (ManifestError, StorageError) as error:
        yield Problem("manifest", str(error), "")
        return
    for entry in manifest.spec.weights_entries:
        path = None if is_remote(entry.weights) else manifest.weights_path(entry.weights)
        if path is not None and not path.exists():
            yield Problem(
                f"weights {entry.name}", f"{path} does not exist", "put the checkpoint there, or correct weights"
            )


def _source_problems(settings: Settings) -> Iterator[Problem]:
    if settings.ingest.sources is None:
        return
    try:
        load_sources(settings.ingest.sources, load_manifest(settings.models.manifest).switches)
    except (ManifestError, StorageError) as error:
        yield Problem("sources", str(error), "correct the file: until then nothing is ingested", is_fatal=False)
