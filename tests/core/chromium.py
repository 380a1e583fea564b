"""Debian's Chromium, by which the tests look at pages as people do."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PATH = Path("/usr/bin/chromium")
FLAGS = (  # nothing of its own: it asks for the page alone
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)

needed = pytest.mark.skipif(not PATH.exists(), reason=f"needs Debian's Chromium, {PATH}")


@contextlib.contextmanager
def started() -> Iterator[Any]:
    """A browser of playwright's until the context ends; a test without playwright is left out."""
    with pytest.importorskip("playwright.sync_api").sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=PATH, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()
