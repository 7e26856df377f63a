"""The systemd units, checked by systemd itself, and their commands by tamis."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tasks.cli.up import up
from tests.unit.deploy.roles import assert_every_queue_is_served, consumed, settings_of
from tests.unit.deploy.tools import DEPLOY, answer

UNITS = DEPLOY / "systemd"
SYSTEMD = Path("/usr/lib/systemd/system")  # the units that every machine has: sysinit.target, …
ROLES = ("tamis-io.service", "tamis-gpu@.service", "tamis-results.service", "tamis-beat.service")
SERVICES = ("tamis.service", *ROLES)
NAMES = (*SERVICES, "tamis-gpu@0.service", "tamis.target")  # instance 0 with the example's affinity
MAX_EXPOSURE = 2.5  # of 10; the network and the GPU's devices account for it
TAMIS = "/opt/tamis/.venv/bin/tamis"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root directory in which tamis is installed."""
    if not SYSTEMD.is_dir():
        pytest.fail(f"{SYSTEMD} is not there, and the units are not checked without it: `make test` installs systemd")
    root = tmp_path_factory.mktemp("machine")
    shutil.copytree(SYSTEMD, root / SYSTEMD.relative_to("/"), symlinks=True)
    shutil.copytree(UNITS, root / "etc/systemd/system")
    command = root / TAMIS.lstrip("/")
    command.parent.mkdir(parents=True)
    command.touch(mode=0o755)
    return root


def directives(name: str) -> dict[str, list[str]]:
    """Return directive -> its values in order, of all sections."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def resolved(name: str) -> tuple[dict[str, str], list[str]]:
    """Return a unit's variables and the words of its command, on the host ``n1``, as instance 0."""
    unit = directives(name)
    text = " ".join(unit["Environment"]).replace("%l", "n1").replace("%i", "0")
    variables = dict(word.split("=", 1) for word in text.split())
    (command,) = unit["ExecStart"]
    for variable, value in {**variables, "%i": "0"}.items():
        command = command.replace(variable if variable == "%i" else f"${{{variable}}}", value)
    return variables, command.split()


@pytest.mark.parametrize("name", NAMES)
def test_systemd_reports_nothing_about_a_unit(machine: Path, name: str) -> None:
    answer("systemd-analyze", "verify", "--man=no", f"--root={machine}", name)


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_has_only_the_privileges_that_it_needs(machine: Path, name: str) -> None:
    report = answer("systemd-analyze", "security", "--no-pager", "--offline=true", f"--root={machine}", name)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", report)
    assert found is not None
    assert float(found[1]) <= MAX_EXPOSURE


@pytest.mark.parametrize("name", ROLES)
def test_a_role_has_existing_settings_a_valid_command_and_time_to_drain(name: str, tmp_path: Path) -> None:
    variables, (program, *arguments) = resolved(name)
    settings = settings_of({**example(), **variables}, tmp_path)
    assert settings.node.name == "n1"
    assert program == TAMIS
    consumed(arguments)
    assert float(directives(name)["TimeoutStopSec"][0]) > settings.decode.limits.timeout_seconds
    assert directives(name)["KillMode"] == ["mixed"]


def test_every_queue_is_served_and_no_two_workers_of_a_machine_have_the_same_port() -> None:
    assert_every_queue_is_served([consumed(resolved(name)[1][1:]) for name in ROLES], "n1")
    ports = [resolved(name)[0]["TAMIS_METRICS_PORT"] for name in ROLES if name != "tamis-beat.service"]
    assert ports == ["9540", "9550", "9541"]


def test_the_unit_of_a_whole_node_has_valid_options_and_waits_longer_than_its_drain(tmp_path: Path) -> None:
    unit = directives("tamis.service")
    variables, (program, command, option, drain_seconds) = resolved("tamis.service")
    settings = settings_of({**example(), **variables}, tmp_path)
    assert (program, command) == (TAMIS, up.name)
    assert option in {name for parameter in up.params for name in parameter.opts}
    assert float(unit["TimeoutStopSec"][0]) > float(drain_seconds) >= settings.decode.limits.timeout_seconds
    assert unit["Restart"] == ["always"]


def example() -> dict[str, str]:
    """Return the variables of tamis.env.example."""
    lines = (DEPLOY / "tamis.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
