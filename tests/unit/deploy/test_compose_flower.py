"""Flower, started by compose.yaml's command and probed by its health check, with paths and port of this test."""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fleet.processes import wait_until
from tests.unit.deploy.tools import compose, program
from tests.valkey import free_port, valkey_server


@dataclass(frozen=True)
class HostPaths:
    """This machine's paths and port in place of the container's."""

    password: Path
    port: int
    directory: Path  # that Flower is started in

    def here(self, text: str) -> str:
        return text.replace("/run/secrets/flower_basic_auth", str(self.password)).replace("5555", str(self.port))

    def run(self, words: Sequence[str], **variables: str) -> subprocess.Popen[bytes]:
        command = [program(words[0]), *map(self.here, words[1:])]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("TAMIS_", "FLOWER_"))}
        return subprocess.Popen(command, env=clean | variables, cwd=self.directory, stderr=subprocess.DEVNULL)


@contextmanager
def flower(place: HostPaths, broker_url: str) -> Iterator[None]:
    service = compose()["services"]["flower"]
    given = {name: place.here(value) for name, value in service["environment"].items() if name.startswith("FLOWER_")}
    process = place.run(["tamis", *service["command"]], TAMIS_BROKER_URL=broker_url, **given)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_flower_asks_for_a_password_and_its_health_check_passes(tmp_path: Path) -> None:
    place = HostPaths(tmp_path / "password", free_port(), tmp_path)
    place.password.write_text("watcher:secret\n")
    kind, *check = compose()["services"]["flower"]["healthcheck"]["test"]
    assert kind == "CMD"
    assert place.run(check).wait(30) == 1
    with valkey_server() as server, flower(place, server.url):
        wait_until(lambda: place.run(check).wait(30) == 0, "Flower")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{place.port}/healthcheck", timeout=5)
        with refused.value as answer:
            assert answer.code == 401
