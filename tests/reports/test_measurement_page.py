"""The page needs nothing else, shows texts as they are and every plot, on a wide window and on a phone."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
from helpers.html_elements import Elements
from helpers.measurement_reports import example_comparison, example_report, without_extras, without_power
from PIL import Image

from tlee.modes import EARLY, NONE
from tlee.reports.measurement_page import comparison_page, doubts, page
from tlee.reports.rivals import against_rivals

EVIL = '<b onclick="x">$x_1$ ünd 走</b>&amp;"\''
RIGHT = np.array([True, False, True])  # answers
PLOTS = 10  # of a report with everything
OVERLAPS = """svg => {
  const texts = [...svg.querySelectorAll("text")].filter(text => text.textContent.trim());
  const boxes = texts.map(text => text.getBoundingClientRect()), found = [];
  for (let i = 0; i < boxes.length; i++) for (let j = 0; j < i; j++) {
    const a = boxes[i], b = boxes[j];
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    const least = Math.min(a.width * a.height, b.width * b.height);
    if (wide > 0 && high > 0 && wide * high > 0.25 * least) found.push([texts[i].textContent, texts[j].textContent]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as started:
        # Software alone, and files in place of shared memory, of which containers have little.
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        opened = started.chromium.launch(executable_path=chromium, args=options)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """The pages of a report with everything and of a comparison, as files."""
    folder = tmp_path_factory.mktemp("pages")
    for name, text in (("report", page(example_report())), ("comparison", comparison_page(example_comparison()))):
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
@pytest.mark.parametrize(("name", "plots"), [("report", PLOTS), ("comparison", 1)])
def test_every_plot_is_seen_and_nothing_is_fetched(browser, documents, name, plots, width, scheme):
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    requests, messages = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    address = (documents / f"{name}.html").as_uri()
    tab.goto(address)
    assert requests == [address] and messages == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    whole = Image.open(io.BytesIO(tab.screenshot(full_page=True))).convert("RGB")
    drawn = tab.query_selector_all("svg")
    assert len(drawn) == plots
    for svg in drawn:
        box = svg.bounding_box()
        assert box["width"] > 200 and box["height"] > 50
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        place = (box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"])
        assert len(whole.crop(tuple(round(edge) for edge in place)).getcolors(1 << 24)) > 10
        assert svg.evaluate(OVERLAPS) == []
    tab.close()


def test_texts_are_shown_as_they_are():
    report = example_report(rounds=1)
    for named in (report["bundle"], report["modes"][0], report["graphs"][0], report["sustained"]):
        named["name"] = EVIL
    report["environment"]["device"] = report["power"]["total"] = report["power"]["reason"] = EVIL
    report["environment"]["system"][EVIL] = EVIL
    report["power"]["throttled"] = [EVIL]
    report["power"]["changes"][0]["what"] = EVIL
    report["power"]["state"][EVIL] = EVIL
    samples = report["power"]["samples"]
    samples["rails"][EVIL], samples["clocks"][EVIL] = samples["watts"], samples["clocks"]["GPU"]
    elements = Elements(page(report))
    assert elements.text.count(EVIL) > 12 and EVIL[:25] in elements.text
    assert "b" not in elements.names and "script" not in elements.names
    assert not any(name.startswith("on") for name, _ in elements.attributes)


def test_texts_of_a_comparison_are_shown_as_they_are():
    comparison = example_comparison()
    comparison["warnings"] = [EVIL]
    comparison["a"]["file"] = EVIL
    comparison["rows"][0].update(name=EVIL, metric=EVIL, verdict=EVIL)
    elements = Elements(comparison_page(comparison))
    assert elements.text.count(EVIL) >= 5 and "b" not in elements.names


def test_what_makes_numbers_doubtful_stands_first_and_what_exits_gain_below():
    report = example_report(modes=(EARLY,), rounds=1)
    report["environment"]["background_cpu"] = 0.5
    report["modes"][0]["warm_up"] = {"runs": 0, "steady": False}
    report["rivals"] = {EARLY: against_rivals({EARLY: RIGHT, NONE: RIGHT}, {EARLY: 1.0, NONE: 2.0})}
    head, _, rest = page(report).partition("<dl>")
    assert "Early exits: as often right as no exit (" in rest and "at 0.50 times its mean time." in rest
    assert "The device throttled: " in head and "Other programs kept 0.5 cores busy" in head
    assert f"Never settled, so no warm-up was left out: {EARLY}" in head
    report = without_power(example_report(modes=(EARLY,), rounds=1))
    assert doubts(report) == [] and 'class="lead alarm"' not in page(report)


def test_without_power_the_page_says_why_and_shows_latency_instead():
    text = page(without_power(example_report(modes=(EARLY, NONE), rounds=1), "no <sensor> here"))
    assert "No power was measured: no &lt;sensor&gt; here." in text
    assert "Accuracy and latency" in text and "mJ" not in Elements(text).text


def test_a_mean_that_is_bounded_by_less_than_nothing_is_drawn():
    report = without_power(example_report(modes=(EARLY, NONE), rounds=1))
    plots = page(report).count("<svg")
    for mode in report["modes"]:
        mode["latency"]["mean"]["low"] = -mode["latency"]["mean"]["value"]
    assert page(report).count("<svg") == plots > 0


def test_the_least_report_is_a_page():
    text = page(without_extras(example_report(modes=(NONE,), rounds=1, seconds=0)))
    assert "No accuracy is known" in text and "made-up frames" in text
    assert Elements(text).names.count("svg") == 3
    assert "Cold start" not in text and "Where frames leave" not in text


def test_a_comparison_of_single_blocks_has_no_intervals():
    comparison = example_comparison(modes=(EARLY,))
    for row in comparison["rows"]:
        row["ratio"].update(low=None, high=None)
    assert "<svg" in comparison_page(comparison)
    assert "<svg" not in comparison_page({**comparison, "rows": []})


def test_power_may_have_holes_and_no_clocks():
    report = example_report(modes=(EARLY,), rounds=1)
    samples = report["power"]["samples"]
    nothing = [None] * len(samples["time"])
    samples.update(clocks={"GPU": nothing}, rails={"VDD_GPU": nothing})
    report["power"].update(idle=None, interval=None)
    text = page(report)
    assert "Power and clocks over time" in text and "VDD_GPU" not in text
    samples["watts"] = nothing
    assert "No power was measured: the source gave no samples." in page(report)


def test_a_hundred_thousand_runs_fit_and_the_longest_is_drawn():
    report = example_report(modes=(EARLY, NONE), rounds=2)
    draw = np.random.default_rng(0)
    for mode in report["modes"]:
        for block in mode["blocks"]:
            block.update(video=[0] * 25_000, milliseconds=draw.lognormal(3, 0.2, 25_000).tolist())
    report["modes"][0]["blocks"][0]["milliseconds"][77] = 4000.0
    samples = report["power"]["samples"]
    samples.update(time=np.linspace(0, 20, 50_000).tolist(), watts=draw.uniform(3, 5, 50_000).tolist())
    samples.update(rails={}, clocks={})
    text = page(report)
    assert len(text.encode()) < 3 << 20
    assert "no run is left out" in text and "More samples than can be drawn" in text
    assert ">1000<" in "".join(text.split()) or ">3000<" in "".join(text.split())  # the axes reach it


def test_examples_are_as_legal_as_a_file():
    for content in (example_report(), example_comparison(), without_extras(example_report(modes=(NONE,)))):
        assert json.loads(json.dumps(content, allow_nan=False)) == content
