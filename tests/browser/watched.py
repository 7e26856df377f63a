"""A monitored fleet: `tamis up` over a few real clips, and a real Prometheus that scraped it from its start."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.fleet.processes import wait_until
from tests.http_get import get
from tests.scripts import load_script

ROOT = Path(__file__).parents[2]
CLIPS = {"phone-sharp", "clip-alluxio", "title-card", "missing", "really-text"}  # of the demo's rows
HOSTILE = "<b>missing</b>[/red]"  # the id of the row "missing": a page or a table must show it as it is
NODE = "watched"
WORKERS = ("io", "results", "gpu0")  # in the order of their metrics ports
SCRAPE = "1s"
# Headless, able to run in a container, and without requests to other hosts.
CHROMIUM = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1500,900"
)


def program(*names: str) -> str:
    """Return the path of a program that the Makefile's `programs` installs."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.fail(f"{names[0]} is not installed, and nothing is tested without it: run `make programs`")
    return found


def free_ports(count: int) -> int:
    """Return the first of ``count`` consecutive free ports, below the kernel's range of ephemeral ports."""
    while True:
        port = random.randrange(15_000, 30_000)
        with suppress(OSError), ExitStack() as probes:
            for one in range(port, port + count):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", one))
            return port


@contextmanager
def running(command: list[str], log: Path, stop: int = signal.SIGTERM, **options: Any) -> Iterator[Callable[[], str]]:
    """Run a program for the block with its output in ``log``; yield a function that reads the log."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, **options)
    try:
        yield lambda: log.read_text(errors="replace")[-3000:]
    finally:
        process.send_signal(stop)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class MonitoredFleet:
    """A fleet that has completed its run and is still up, and the Prometheus that scraped it."""

    root: Path
    demo: ModuleType
    environ: dict[str, str]
    metrics_port: int
    prometheus: str  # http://127.0.0.1:…
    run_id: str

    def metrics(self, worker: str) -> str:
        """Return a worker's present metrics page."""
        status, text = get(f"http://127.0.0.1:{self.metrics_port + WORKERS.index(worker)}/metrics")
        assert status == 200
        return text

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the answer of Prometheus' API."""
        status, text = get(f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        answer = json.loads(text)
        assert (status, answer["status"]) == (200, "success"), f"{parameters}: {answer}"
        assert not answer.get("warnings"), answer
        return answer["data"]


@contextmanager
def watched_fleet(root: Path) -> Iterator[MonitoredFleet]:
    """Start Prometheus and the fleet, and sift the clips."""
    demo = _demo()
    (root / "state").mkdir()
    demo.lay_out(root)
    port = free_ports(len(WORKERS))
    environ = demo.environment(demo.settings(root)) | {
        "TAMIS_MANIFEST": "tiny",
        "TAMIS_NODE": NODE,
        "TAMIS_DEVICE": "cpu",
        "TAMIS_METRICS_PORT": str(port),
        "TAMIS_SHARD_ROWS": "2",
        "TAMIS_MAX_CONCURRENT_WORKERS": "1",  # makes messages wait long enough for a scrape to see them
    }
    with _prometheus(root, port) as address, running(demo.tamis("up"), root / "up.log", env=environ) as up_log:
        tables, outputs = f"sqlite:///{root}/input.db#videos/ds=20250115", f"sqlite:///{root}/output.db#results"
        command = demo.tamis("sift", "--tables", tables, "--outputs", outputs)
        wait_until(lambda: "embedded broker" in up_log(), "`tamis up` serves its broker", story=up_log)
        said = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert said.returncode == 0, f"{said.stdout}{said.stderr}{up_log()}"
        yield MonitoredFleet(root, demo, environ, port, address, _run_of(root / "output.db"))


def _run_of(database: Path) -> str:
    with closing(sqlite3.connect(database)) as db:
        ((run_id,),) = db.execute("SELECT DISTINCT json_extract(result_info, '$.run_id') FROM results")
    return str(run_id)


def _demo() -> ModuleType:
    """Return the demo's script with a few of its rows."""
    demo = load_script("demo", "watched_demo")
    chosen = [row for row in demo.ROWS if row.video_id in CLIPS]
    demo.ROWS = tuple(  # type: ignore[attr-defined]  # a module's
        replace(row, video_id=HOSTILE) if row.video_id == "missing" else row for row in chosen
    )
    return demo


@contextmanager
def _prometheus(root: Path, first_port: int) -> Iterator[str]:
    """Run Prometheus with the configuration of deploy/ for this fleet, with a scrape each second."""
    address = f"127.0.0.1:{free_ports(1)}"
    (root / "hosts.yml").write_text(yaml.safe_dump([_host(first_port + n, name) for n, name in enumerate(WORKERS)]))
    (root / "prometheus.yml").write_text(yaml.safe_dump(_configuration(root / "hosts.yml")))
    command = [program("prometheus"), f"--config.file={root / 'prometheus.yml'}", "--log.level=warn"]
    command += [f"--storage.tsdb.path={root / 'tsdb'}", f"--web.listen-address={address}"]
    with running(command, root / "prometheus.log") as log:
        wait_until(lambda: get(f"http://{address}/-/ready")[0] == 200, "prometheus is ready", 30, log)
        yield f"http://{address}"


def _host(port: int, role: str) -> dict[str, Any]:
    return {"targets": [f"127.0.0.1:{port}"], "labels": {"role": role}}


def _configuration(hosts: Path) -> dict[str, Any]:
    """Return deploy/prometheus/prometheus.yml with frequent scrapes of these hosts and of no container."""
    folder = ROOT / "deploy" / "prometheus"
    configuration: dict[str, Any] = yaml.safe_load((folder / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": SCRAPE}
    configuration["rule_files"] = [str(folder / name) for name in configuration["rule_files"]]
    (job,) = [one for one in configuration["scrape_configs"] if "file_sd_configs" in one]
    job["file_sd_configs"] = [{"files": [str(hosts)]}]
    configuration["scrape_configs"] = [job]
    return configuration
