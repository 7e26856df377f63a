"""Every TAMIS_ name that deploy/ and its page mention is a setting, comments included."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.settings.environment import SETTINGS
from tests.unit.deploy.tools import DEPLOY, ROOT

FILES = sorted(
    path.relative_to(ROOT)
    for path in (*DEPLOY.rglob("*"), ROOT / "docs" / "deployment.md")
    if path.is_file() and not {"__pycache__", "secrets"} & set(path.parts) and path.name != "tamis.env"
)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_names_only_existing_settings(path: Path) -> None:
    names = set(re.findall(r"\bTAMIS_[A-Z_]*[A-Z]\b", (ROOT / path).read_text(encoding="utf-8")))
    assert {name.removesuffix("_FILE") for name in names - set(SETTINGS)} <= set(SETTINGS)
