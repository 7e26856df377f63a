"""What deploy/ ships is tried: the broker's configuration by a real server, the unit's command by tamis itself."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from tasks.settings import PREFIX, Settings
from tests.valkey import valkey_server

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "deploy" / "systemd" / "tamis.service"


def test_a_real_server_takes_the_brokers_configuration_and_evicts_nothing() -> None:
    lines = (ROOT / "deploy" / "redis-broker.conf").read_text().splitlines()
    settings = dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    arguments = [word for name, value in settings.items() for word in (f"--{name}", value.strip('"'))]
    with valkey_server(arguments=tuple(arguments)) as server, server.client() as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


def test_the_service_unit_names_settings_and_options_that_exist() -> None:
    text = UNIT.read_text()
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(r"TAMIS_[A-Z_]+", text)) <= known
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys are case-sensitive
    unit.read_string(text)
    command = unit["Service"]["ExecStart"].split()
    from tasks.cli.up import up

    assert command[1] == "up"
    assert {word for word in command[2:] if word.startswith("--")} <= {
        name for option in up.params for name in option.opts
    }
    assert unit["Service"]["Restart"] == "always"
    drain_seconds = float(command[command.index("--drain-seconds") + 1])
    assert float(unit["Service"]["TimeoutStopSec"]) > drain_seconds
