"""What the locks hold: all that a run needs, all that tests need on top, and nothing twice."""

import re
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests import house
from tests.conftest import ROOT

# What installed packages ask for and the lock leaves out, by who asks. GATE reads and writes images
# with itk's core and readers; tests of the engine run GATE without the rest.
LEFT_OUT = {"opengate": {"itk", "spekpy"}, "gatetools": {"itk"}}


def pinned(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    return {canonicalize_name(one): version for one, version in
            re.findall(r"^([\w.-]+)==(\S+)$", text, re.M)}  # fmt: skip


RUN, MORE = pinned("requirements.lock"), pinned("requirements-dev.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def asked_for(name):
    found = map(Requirement, metadata.requires(name) or ())
    return {canonicalize_name(one.name) for one in found if not one.marker or one.marker.evaluate()}


@pytest.mark.parametrize("lock", [RUN, RUN | MORE], ids=["run", "develop"])
def test_a_lock_holds_what_its_packages_ask_for(lock):
    lacking = {(name, one) for name in lock for one in asked_for(name) - set(lock)}
    assert lacking == {(name, one) for name, those in LEFT_OUT.items() for one in those}


def test_the_locks_hold_the_direct_dependencies_and_share_none():
    for words, lock in (
        (PROJECT["project"]["dependencies"], RUN),
        (PROJECT["dependency-groups"]["dev"], RUN | MORE),
    ):
        assert {canonicalize_name(Requirement(one).name) for one in words} <= set(lock)
    assert not set(RUN) & set(MORE)


def test_what_is_pinned_is_installed():
    installed = {name: metadata.version(name).partition("+")[0] for name in RUN | MORE}
    assert installed == RUN | MORE


def test_a_run_imports_nothing_of_the_lock_for_development():
    provided_by = metadata.packages_distributions()
    imported = set().union(*(house.packages_of(path.read_text()) for path in house.FILES.values()))
    scripts = (ROOT / "workflow/scripts").glob("*.py")
    imported = imported.union(*(house.packages_of(path.read_text()) for path in scripts))
    providers = {canonicalize_name(one) for name in imported for one in provided_by.get(name, [])}
    assert {"torch", "opengate"} <= providers
    assert not providers & set(MORE)
