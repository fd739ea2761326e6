"""How soon the gateway's page can be used, in a real Chromium where there is one."""

from __future__ import annotations

import os
import shutil
import statistics

LOADS = 7


def page_interactive_ms(address: str) -> float | None:
    """Milliseconds from the begin of a visit until its first field is shown: the median of visits with empty caches.

    None where there is no Chromium (`ATELIER_CHROMIUM` names one) or no Playwright.
    """
    chromium = os.environ.get("ATELIER_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return None
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(LOADS):
            context = browser.new_context(locale="en-US")
            page = context.new_page()
            page.goto(address, wait_until="commit")
            page.locator("#key:visible, #model:visible").first.wait_for()
            taken.append(float(page.evaluate("performance.now()")))
            context.close()
        browser.close()
    return round(statistics.median(taken), 0)
