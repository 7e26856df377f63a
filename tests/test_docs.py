"""The pages name what exists: links and anchors, settings, make targets, files, and a runbook entry for every alert."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tasks.settings.environment import SETTINGS

ROOT = Path(__file__).parent.parent
CHINESE = [*ROOT.glob("README.zh-CN.md"), *(ROOT / "docs" / "zh-CN").glob("*.md")]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "zh-CN").glob("*.md")]
SHIPPED = [path for path in (ROOT / "deploy").rglob("*") if path.is_file() and path.suffix not in {".pyc", ".png"}]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def unknown_settings(text: str) -> set[str]:
    found = set(re.findall(r"\bTAMIS_(?!TEST_)[A-Z0-9_]*[A-Z0-9]\b(?!_?[*…])", text))  # TAMIS_TEST_*: the tests' own
    return {name for name in found if name.removesuffix("_FILE") not in SETTINGS and name not in SETTINGS}


@each_page
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        path = page if not name else page.parent / name
        if not target.startswith("http") and not (
            path.exists() and (not anchor or path.suffix != ".md" or anchor in anchors(path))
        ):
            broken.append(target)
    assert not broken


@each_page
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    assert not unknown_settings(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_that_a_shipped_file_names_exists(path: Path) -> None:
    assert not unknown_settings(path.read_text(encoding="utf-8"))


@each_page
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:`|^|\$ )make ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= targets


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def typed_words(page: Path) -> set[str]:
    """Return the commands, options, settings and make targets in a page's code: what a reader would type."""
    code = re.findall(r"^```.*?^```|`[^`\n]+`", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    word = re.compile(r"\b(?:tamis|make) [a-z][a-z-]*|(?<![\w-])--?[a-zA-Z][\w-]*|\bTAMIS_[A-Z_]+")
    return {found for part in code for found in word.findall(part)}


@pytest.mark.parametrize("page", CHINESE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_chinese_page_has_the_same_commands_options_and_settings_as_the_english_one(page: Path) -> None:
    english = ROOT / "README.md" if page.parent == ROOT else ROOT / "docs" / page.name
    assert sorted(typed_words(english) - typed_words(page)) == [], "add these to the Chinese page"
    assert sorted(typed_words(page) - typed_words(english)) == [], "remove these from the Chinese page"


def test_every_english_page_with_a_chinese_twin_links_to_it_and_back() -> None:
    for page in CHINESE:
        name = page.relative_to(ROOT).as_posix()
        english = "README.md" if page.parent == ROOT else f"docs/{page.name}"
        there, back = name.removeprefix("docs/"), english if page.parent == ROOT else f"../{page.name}"
        assert f"[中文]({there})" in (ROOT / english).read_text(encoding="utf-8"), english
        assert f"[English]({back})" in page.read_text(encoding="utf-8"), name


def test_a_chinese_page_links_to_chinese_pages_where_there_are_any() -> None:
    names = {page.name for page in CHINESE if page.parent != ROOT}
    links = {
        (page.name, target)
        for page in CHINESE
        for target in re.findall(r"(?<!\[English)\]\((?:\.\./|docs/)([\w-]+\.md)\)", page.read_text(encoding="utf-8"))
    }
    assert {(page, target) for page, target in links if target in names} == set()


def test_the_runbook_has_an_entry_for_every_alert_and_no_other() -> None:
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"]: rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"]}
    assert alerts == {name: f"docs/operations.md#{name.lower()}" for name in alerts}
    entries = re.findall(r"^### (Tamis\w+)$", read("docs/operations.md"), re.MULTILINE)
    assert sorted(entries) == sorted(alerts)
    assert re.findall(r"^### (Tamis\w+)$", read("docs/zh-CN/operations.md"), re.MULTILINE) == entries


def where_it_goes() -> dict[str, list[str]]:
    """Return CONTRIBUTING's answers to "Where does it go?": kind of change -> the files and folders named for it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z, ]+) \|(.+)$", text.split("## Glossary")[0], re.MULTILINE)
    path = re.compile(r"`(?:python )?([\w./@]+(?:/|\.(?:py|toml|md|yml)))`")
    return {kind: path.findall(cells) for kind, cells in rows}


def test_the_files_that_contributing_names_for_each_kind_of_change_exist() -> None:
    named = where_it_goes()
    kinds = {"filter", "object store or tier", "kind of table", "broker", "decoder", "setting", "metric", "command"}
    assert set(named) >= kinds | {"alert", "task or queue"}
    assert {kind: paths for kind, paths in named.items() if len(paths) < 2} == {}
    assert [path for paths in named.values() for path in paths if not (ROOT / path).exists()] == []


def test_the_glossary_is_sorted_and_names_each_word_once() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Glossary")[1]
    words = re.findall(r"^\| ([a-z, -]+) \| (?!meaning)", text, re.MULTILINE)
    assert words == sorted(set(words))
    assert len(words) >= 30


def test_the_index_of_the_docs_leads_to_every_page_and_names_every_command() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    commands = metadata["project"]["entry-points"]["celery.commands"]
    assert {command for command in commands if f"tamis {command}" not in index} == set()
    chinese = (ROOT / "docs" / "zh-CN" / "README.md").read_text(encoding="utf-8")
    assert {name for name in pages if not re.search(rf"\]\((\.\./)?{name}\)", chinese)} == set()


def test_the_chinese_page_of_signals_names_every_signal() -> None:
    row = r"^\| `(\w+)` \| .+ \| (?:overview|bursts|native|packets|数据包) \|"
    signals = re.findall(row, read("docs/signals.md"), re.MULTILINE)
    assert len(signals) >= 20
    assert re.findall(row, read("docs/zh-CN/signals.md"), re.MULTILINE) == signals
