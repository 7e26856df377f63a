"""Prometheus' configuration and the alert rules, checked by promtool and against the exposed metrics."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deploy.registry import asked_for, series

DEPLOY = Path(__file__).parents[3] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"


def promtool(*arguments: str) -> str:
    """Run promtool in the directory of the files; a failure that it reports fails the test."""
    if shutil.which("promtool") is None:
        pytest.fail("promtool is not installed, and the rules are not checked without it: run `make programs`")
    done = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    """Return every alert."""
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_configuration_and_the_rules_are_valid() -> None:
    assert "valid prometheus config" in promtool("check", "config", "prometheus.yml")
    assert f"{len(rules())} rules found" in promtool("check", "rules", "--lint-fatal", "alerts.yml")


def test_every_alert_fires_at_its_time_and_no_other_alert_does() -> None:
    promtool("test", "rules", "alerts_test.yml")
    tried = set(re.findall(r"(?:alertname=\"|alertname: )(Tamis\w+)", (PROMETHEUS / "alerts_test.yml").read_text()))
    assert tried == {rule["alert"] for rule in rules()}


def test_an_alert_that_never_fires_fails_its_test(tmp_path: Path) -> None:
    for name in ("alerts.yml", "alerts_test.yml"):
        text = (PROMETHEUS / name).read_text()
        (tmp_path / name).write_text(text.replace("max by (run) (tamis_run_trouble) == 1", "vector(0) > 1"))
    with pytest.raises(AssertionError, match="TamisRunTrouble"):
        promtool("test", "rules", str(tmp_path / "alerts_test.yml"))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_summary_a_severity_and_a_runbook_section(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "remedy", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_every_alert_has_its_section_in_the_runbook_and_is_listed() -> None:
    docs = DEPLOY.parent / "docs"
    names = [rule["alert"] for rule in rules()]
    headings = re.findall(r"^#+ (Tamis\w+)$", (docs / "operations.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(names)
    _, _, rest = (docs / "monitoring.md").read_text().partition("\n## Prometheus and alerts\n")
    section, _, _ = rest.partition("\n## ")
    assert set(re.findall(r"Tamis\w+", section)) == set(names)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_queries_existing_metrics_and_labels(rule: dict[str, Any]) -> None:
    known = series()
    for name, labels in asked_for(rule["expr"]):
        assert name in known
        assert labels <= known[name], name


def test_every_service_with_a_metrics_port_is_scraped() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    workers = {name for name, service in compose.items() if "worker" in service.get("command", ())}
    jobs = {
        job["job_name"]: job for job in yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    }
    (discovery,) = jobs["tamis"]["dns_sd_configs"]
    assert set(discovery["names"]) == workers
    assert discovery["port"] == 9540


def test_the_example_s_ports_are_those_of_the_units() -> None:
    units = "".join(path.read_text() for path in (DEPLOY / "systemd").glob("*.service"))
    ports = {port.replace("%i", "0") for port in re.findall(r"TAMIS_METRICS_PORT=([\d%i]+)", units)}
    hosts = yaml.safe_load((PROMETHEUS / "hosts.example.yml").read_text())
    assert ports <= {target.split(":")[1] for host in hosts for target in host["targets"]}
