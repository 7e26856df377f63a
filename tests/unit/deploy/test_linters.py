"""The files of deploy/, each checked by the linter of its kind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.deploy.tools import CHART, DEPLOY, ROOT, answer, compose

YAML = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.yaml", "*.yml")
    for path in DEPLOY.rglob(pattern)
    if path.parent != CHART / "templates"  # not YAML until Helm has rendered them
)
RULES = ROOT / ".yamllint.yaml"


def test_hadolint_reports_nothing_about_the_dockerfile() -> None:
    answer("hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile")


@pytest.mark.parametrize("path", YAML, ids=str)
def test_yamllint_reports_nothing_about_a_file(path: Path) -> None:
    answer("yamllint", "--strict", "--config-file", RULES, ROOT / path)


def test_yamllint_reports_no_repeated_key_in_the_rendered_chart(tmp_path: Path) -> None:
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(
        answer("helm", "template", "t", CHART, "--set", "autoscaling.enabled=true,metrics.podMonitor.enabled=true")
    )
    rules = yaml.safe_dump({"rules": {"key-duplicates": "enable", "anchors": "enable"}})
    answer("yamllint", "--strict", "--config-data", rules, rendered)


def test_the_shell_commands_in_compose_are_valid_shell() -> None:
    checks = {name: service["healthcheck"]["test"] for name, service in compose()["services"].items()}
    texts = [text.replace("$$", "$") for kind, text, *_ in checks.values() if kind == "CMD-SHELL"]  # Compose's dollar
    assert len(texts) == 2  # of the two servers
    for text in texts:
        for shell in ("bash", "dash"):
            done = subprocess.run([shell, "-n", "-c", text], capture_output=True, text=True, check=False, timeout=30)
            assert (done.returncode, done.stderr) == (0, "")
