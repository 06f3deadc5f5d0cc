"""A real browser without a window: Chromium, driven by selenium."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PATIENCE = 30  # seconds for a page to be read
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True)
class Browser:
    """A browser with one page open.

    Args:
        driver: selenium's own, for everything else.
    """

    driver: Chrome

    def look(self, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Set the size of the page in CSS pixels, and `light` or `dark`."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def open(self, place: Path | str) -> None:
        """Open a file or an address, with the record of errors and requests emptied."""
        self.errors()
        self.failed_requests()
        self.driver.get(place.resolve().as_uri() if isinstance(place, Path) else place)
        # chromedriver may come back while a large page is still being read; a page whose scripts
        # are switched off would not call a listener
        until, ready = time.monotonic() + PATIENCE, "return document.readyState"
        while self.run(ready) != "complete":
            assert time.monotonic() < until, f"{place} is not read within {PATIENCE} seconds"
            time.sleep(0.02)

    def errors(self) -> list[str]:
        """Return what the console calls an error since it was last asked, and forget it."""
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]

    def failed_requests(self) -> list[str]:
        """Return addresses that gave no answer or a refusal since last asked, and forget them."""
        asked, failed = {}, []
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            params = event["params"]
            if event["method"] == "Network.requestWillBeSent":
                asked[params["requestId"]] = params["request"]["url"]
            elif event["method"] == "Network.loadingFailed" and not params.get("canceled"):
                failed.append(asked.get(params["requestId"], "?"))
            elif event["method"] != "Network.responseReceived":
                continue
            elif params["response"]["status"] >= 400:
                failed.append(params["response"]["url"])
        return failed

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what a script returns."""
        return self.driver.execute_script(script, *arguments)

    def run_async(self, script: str, *arguments: Any) -> Any:
        """Return what a script passes to its last argument, a function."""
        return self.driver.execute_async_script(script, *arguments)

    def screenshot(self, path: Path) -> None:
        """Write what is in the window."""
        self.driver.save_screenshot(str(path))


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Start the browser once; a test that needs it is skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = (
        next(filter(None, map(shutil.which, names)), None)
        for names in (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",))
    )
    if program is None or driver is None:
        pytest.skip("no Chromium: install Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield started
    finally:
        started.quit()


@pytest.fixture
def browser(chromium: Chrome) -> Browser:
    """Give the browser at 1280 pixels, light, nothing open."""
    made = Browser(chromium)
    made.open("about:blank")
    made.look()
    return made
