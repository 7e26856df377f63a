"""Files that compose.yaml mounts and the Dockerfile copies are in the repository, or are named as the site's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.unit.deploy.tools import DEPLOY, ROOT, compose

SERVICES: dict[str, dict[str, list[str]]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
MOUNTED = sorted(
    {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", []) if mount[0] == "."}
)
COPIED = sorted(
    {
        source
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
        for source in sources.split()
    }
)
# Docker creates an empty directory for a mount whose file is missing, and the service fails far from the cause.


@pytest.mark.parametrize("path", MOUNTED)
def test_a_file_that_compose_mounts_is_in_the_repository(path: str) -> None:
    assert (DEPLOY / path).exists()


def test_compose_mounts_only_files_of_this_directory_and_secrets_and_all_read_only() -> None:
    for name, service in compose()["services"].items():
        for mount in service.get("volumes", []):
            is_ours = mount["type"] == "bind" and Path(mount["source"]).is_relative_to(DEPLOY) and mount["read_only"]
            assert mount["type"] == "volume" or is_ours, f"{name}: {mount}"


def test_a_secret_is_a_file_outside_the_repository() -> None:
    configuration = compose()
    used = {secret["source"] for service in configuration["services"].values() for secret in service.get("secrets", [])}
    assert used == set(configuration["secrets"])
    assert {Path(secret["file"]).parent for secret in configuration["secrets"].values()} == {DEPLOY / "secrets"}
    assert not (DEPLOY / "secrets").is_dir() or "deploy/secrets/" in (ROOT / ".gitignore").read_text()


@pytest.mark.parametrize("source", COPIED)
def test_a_file_that_the_dockerfile_copies_is_in_the_repository_and_in_the_build_context(source: str) -> None:
    assert (ROOT / source).exists()
    assert f"!{source}" in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
