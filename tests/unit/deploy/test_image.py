"""The Dockerfile and the files that it installs. The image itself is not built here: that needs an engine."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.fleet.processes import Fleet, wait_until
from tests.unit.deploy.test_mounts import COPIED
from tests.unit.deploy.tools import DEPLOY, ROOT, program
from tests.valkey import free_port, valkey_server

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LIVEZ = DEPLOY / "livez.py"


def livez(*arguments: str) -> int:
    """Return the exit status of the health check."""
    return subprocess.run([sys.executable, str(LIVEZ), *arguments], check=False, timeout=30).returncode


def test_the_extras_of_the_image_exist() -> None:
    extras = {extra for found in re.findall(r"EXTRAS=([\w,]+)", DOCKERFILE) for extra in found.split(",")}
    assert {"gpu", "aliyun", "otel"} == extras
    assert extras <= set(PROJECT["optional-dependencies"])


def test_an_image_of_every_maker_can_be_built_and_amds_refuses_another_build_of_torch() -> None:
    assert re.findall(r"^FROM \S+ AS base-(\w+)$", DOCKERFILE, re.MULTILINE) == ["cpu", "cuda", "rocm"]
    assert "torch.version.hip" in DOCKERFILE


def test_the_image_installs_the_whole_package(tmp_path: Path) -> None:
    """Compare the wheel that pip makes of the copied files with the package: every module and data file."""
    source = tmp_path / "src"
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    build = [program("hatchling"), "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=source, check=True, timeout=60)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    packages = ("tasks", "inference", "storage", "beat")
    files = {str(path.relative_to(source)) for package in packages for path in (source / package).rglob("*.*")}
    assert names == files | {"celeryconfig.py"}


def test_the_image_runs_without_root_and_starts_tamis_under_an_init() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert 'ENTRYPOINT ["tini", "--", "tamis"]' in DOCKERFILE
    assert "tamis" in PROJECT["scripts"]


def test_the_health_check_asks_the_port_that_the_image_sets() -> None:
    (port,) = re.findall(r"TAMIS_METRICS_PORT=(\d+)", DOCKERFILE)
    assert f"PORT = {port} " in LIVEZ.read_text()
    assert 'CMD ["python", "/opt/tamis/livez.py"]' in DOCKERFILE
    assert "COPY deploy/livez.py /opt/tamis/livez.py" in DOCKERFILE


def test_the_health_check_passes_for_a_real_worker_and_fails_once_it_has_ended(tmp_path: Path) -> None:
    port = free_port()
    assert livez(str(port)) == 1
    with valkey_server() as server:
        fleet = Fleet(server.url, tmp_path / "fleet")
        try:
            worker = fleet.start_worker("worker", warmup_seconds=60.0, metrics_port=port)
            wait_until(lambda: livez(str(port)) == 0, "a live worker")
            worker.kill()
            assert livez(str(port)) == 1
        finally:
            fleet.close()


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", b"nonsense\r\n\r\n"]
)
def test_the_health_check_fails_for_any_other_answer(reply: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen([sys.executable, str(LIVEZ), str(listener.getsockname()[1])])
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(reply)
        assert process.wait(30) == 1
