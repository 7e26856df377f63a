"""The gallery in a real browser, opened from a file: seen, filtered, decided by keys alone, and with 100,000 videos."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tasks.gallery.thresholds import StartingThreshold
from tasks.gallery.write import write_gallery
from tasks.node.processes import TAMIS
from tests.browser.results import RUN, row, written
from tests.browser.watched import program

ROWS = 300
MANY = 100_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--enable-precise-memory-info"]
        yield playwright.chromium.launch(executable_path=program("chromium"), args=arguments)


def gallery(root: Path, url: str, *options: str, status: int = 0) -> str:
    command = [*TAMIS, "gallery", "--tables", url, "-o", str(root / "gallery"), *options]
    environment = {"PATH": "/usr/bin:/bin", "TAMIS_OBJECT_ROOT": str(root / "objects"), "TAMIS_STATE_DIR": str(root)}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert answer.returncode == status, answer.stderr
    return answer.stdout + answer.stderr


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    said = gallery(root, written(root, ROWS))
    assert f"gallery of run {RUN}: {ROWS} videos" in said
    return root


@pytest.fixture
def page(small: Path, browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1500, "height": 900}, locale="en-GB") as context:
        opened = context.new_page()
        faults: list[str] = []
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.on(
            "request",
            lambda request: faults.extend([] if request.url.startswith(("file:", "blob:", "data:")) else [request.url]),
        )
        opened.goto(f"file://{small}/gallery/index.html")
        opened.wait_for_selector(".video img")
        yield opened
        assert faults == []  # no script failed, nothing was asked of a network


def counts(page: Page) -> str:
    return page.inner_text("#counts")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_each_video_shows_its_frames_scores_windows_and_reasons(page: Page) -> None:
    assert "300 of 300 videos shown" in counts(page)
    assert page.locator("#detail .frame").count() == 6
    assert page.locator("#detail .frame i").count() == 12  # a region and a crop on each frame
    assert page.locator("#detail .timeline rect").count() == 5
    assert "vfx_filter: 0.00 < 0.50, 0.50 below the threshold" in page.inner_text("#detail")
    assert "1920 × 1080" in page.inner_text("#detail")
    page.wait_for_function("document.querySelector('#detail video').readyState >= 1")  # played from the local store


def test_a_failed_video_shows_its_error_as_text(page: Page) -> None:
    page.select_option("#outcome", label="corrupt_video")
    assert "30 of 300 videos shown" in counts(page)
    assert "corrupt_video (infer): <b>no frames</b>" in page.inner_text("#detail")


def test_a_threshold_moves_the_counts_and_the_border_shows_the_closest(page: Page) -> None:
    slider = page.locator("input[data-output=vfx_filter]")
    for value, falling in (("0.5", 135), ("0.9", 27)):
        slider.fill(value)
        assert f"drop {falling};" in counts(page)
        assert f"{falling} fall" in page.inner_text("#controls")
    page.select_option("#sort", label="vfx_filter: at the border")
    first = page.evaluate(
        "Array.from(model.shown.slice(0, 3), (row) => model.outputs.find((o) => o.key === 'vfx_filter').score[row])"
    )
    assert all(abs(score - 0.9) <= 0.015 for score in first)


def test_a_slider_starts_at_the_threshold_by_which_the_rows_were_decided(tmp_path: Path, browser: Browser) -> None:
    about = {"run": RUN, "tables": "made", "media": None}
    rows, thresholds = [row(ordinal) for ordinal in range(30)], {"vfx_filter": StartingThreshold(0.9, 0.0)}
    write_gallery(rows, tmp_path / "gallery", strips={}, about=about, thresholds=thresholds)
    with browser.new_context(locale="en-GB") as context:
        opened = context.new_page()
        opened.goto(f"file://{tmp_path}/gallery/index.html")
        opened.wait_for_selector(".video")
        assert opened.locator("input[data-output=vfx_filter]").input_value() == "0.9"
        assert opened.locator("input[type=checkbox][aria-label=vfx_filter]").is_checked()
        scores = (one.info["vfx_filter"]["result"]["VFX_video"] for one in rows if one.is_ok)
        assert f"drop {sum(score > 0.9 for score in scores)};" in counts(opened)


def test_a_cell_of_the_cross_table_opens_its_videos(page: Page) -> None:
    cell = page.locator("#cross tr:nth-child(2) td:nth-child(2) button")
    number = int(cell.inner_text())
    cell.click()
    assert f"{number} of 300 videos shown" in counts(page)


def test_decisions_are_made_undone_exported_and_read_back_by_keys_alone(page: Page, tmp_path: Path) -> None:
    press(page, "+", "-", "+", "u", "j", "-", "End", "+")
    assert "you keep 2, drop 2" in counts(page)
    press(page, "/")
    page.keyboard.type("clip-299")
    press(page, "Escape")
    assert "1 of 300 videos shown" in counts(page)
    with page.expect_download() as download:
        page.focus("#export")
        press(page, "Enter")
    exported = tmp_path / "decisions.jsonl"
    download.value.save_as(exported)
    lines = [json.loads(line) for line in exported.read_text().splitlines()]
    assert [(line["video_id"], line["decision"]) for line in lines] == [
        ("clip-0", "keep"),
        ("clip-1", "drop"),
        ("clip-3", "drop"),
        ("clip-299", "keep"),
    ]
    assert set(lines[0]) >= {"video_id", "oss_bucket", "video_path", "video_tag", "info", "run_id", "ordinal"}
    page.evaluate("localStorage.clear()")
    page.reload()
    page.wait_for_selector(".video img")
    assert "you keep 0, drop 0" in counts(page)
    page.set_input_files("#import", exported)
    page.wait_for_function("model.exported() !== ''")
    assert page.evaluate("model.exported()") == exported.read_text()  # byte for byte
    page.reload()
    page.wait_for_selector(".video img")
    assert "you keep 2, drop 2" in counts(page)  # kept by the browser


def test_both_languages_have_the_same_texts_and_the_page_changes_between_them(page: Page) -> None:
    keys = page.evaluate("Object.values(TEXTS).map((t) => [Object.keys(t).sort(), t.help.map(([key]) => key)])")
    assert keys[0] == keys[1]
    page.click("#language")
    assert page.evaluate("document.documentElement.lang") == "zh"
    assert "显示 300 / 300 个视频" in counts(page)
    press(page, "?")
    assert page.is_visible("#help")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_drawn_in_light_and_in_dark(page: Page, scheme: Any, tmp_path: Path) -> None:
    page.emulate_media(color_scheme=scheme)
    shot = page.screenshot(path=tmp_path / f"{scheme}.png")
    assert len(shot) > 50_000
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (scheme == "light")


def test_a_gallery_made_again_keeps_its_strips_and_names_no_folder_of_the_machine(small: Path) -> None:
    strips = {path: path.stat().st_mtime_ns for path in (small / "gallery" / "strips").iterdir()}
    gallery(small, f"sqlite:///{small}/out.db#results", "--limit", "10")
    assert {path: path.stat().st_mtime_ns for path in (small / "gallery" / "strips").iterdir()} == strips
    texts = [path.read_text() for path in (small / "gallery").rglob("*.js*")]
    assert not [text for text in texts if str(small) in text]
    gallery(small, f"sqlite:///{small}/out.db#results")


def test_a_table_without_results_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"video_id": "1"}\n')
    said = gallery(tmp_path, str(tmp_path / "in.jsonl"), status=2)
    assert said.count("\n") == 1
    assert "holds no results of tamis" in said


# Each figure is a ratio to a page with as many rows of plain text, drawn by the same browser in the same moment.
PLAIN = """<!doctype html><body><script>
const t = performance.now();
const list = document.createElement("div");
for (let row = 0; row < 2000; row++) {
  const line = document.createElement("p");
  line.textContent = "row " + row;
  list.append(line);
}
document.body.append(list); document.body.offsetHeight; window.took = performance.now() - t;
</script>"""


def test_a_hundred_thousand_videos_stay_fluid(tmp_path: Path, browser: Browser) -> None:
    rows = (row(ordinal) for ordinal in range(MANY))
    write_gallery(rows, tmp_path / "gallery", strips={}, about={"run": RUN, "tables": "made", "media": None})
    (tmp_path / "plain.html").write_text(PLAIN)
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"file://{tmp_path}/plain.html")
        plain = page.evaluate("window.took")  # milliseconds for 2,000 lines of text
        page.goto(f"file://{tmp_path}/gallery/index.html")
        page.wait_for_selector(".video")
        assert "100000 of 100000 videos shown" in counts(page)

        def milliseconds(code: str) -> float:
            shown = "document.body.offsetHeight; return performance.now() - t;"
            timed = f"() => {{ const t = performance.now(); {code}; {shown} }}"
            return min(float(page.evaluate(timed)) for _ in range(5))

        assert milliseconds("list.go(list.focus ? 0 : 99999)") < 2 * plain
        assert milliseconds("model.thresholds[0].value = 0.3; page.moveThreshold()") < 2 * plain
        assert milliseconds("model.filter.text = 'clip-99'; page.refresh()") < 5 * plain
        assert page.evaluate("performance.memory.usedJSHeapSize") < 300e6
        assert page.locator(".video").count() < 30
        page.evaluate("model.clear(); page.refresh(); list.go(99999)")
        page.wait_for_function("document.querySelector('#detail h2')?.textContent === 'clip-99999'")
