"""The files of deploy/ under the linters of their own kinds."""

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
    if path.parent != CHART / "templates"  # no YAML before Helm has rendered them
)
RULES = ROOT / ".yamllint.yaml"


def test_hadolint_finds_nothing_to_say_about_the_dockerfile() -> None:
    answer("hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile")


@pytest.mark.parametrize("path", YAML, ids=str)
def test_yamllint_finds_nothing_to_say_about_a_file(path: Path) -> None:
    answer("yamllint", "--strict", "--config-file", RULES, ROOT / path)


def test_yamllint_finds_no_key_twice_in_what_the_chart_makes(tmp_path: Path) -> None:
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(
        answer("helm", "template", "t", CHART, "--set", "autoscaling.enabled=true,metrics.podMonitor.enabled=true")
    )
    rules = yaml.safe_dump({"rules": {"key-duplicates": "enable", "anchors": "enable"}})
    answer("yamllint", "--strict", "--config-data", rules, rendered)


def shell_of(service: dict[str, object]) -> list[str]:
    """The shell text of a service: of a command under ``sh -c``, and of a health check of the kind CMD-SHELL."""
    texts = []
    entrypoint, command = service.get("entrypoint") or [], service.get("command") or []
    if isinstance(entrypoint, list) and isinstance(command, list) and entrypoint[-2:] == ["sh", "-ec"]:
        texts.append(str(command[0]))
    check = service["healthcheck"]
    if isinstance(check, dict) and check["test"][0] == "CMD-SHELL":
        texts.append(str(check["test"][1]))
    return [text.replace("$$", "$") for text in texts]  # Compose's way to write a dollar


def test_the_shell_in_compose_is_shell() -> None:
    texts = [text for service in compose()["services"].values() for text in shell_of(service)]
    assert len(texts) == 3  # Flower's command, and the health checks of the two servers
    for text in texts:
        for shell in ("bash", "dash"):
            done = subprocess.run([shell, "-n", "-c", text], capture_output=True, text=True, check=False, timeout=30)
            assert (done.returncode, done.stderr) == (0, "")
