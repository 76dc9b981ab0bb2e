"""Shared paths and reasons to skip tests; the header of pytest lists what is installed."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
# One browser for all tests of a process: a second one cannot be started beside it.
pytest_plugins = ["tests.browser.fixtures"]
# No deadline: the first call compiles kernels, machines are shared. The same examples each time.
settings.register_profile("tubepet", deadline=None, derandomize=True)
settings.load_profile("tubepet")

SHARED_CASES = ROOT.parent / "shared" / "cases"
SHARED_CT = ROOT.parent / "shared" / "data" / "ct"


def pytest_report_header() -> list[str]:
    gate = "yes" if importlib.util.find_spec("opengate") else "no (GATE tests fail)"
    return [f"tubepet: opengate {gate}; real CT slices {'yes' if SHARED_CT.is_dir() else 'no'}"]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Folder of small inputs that once were misread, beside the repository."""
    if not SHARED_CASES.is_dir():
        pytest.skip("no ../shared/cases")
    return SHARED_CASES


@pytest.fixture(scope="session")
def shared_ct() -> Path:
    """Return the folder with real CT slices, or skip."""
    if not SHARED_CT.is_dir():
        pytest.skip(f"no real CT slices at {SHARED_CT}")
    return SHARED_CT
