from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest

from tools import page_pictures

PAGE = """<style>:root { color-scheme: light dark; background: white }
@media (prefers-color-scheme: dark) { :root { background: black } }</style>"""


@pytest.mark.slow
def test_a_page_is_taken_in_a_light_and_a_dark_scheme(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: make test installs it")
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs a Chromium browser: make browser")
    (tmp_path / "page.html").write_text(PAGE)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(page_pictures.FLAGS))
        light, dark = page_pictures.take(browser, (tmp_path / "page.html").as_uri(), tmp_path, "page")
        browser.close()
    assert (light.name, dark.name) == ("page-light.jpg", "page-dark.jpg")
    means = [cv2.imread(str(path)).mean() for path in (light, dark)]
    assert means == [255, 0]


@pytest.mark.parametrize("name", ["server", "report", "comparison"])
def test_the_documentation_has_each_page_in_both_schemes_and_shows_it(name: str) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (page_pictures.ROOT / "docs" / "how-to").glob("*.md"))
    light, dark = (page_pictures.ROOT / "docs" / "images" / f"{name}-{scheme}.jpg" for scheme in page_pictures.SCHEMES)
    bright, dim = (cv2.imread(str(path)).mean() for path in (light, dark))
    assert bright > 128 > dim
    assert f"images/{light.name}#only-light" in pages and f"images/{dark.name}#only-dark" in pages
