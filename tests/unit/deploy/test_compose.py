"""compose.yaml, read by the real Docker Compose (which needs no engine for that)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.settings import Settings
from tests.unit.deploy.roles import assert_every_queue_is_served, consumed, settings_of
from tests.unit.deploy.tools import DEPLOY, compose

OURS = {"io", "gpu0", "gpu1", "amd0", "amd1", "cpu", "results", "beat"}
NAMES = sorted(yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"])


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def seconds(duration: str) -> float:
    return sum(
        float(count) * {"h": 3600, "m": 60, "s": 1}[unit] for count, unit in re.findall(r"(\d+)([hms])", duration)
    )


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_role_has_existing_settings_and_a_valid_command(name: str, tmp_path: Path) -> None:
    service = services()[name]
    settings = settings_of(service["environment"], tmp_path)
    assert settings.broker.url is not None
    assert settings.node.name == "node1"
    consumed(service["command"])
    assert seconds(service["stop_grace_period"]) > settings.decode.limits.timeout_seconds


def test_every_queue_is_served_and_workers_of_a_node_share_its_spool() -> None:
    assert_every_queue_is_served([consumed(services()[name]["command"]) for name in OURS], "node1")
    states = {str(services()[name]["volumes"][0]["source"]) for name in OURS}
    assert states == {"state"}


@pytest.mark.parametrize("name", NAMES)
def test_a_container_has_only_the_privileges_that_it_needs(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["healthcheck"]["test"]
    assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}
    assert "secret" not in str(service.get("environment", {})).lower().replace("/run/secrets/", "")


def test_only_the_broker_shares_flower_s_network() -> None:
    assert {name for name, service in services().items() if "flower" in service["networks"]} == {"broker", "flower"}
    assert list(services()["flower"]["networks"]) == ["flower"]


def test_an_inference_worker_has_one_device_of_its_own() -> None:
    reserved = {name: services()[name]["deploy"]["resources"]["reservations"]["devices"] for name in ("gpu0", "gpu1")}
    assert [device["device_ids"] for (device,) in reserved.values()] == [["0"], ["1"]]
    assert Settings.from_env({"TAMIS_DEVICE": services()["cpu"]["environment"]["TAMIS_DEVICE"]}).models.device == "cpu"


def test_an_inference_worker_of_amd_has_the_driver_its_groups_and_one_device_of_its_own() -> None:
    workers = [services()[name] for name in ("amd0", "amd1")]
    assert [worker["environment"]["HIP_VISIBLE_DEVICES"] for worker in workers] == ["0", "1"]
    assert all([device["source"] for device in worker["devices"]] == ["/dev/kfd", "/dev/dri"] for worker in workers)
    assert all(worker["group_add"] == ["44", "109"] for worker in workers)


def test_the_cache_is_limited_to_seven_tenths_of_its_memory() -> None:
    found = re.search(r"^maxmemory (\d+)mb$", (DEPLOY / "redis-cache.conf").read_text(), re.MULTILINE)
    assert found is not None
    assert int(found[1]) == int(services()["cache"]["mem_limit"]) * 7 // 10 // 1024**2
