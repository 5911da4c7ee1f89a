"""The page on the metrics port in a real browser: it shows a loaded server, live, at two widths and in two schemes."""

import os
import pathlib
import re
import shutil
import urllib.error
import urllib.request

import pytest

from browser import browsing
from load import loaded, page_url
from serving import serving

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SIZES = [(1280, 900), (390, 844)]


@pytest.fixture(scope="module")
def server():
    with serving() as running, loaded(running):
        yield running


@pytest.fixture(scope="module")
def page(server, tmp_path_factory):
    assert CHROMIUM, "Debian's package chromium is not installed: scripts/install.sh --tests"
    with browsing(CHROMIUM, tmp_path_factory.mktemp("profile")) as browser:
        browser.show(*SIZES[0], "light")
        browser.open(page_url(server))
        browser.wait_for("document.querySelector('#window')?.textContent.startsWith('the last')")
        yield browser


def tile(page, label):
    return page.evaluate(f"[...document.querySelectorAll('.tile')].find(t => t.firstChild.textContent === '{label}')"
                         ".querySelector('b').textContent")


def test_it_shows_state_model_and_limits(page):
    assert page.evaluate("document.querySelector('#state').textContent") == "serving"
    assert "random:tiny" in page.evaluate("document.querySelector('#about').textContent")
    limits = page.evaluate("document.querySelector('#limits').textContent")
    assert "random:tiny" in limits and "--max-batch-patches" in limits and re.search(r"--max-inflight-bytes[\d.]+ [MG]iB", limits)


def test_it_shows_throughput_and_every_stage(page):
    page.wait_for("[...document.querySelectorAll('.tile b')][0].textContent !== '0'")
    for label in ["items", "patches", "tokens", "received", "sent", "device busy", "batch fill"]:
        assert tile(page, label) not in ("–", "0", "0 B", "0 %"), label
    rows = page.evaluate("[...document.querySelectorAll('[data-stage]')].map(r => [...r.children].map(c => c.textContent))")
    assert [row[0] for row in rows] == ["receive", "admit", "decode", "resize", "queue", "upload", "patch_embed", "position",
                                        "blocks", "merger", "download", "encode", "send"]
    assert all(row[2].endswith("s") and row[3].endswith("s") for row in rows), rows


def test_it_is_live(page):
    page.evaluate("window.seen = document.querySelector('#throughput polyline').getAttribute('points'); 0")
    page.wait_for("document.querySelector('#throughput polyline').getAttribute('points') !== window.seen")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size[0]))
def test_nothing_is_cut_off(page, size, scheme, tmp_path):
    page.show(*size, scheme)
    page.wait_for(f"document.documentElement.clientWidth === {size[0]}")
    folder = pathlib.Path(os.environ.get("VITOWER_SCREENSHOTS", tmp_path))
    page.screenshot(folder / f"page-{size[0]}-{scheme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    cut = page.evaluate("[...document.querySelectorAll('.tile b, .row span, td, h2')]"
                        f".filter(e => e.getBoundingClientRect().right > {size[0]} || e.scrollWidth > e.clientWidth + 1)"
                        ".filter(e => getComputedStyle(e).display !== 'inline').map(e => e.textContent)")
    assert cut == []
    ink, paper = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    assert contrast(ink, paper) > 7


def contrast(one, other):
    """WCAG's, of two "rgb(r, g, b)"."""
    def luminance(colour):
        parts = [int(part) / 255 for part in colour[4:-1].split(",")]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_it_asks_for_nothing_but_itself_and_the_metrics(page, server):
    wanted = {page_url(server), server.metrics_url, "data:,"}
    assert set(page.requested()) <= wanted | {"about:blank"}
    assert page.complaints() == []


def test_other_paths_and_methods_are_refused(server):
    def code(path, method):
        try:
            return urllib.request.urlopen(urllib.request.Request(page_url(server) + path, method=method)).status
        except urllib.error.HTTPError as error:
            return error.code

    assert code("", "HEAD") == 200
    assert code("", "POST") == 405
    assert code("etc/passwd", "GET") == 404
    assert code("../../../../etc/passwd", "GET") == 404


def test_a_server_that_is_gone_is_said_to_be_gone(tmp_path):
    with browsing(CHROMIUM, tmp_path) as browser:
        with serving() as short_lived:
            browser.open(page_url(short_lived))
            browser.wait_for("document.querySelector('#state')?.textContent === 'serving'")
        browser.wait_for("document.querySelector('#state').textContent === 'no answer'")
