r"""Pictures of the product's own pages for the documentation, in a light and a dark scheme, from a real run.

    singleshot serve everyday --port 8765 &
    python -m tools.page_pictures docs/images --server http://127.0.0.1:8765 \
        --report runs/demo/train/report-test.html --comparison comparison.html

writes `server-light.jpg`, `server-dark.jpg`, and the same of `report` and `comparison`. The server's page is shown the
photograph that the package ships. The other two are the pages of `singleshot report RUN` and `singleshot report A B`;
those in docs/images are of the demo's run, and of one with its recipe that ended after 719 steps. Needs Playwright and
Chromium, as the tests of the pages do (`make browser`).
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "src" / "singleshot" / "starts" / "cat.jpg"
SIZE = {"width": 1100, "height": 600}
REPORT_SIZE = {"width": 1100, "height": 1000}
"""Tall enough for the summary of a report and its first charts."""
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def show_photo(page: Any) -> None:
    """Give the server's page the photograph and wait until its detections are drawn."""
    page.set_input_files("#file", str(PHOTO))
    page.wait_for_selector("#panel:not([hidden])", timeout=300_000)


def take(
    browser: Any,
    address: str,
    out: Path,
    name: str,
    prepare: Callable[[Any], None] | None = None,
    size: dict[str, int] = SIZE,
) -> list[Path]:
    """Write `NAME-light.jpg` and `NAME-dark.jpg` of the upper part of the page at an address; return their paths."""
    written = []
    for scheme in SCHEMES:
        page = browser.new_page(viewport=size, color_scheme=scheme)
        page.goto(address, timeout=300_000)
        if prepare is not None:
            prepare(page)
        written.append(out / f"{name}-{scheme}.jpg")
        page.screenshot(path=str(written[-1]), type="jpeg", quality=85, timeout=300_000)
        page.close()
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    """Take the pictures of the pages that are named."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the pictures")
    parser.add_argument("--server", help="address of a running `singleshot serve everyday`")
    parser.add_argument("--report", type=Path, help="the report of a run")
    parser.add_argument("--comparison", type=Path, help="the comparison of two runs")
    options = parser.parse_args(arguments)
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        parser.error("Chromium is missing: make browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS), timeout=300_000)
        if options.server:
            take(browser, options.server, options.out, "server", show_photo)
        for name, page in (("report", options.report), ("comparison", options.comparison)):
            if page:
                take(browser, page.resolve().as_uri(), options.out, name, size=REPORT_SIZE)
        browser.close()


if __name__ == "__main__":
    main()
