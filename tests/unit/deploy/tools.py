"""The programs that check the files of deploy/. An absent one fails its tests: `make test` installs them all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "tamis"
BESIDE_PYTHON = Path(sys.executable).parent  # not resolved: python in a virtual environment is a link


def program(name: str) -> str:
    """Return the path of a program of the virtual environment, of its tools, or of the system."""
    places = (BESIDE_PYTHON / name, BESIDE_PYTHON.parent / "tools" / name)
    found = next((str(place) for place in places if place.is_file()), None) or shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed, and these files are not checked without it: `make test` installs it")
    return found


def answer(*command: str | Path, **variables: str) -> str:
    """Run a command and return its output; an error or a warning fails the test."""
    done = subprocess.run(
        [program(str(command[0])), *map(str, command[1:])],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        timeout=60,
    )
    assert (done.returncode, done.stderr.strip()) == (0, ""), f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@cache
def compose() -> dict[str, Any]:
    """Return compose.yaml as Docker Compose reads it, with every profile and the example's settings."""
    example = str(DEPLOY / "tamis.env.example")
    text = answer(
        "docker-compose",
        "-f",
        DEPLOY / "compose.yaml",
        "--profile",
        "*",
        "config",
        "--format",
        "json",
        SETTINGS_FILE=example,
    )
    configuration: dict[str, Any] = json.loads(text)
    return configuration


@cache
def chart(*values: str) -> tuple[dict[str, Any], ...]:
    """Return the objects that the chart renders from these values, in the namespace ``sifting``."""
    chosen = [word for value in values for word in ("--set", value)]
    text = answer("helm", "template", "t", CHART, "--namespace", "sifting", *chosen)
    return tuple(document for document in yaml.safe_load_all(text) if document)
