"""Habits that every rule keeps, and the same pins in every environment file."""

import re
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import ROOT, snakemake

RULES = {
    name: body
    for path in sorted((ROOT / "workflow/rules").glob("*.smk"))
    for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", path.read_text(), re.M | re.S)
}
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))


def test_there_are_rules_for_all_nine_stages():
    assert len(list((ROOT / "workflow/rules").glob("0[1-9]_*.smk"))) == 9


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_documented_logged_measured_and_bounded(name):
    body = RULES[name]
    assert body.lstrip().startswith('"""')
    for directive in ("log:", "benchmark:", "threads:", "mem_mb=", "runtime=", "conda:"):
        assert directive in body, directive
    assert "code=code_digest(" in body or "code=gan_code" in body  # one digest per model


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_scripts_are_thin(path: Path):
    text = path.read_text()
    assert len(text.splitlines()) <= 40
    assert path.stem in RULES
    assert not re.search(r"^\s*(def|class) |snakemake\.config", text, re.M)


def test_environments_pin_what_the_lock_pins():
    pins = set(re.findall(r"^\S+==\S+$", (ROOT / "requirements.lock").read_text(), re.M))
    canonical = {pin.lower().replace("_", "-") for pin in pins}
    for path in (ROOT / "envs").glob("*.yaml"):
        for entry in yaml.safe_load(path.read_text())["dependencies"]:
            if isinstance(entry, dict):
                assert set(entry["pip"]) <= canonical, path


@pytest.mark.workflow
@pytest.mark.parametrize("name", ["config.yaml", "smoke.yaml", "paper.yaml", "literal.yaml"])
def test_every_config_has_a_dag(name, tmp_path):
    done = snakemake(tmp_path, "--dry-run", "--configfile", str(ROOT / "config" / name))
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phantom: {num_tubse: 3}", "num_tubse"),
        ("reconstruct: {num_pixels: 0}", "reconstruct.num_pixels: got 0"),
    ],
)
def test_a_bad_config_stops_before_the_first_job(text, message, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(text)
    done = snakemake(tmp_path, "--configfile", str(bad))
    assert done.returncode != 0
    assert message in done.stdout and "Traceback" not in done.stdout
    assert not (tmp_path / "results").exists()
