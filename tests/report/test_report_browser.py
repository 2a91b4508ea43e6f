"""The page of a search in a real browser: headless Chromium, driven by selenium."""

import importlib.util
import os
import shutil

import numpy as np
import pytest
from conftest import WORDS
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_llm2vec import (
    LayerPoolingReport,
    LLMEmbeddingTransformer,
    layer_pooling_grid,
)


def first_of(*names):
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium; where there is none, a reason to skip, but a failure in CI."""
    chromium = first_of("chromium", "chromium-browser", "google-chrome", "chrome")
    driver = first_of("chromedriver", "chromium.chromedriver")
    there = {
        "chromium": chromium,
        "chromedriver": driver,
        "selenium": importlib.util.find_spec("selenium"),
    }
    if missing := [name for name, found in there.items() if not found]:
        reason = (
            f"{', '.join(missing)} not installed: see scripts/test, scripts/browser"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    os.environ["SE_OFFLINE"] = "true"  # nothing is fetched: both paths are given
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
        # Chromium's sandbox refuses to run as root, as in a container.
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    browser.set_page_load_timeout(60)
    browser.set_script_timeout(60)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def search(bert, tmp_path_factory):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 6)) for _ in range(30)]
    pipe = make_pipeline(
        LLMEmbeddingTransformer(bert, cache=str(tmp_path_factory.mktemp("cache"))),
        RidgeClassifier(),
    )
    return GridSearchCV(pipe, layer_pooling_grid(pipe), cv=2).fit(texts, [0, 1] * 15)


@pytest.fixture(scope="module")
def report(search):
    return LayerPoolingReport.from_search(search)


@pytest.fixture(scope="module")
def path(report, tmp_path_factory):
    return report.save(tmp_path_factory.mktemp("page") / "search.html")


@pytest.fixture
def page(browser, path):
    """The page in a wide, light window; the log says nothing severe at the end."""
    open_page(browser, path)
    yield browser
    assert severe(browser) == []


def open_page(browser, path, *, width=1280, scheme="light"):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    size = {
        "width": width,
        "height": 900,
        "deviceScaleFactor": 1,
        "mobile": width < 500,
    }
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    # A headless window has no focus of its own since Chromium 150.
    browser.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(path.as_uri())


def severe(browser):
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def find(browser, selector):
    return browser.find_element("css selector", selector)


def find_all(browser, selector):
    return browser.find_elements("css selector", selector)


def point_at(browser, element):
    from selenium.webdriver import ActionChains

    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    wait_for(browser, "return new Promise(requestAnimationFrame).then(() => true)")
    ActionChains(browser).move_to_element(element).perform()


def press(browser, key):
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(key).perform()


def wait_for(browser, script, *arguments):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 20).until(
        lambda b: b.execute_script(script, *arguments)
    )


def hint(browser):
    """Lines of the hint; empty while it is hidden."""
    script = (
        "const t = document.getElementById('tip'); return t.hidden ? '' : t.innerText"
    )
    return browser.execute_script(script).splitlines()


# --- hints and keys --------------------------------------------------------------------


def test_pointing_at_a_cell_says_its_values(page, search):
    results = search.cv_results_
    for n in (0, 7):
        params = results["params"][n]
        name = f"layer {params['llmembeddingtransformer__layer']}, "
        name += params["llmembeddingtransformer__pooling"]
        cell = find(page, f'.heat td[data-hint^="{name}\n"]'.replace("\n", "\\a "))
        assert hint(page) == []
        point_at(page, cell)
        mean, std = results["mean_test_score"][n], results["std_test_score"][n]
        assert hint(page)[:2] == [name, f"score {mean:.3f} ± {std:.3f}"]
        assert hint(page)[2].startswith("fit ")
        assert f"{mean:.3f}" in cell.text
        point_at(page, find(page, "h1"))


def test_arrow_keys_move_through_the_cells(page):
    from selenium.webdriver import Keys

    best = find(page, ".heat td.best")
    page.execute_script("arguments[0].focus()", best)
    assert hint(page)[-1] == "best cell"
    column = page.execute_script("return arguments[0].cellIndex", best)
    key, step = (Keys.LEFT, -1) if column > 1 else (Keys.RIGHT, 1)
    press(page, key)
    moved = "return document.activeElement.cellIndex === arguments[0]"
    wait_for(page, moved, column + step)
    assert hint(page) and hint(page)[-1] != "best cell"
    assert len(find_all(page, '.heat td[tabindex="0"]')) == 1
    press(page, Keys.ESCAPE)
    assert hint(page) == []


def test_pointing_at_a_depth_says_all_its_scores(page, search):
    point_at(page, find_all(page, ".wide .depth rect")[1])
    lines = hint(page)
    assert lines[0] == "layer 1"
    scores = {line.split()[0]: float(line.split()[1]) for line in lines[1:]}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    for params, mean in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        if params["llmembeddingtransformer__layer"] == 1:
            pooling = params["llmembeddingtransformer__pooling"]
            assert scores.pop(pooling) == round(mean, 3)
    assert scores == {}


def test_the_legend_chooses_the_band(page):
    shown = (
        "return [...document.querySelectorAll('.wide .series')].filter(s => "
        "getComputedStyle(s.querySelector('.band')).display !== 'none')"
        ".map(s => s.dataset.series)"
    )
    for button in find_all(page, ".legend button"):
        button.click()
        assert page.execute_script(shown) == [button.get_attribute("data-series")]
        assert button.get_attribute("aria-pressed") == "true"
    assert len(find_all(page, '.legend [aria-pressed="true"]')) == 1


# --- copy ------------------------------------------------------------------------------


def test_copy(page, report):
    from selenium.webdriver import ActionChains, Keys

    button = find(page, ".copy")
    button.click()
    wait_for(page, "return document.querySelector('.copy').textContent !== 'Copy'")
    if button.text == "Selected":  # this browser has no clipboard for files
        assert page.execute_script("return String(getSelection())").strip() == (
            report.code.strip()
        )
        return
    assert button.text == "Copied"
    page.execute_script(
        "document.body.append(document.createElement('textarea'));"
        "document.querySelector('textarea').focus()"
    )
    ActionChains(page).key_down(Keys.CONTROL).send_keys("v").key_up(
        Keys.CONTROL
    ).perform()
    pasted = wait_for(page, "return document.querySelector('textarea').value")
    assert pasted == report.code


def test_copy_without_a_clipboard_selects_the_code(page, report):
    page.execute_script(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined});"
        "document.execCommand = () => false"
    )
    find(page, ".copy").click()
    wait_for(page, "return document.querySelector('.copy').textContent === 'Selected'")
    selected = page.execute_script("return String(getSelection())")
    assert selected.strip() == report.code.strip()


# --- sizes and colors -----------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_never_scrolls_sideways(browser, path, width):
    open_page(browser, path, width=width)
    sizes = "const r = document.documentElement; return [r.scrollWidth, innerWidth]"
    needed, there = browser.execute_script(sizes)
    assert needed <= there == width
    # One chart, made for this width: its text isn't scaled down.
    charts = [c for c in find_all(browser, ".chart") if c.is_displayed()]
    assert len(charts) == 1
    drawn = browser.execute_script(
        "return arguments[0].viewBox.baseVal.width", charts[0]
    )
    assert charts[0].rect["width"] / drawn > 0.8
    assert severe(browser) == []


def test_long_names_and_numbers_stay_in_a_narrow_page(browser, search, tmp_path):
    texts = [" ".join(np.random.default_rng(n).choice(WORDS, 6)) for n in range(30)]

    def mean_squared_error_of_what_the_customers_of_this_shop_have_paid(pipe, X, y):
        return -float(np.mean((pipe.predict(X) - y) ** 2))

    pipe = make_pipeline(search.estimator[0], Ridge())
    grid = layer_pooling_grid(pipe, layers=[0, (0, 1, 3), (0.25, 0.5), 3])
    scoring = mean_squared_error_of_what_the_customers_of_this_shop_have_paid
    long = GridSearchCV(pipe, grid, scoring=scoring, cv=2)
    long.fit(texts, np.arange(30.0) * 12_345)
    path = LayerPoolingReport.from_search(long).save(tmp_path / "long.html")
    open_page(browser, path, width=360)
    sizes = "const r = document.documentElement; return [r.scrollWidth, innerWidth]"
    needed, there = browser.execute_script(sizes)
    assert needed <= there == 360
    # What doesn't fit is wider than its box: names and values of the heat map, and the
    # numbers beside the chart's axis, which begin at its left edge.
    spilt = browser.execute_script(
        "return [...document.querySelectorAll('.heat td, .heat th')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1 && !e.querySelector('.star'))"
        ".map(e => e.textContent)"
    )
    assert spilt == []
    left, ticks = browser.execute_script(
        "const c = [...document.querySelectorAll('.chart')].find(c => c.clientWidth);"
        "return [c.getBoundingClientRect().left, [...c.querySelectorAll('.tick')]"
        ".map(t => t.getBoundingClientRect().left)]"
    )
    assert len(ticks) > 4 and min(ticks) >= left
    assert severe(browser) == []


def test_a_hint_stays_inside_a_narrow_window(browser, path):
    open_page(browser, path, width=360)
    for cell in (find_all(browser, ".heat td")[0], find_all(browser, ".heat td")[-1]):
        browser.execute_script(
            "arguments[0].scrollIntoView({block: 'center', inline: 'center'});", cell
        )
        point_at(browser, cell)
        left, right = browser.execute_script(
            "const b = document.getElementById('tip').getBoundingClientRect();"
            "return [b.left, b.right]"
        )
        assert hint(browser)
        assert 0 <= left < right <= 360


CONTRASTS = """
const luminance = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map(v => {
    v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const parts = color => color.match(/[\\d.]+/g).map(Number);
const behind = element => {
  for (let e = element; e; e = e.parentElement) {
    const color = parts(getComputedStyle(e).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
const found = [];
for (const e of document.querySelectorAll("body *")) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own || !e.getClientRects().length || e.closest("script")) continue;
  const style = getComputedStyle(e);
  const ink = parts(e.closest("svg") ? style.fill : style.color);
  const [one, other] = [luminance(ink), luminance(behind(e))];
  const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  found.push([e.tagName + "." + (e.getAttribute("class") || ""), ratio]);
}
return found;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(browser, path, scheme):
    open_page(browser, path, scheme=scheme)
    contrasts = browser.execute_script(CONTRASTS)
    kinds = {name.split(".")[0].upper() for name, _ in contrasts}
    assert {"H1", "P", "TD", "TH", "TEXT", "BUTTON", "CODE", "SMALL"} <= kinds
    weak = [(name, round(ratio, 2)) for name, ratio in contrasts if ratio < 4.5]
    assert weak == []


def test_dark_is_dark(browser, path):
    shots, brightness = {}, {}
    for scheme in ("light", "dark"):
        open_page(browser, path, scheme=scheme)
        shots[scheme] = browser.get_screenshot_as_png()
        color = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g)"
        brightness[scheme] = np.mean([int(v) for v in browser.execute_script(color)])
    assert shots["light"] != shots["dark"]
    assert brightness["light"] > 240
    assert brightness["dark"] < 40


# --- in a notebook ---------------------------------------------------------------------


def test_a_notebook_keeps_its_style(browser, report, tmp_path):
    style = "<style>h1, td { font: 20px serif; color: rgb(1, 2, 3) }</style>"
    outside = "<h1>Mine</h1><table class=heat><tr><td>1</td></tr></table>"
    notebook = tmp_path / "notebook.html"
    notebook.write_text(
        f"<!DOCTYPE html>{style}{outside}{report._repr_html_()}", encoding="utf-8"
    )
    open_page(browser, notebook)
    for element in (find(browser, "h1"), find(browser, "td")):
        assert element.value_of_css_property("font-size") == "20px"
        assert element.value_of_css_property("color") == "rgba(1, 2, 3, 1)"
    browser.switch_to.frame(find(browser, "iframe"))
    try:
        assert "pooling" in find(browser, "h1").text
        assert find(browser, "h1").value_of_css_property("color") != "rgba(1, 2, 3, 1)"
        cell = find(browser, ".heat td.best")
        browser.execute_script("arguments[0].focus()", cell)
        assert hint(browser)[-1] == "best cell"
    finally:
        browser.switch_to.default_content()
    assert severe(browser) == []


def test_a_phone_shows_the_score_of_each_layer(browser, path):
    open_page(browser, path, width=390)
    heads = browser.find_elements("css selector", ".cost thead th")
    shown = [head for head in heads if head.is_displayed()]
    assert [head.text for head in shown][-2:] == ["score", "pooling"]
    assert shown[-1].rect["x"] + shown[-1].rect["width"] <= 390
