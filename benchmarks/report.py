"""Measure size of the report, and time until a fresh browser has drawn its slice viewer.

This needs a finished run (results/report.html), Debian's Chromium and Playwright. CPU-seconds are
those of all processes of Playwright and Chromium while the page opens.
"""

import shutil
import statistics
import sys
import time
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright
from record import record

REPORT = Path("results/report.html")
LIMIT_S, LIMIT_MB = 3.0, 15.0
NUM_TRIALS = 5


def cpu_s() -> float:
    """Return CPU-seconds of the child processes: Playwright's driver and Chromium."""
    children = psutil.Process().children(recursive=True)
    return sum(sum(child.cpu_times()[:2]) for child in children)


def opened() -> tuple[float, float]:
    """Open the report in a fresh browser; return wall and CPU-seconds."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        before, start = cpu_s(), time.perf_counter()
        tab.goto(REPORT.resolve().as_uri())
        tab.wait_for_selector("body[data-ready]")
        wall_s = time.perf_counter() - start
        used_s = cpu_s() - before
        browser.close()
    return wall_s, used_s


def main() -> None:
    if not REPORT.is_file():
        sys.exit(f"{REPORT}: missing, expected a finished run (`make run`)")
    trials = [opened() for _ in range(NUM_TRIALS)]
    wall_s, used_s = (statistics.median(values) for values in zip(*trials, strict=True))
    size_mb = REPORT.stat().st_size / 1e6
    record(
        "report", wall_s, LIMIT_S, "s from opening to the drawn slice viewer, median",
        "the limits of 3 s and 15 MB", cpu_s=used_s, slowest_s=max(trial[0] for trial in trials),
        size_mb=size_mb, size_limit_mb=LIMIT_MB, trials=float(NUM_TRIALS),
    )  # fmt: skip


if __name__ == "__main__":
    main()
