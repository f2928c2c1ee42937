"""The report in a real browser: it loads alone, says what results.json says, and fits a small screen."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from robustcl import comparison, report
from robustcl.study.numbers.reading import share
from tests.shared import given_study
from tests.shared.finished_run import write_run
from tests.shared.judged_run import N, write_judged
from tests.shared.tiny_study import study

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium and chromedriver are not installed")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_run(tmp_path_factory.mktemp("browser") / "run", images=60)
    report.write(path)
    return path


@pytest.fixture(scope="module")
def browser(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium.webdriver.chrome.service import Service

    os.environ.setdefault("SE_AVOID_STATS", "true")
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def load(browser: Any, run: Path) -> Any:
    """Open the page at a width and return the browser."""

    def open_at(width: int, file: Path = run / "report.html") -> Any:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get_log("browser")
        browser.get(file.as_uri())
        return browser

    return open_at


def test_loads_alone_without_a_complaint(load: Any) -> None:
    browser = load(1200)
    assert browser.get_log("browser") == []
    names = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in names if not name.startswith("data:")] == []


def test_numbers_are_those_of_results_json(load: Any, run: Path) -> None:
    rows = json.loads((run / "results.json").read_text())["rows"]
    browser = load(1200)
    block = json.loads(browser.execute_script("return document.getElementById('results').textContent"))
    assert [row["value"] for row in block] == [row["value"] for row in rows]
    cells = browser.execute_script(
        "return [...document.querySelectorAll('#result-table [data-field=value]')]"
        ".map(cell => [cell.dataset.value, cell.innerText.trim()])"
    )
    assert [float(exact) for exact, _ in cells] == [row["value"] for row in rows]
    assert [shown for _, shown in cells] == [f"{100 * row['value']:.2f}" for row in rows]
    heads = browser.execute_script("return [...document.querySelectorAll('.number')].map(n => n.dataset.value)")
    assert [float(value) for value in heads] == [rows[0]["value"], min(row["value"] for row in rows[1:3])]


@pytest.mark.parametrize("width", [320, 400, 768, 1200])
def test_page_never_scrolls_sideways(load: Any, width: int) -> None:
    browser = load(width)
    browser.execute_script("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    beyond = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, pre, svg')"
        " && e.getBoundingClientRect().right > window.innerWidth + 0.5).map(e => e.outerHTML.slice(0, 90))"
    )
    assert beyond == []


def test_images_are_all_there(load: Any) -> None:
    widths = load(1200).execute_script("return [...document.images].map(image => [image.complete, image.naturalWidth])")
    assert len(widths) == 27
    assert all(complete and width == 8 for complete, width in widths)


def test_exactly_one_composition_is_shown_at_each_width(load: Any) -> None:
    for width in (400, 768, 1200):
        shown = load(width).execute_script(
            "return [...document.querySelectorAll('.composition svg')]"
            ".filter(drawn => drawn.getClientRects().length).length"
        )
        assert shown == 1


def test_text_of_the_composition_stays_in_its_card(load: Any) -> None:
    outside = load(1200).execute_script(
        "return [...document.querySelectorAll('.composition .columns-4 g')].flatMap(g => {"
        " const box = g.querySelector('rect').getBoundingClientRect();"
        " return [...g.querySelectorAll('text')]"
        ".filter(t => t.getBoundingClientRect().right > box.right + 12).map(t => t.textContent) })"
    )
    assert outside == []


def test_details_open_by_keyboard(load: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = load(1200)
    summary = browser.find_element("css selector", "#lock > summary")
    lock = browser.find_element("id", "lock")
    assert lock.get_attribute("open") is None
    summary.send_keys(Keys.ENTER)
    assert lock.get_attribute("open") is not None
    assert 'eps = "8/255"' in lock.text
    summary.send_keys(Keys.SPACE)
    assert lock.get_attribute("open") is None


def test_comparison_page_fits_too(load: Any, run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", name="another-method-with-a-long-name", seed=3)
    browser = load(400, comparison.write(comparison.compare([run, other]), tmp_path / "all.html"))
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with an audit, corruptions, curves and a journal."""
    return report.write(write_judged(tmp_path_factory.mktemp("judged") / "run", reached=70), projection="pca")


@pytest.mark.parametrize("width", [320, 400, 1200])
def test_an_evaluated_run_fits_and_complains_of_nothing(load: Any, judged: Path, width: int) -> None:
    browser = load(width, judged)
    browser.execute_script("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    beyond = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, pre, svg')"
        " && e.getBoundingClientRect().right > window.innerWidth + 0.5).map(e => e.outerHTML.slice(0, 90))"
    )
    assert beyond == []


def test_images_are_filtered_by_keyboard(load: Any, judged: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = load(400, judged)
    shown = "return [...document.querySelectorAll('#sample-table tbody tr')].filter(row => !row.hidden).length"
    focus = "return document.activeElement.name || document.activeElement.tagName"
    browser.find_element("css selector", "#samples-list > summary").send_keys(Keys.ENTER)
    assert browser.execute_script(shown) == N
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.execute_script(focus) == "fate"
    browser.switch_to.active_element.send_keys("broken by autoattack alone")
    name, count = browser.execute_script(
        "const chosen = document.querySelector('#sample-filter select').selectedOptions[0].text;"
        "return chosen.match(/^(.*) \\((\\d+)\\)$/).slice(1)"
    )
    assert name == "broken by autoattack alone"
    assert browser.execute_script(shown) == int(count) > 0
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.execute_script(focus) == "word"
    browser.switch_to.active_element.send_keys("no such class")
    assert browser.execute_script(shown) == 0
    output = browser.find_element("css selector", "#sample-filter output").text
    assert output == f"0 of {N} images"
    browser.switch_to.active_element.send_keys(Keys.ENTER)  # must not reload the page
    assert browser.find_element("css selector", "#samples-list").get_attribute("open") is not None


_CONTRAST = """
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map(v => v / 255).map(s => s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const parts = colour => colour.match(/[\\d.]+/g).map(Number);
const behind = e => {
  for (; e; e = e.parentElement) {
    const colour = parts(getComputedStyle(e).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
return [...document.querySelectorAll('.badge, .heat td, .heat th, #sample-table td, .fates p *, code, output, .warn')]
  .map(e => {
    const [one, two] = [light(parts(getComputedStyle(e).color)), light(behind(e))];
    return [(Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05), e.outerHTML.slice(0, 90)];
  }).filter(([contrast]) => contrast < 4.5);
"""


def test_text_is_readable_on_its_colour(load: Any, judged: Path) -> None:
    assert load(1200, judged).execute_script(_CONTRAST) == []


def test_the_page_of_a_real_run_says_what_its_results_say(load: Any, main_job: Path) -> None:
    browser = load(1200, main_job / "run/report.html")
    assert browser.get_log("browser") == []
    rows = json.loads((main_job / "run/results.json").read_text())["rows"]
    cells = browser.execute_script(
        "return [...document.querySelectorAll('#result-table [data-field=value]')].map(cell => cell.dataset.value)"
    )
    assert len(rows) == 8
    assert [float(exact) for exact in cells] == [row["value"] for row in rows]
    text = browser.execute_script("return document.body.innerText")
    for word in ("ncp", "spherical-kmeans", "silhouette", "PGD-20", "recipe.lock.toml"):
        assert word.lower() in text.lower()


def test_a_study_of_thirty_columns_is_cut_off_nowhere(load: Any, tmp_path: Path) -> None:
    """At 1200 pixels a wide table is turned or cut, at 390 its lines are lists: no number lies outside of the page."""
    one = study(row=[{"name": name, "recipe": "x"} for name in given_study.STRANGE], column=given_study.WIDE)
    given = [[[share(20 + 3 * row + place, 100) for place in range(30)]] for row in range(4)]
    given_study.write(tmp_path / "out", one, given)
    outside = """return [...document.querySelectorAll('table td, table tbody th, caption')].filter(cell =>
        cell.getBoundingClientRect().right > innerWidth || cell.scrollWidth > cell.clientWidth + 1).length"""
    for width in (1200, 800, 390):
        browser = load(width, tmp_path / "out" / "study.html")
        assert browser.execute_script(outside) == 0, width
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        shown = browser.execute_script("return [...document.querySelectorAll('td')].filter(c => c.offsetHeight).length")
        assert shown >= 4 * 30
