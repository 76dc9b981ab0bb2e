"""Habits that every rule keeps, and the same pins in every environment file."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import ROOT, snakemake
from tubepet.plan import provenance

RULES = {
    name: body
    for path in sorted((ROOT / "workflow/rules").glob("*.smk"))
    for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", path.read_text(), re.M | re.S)
}
PACKAGES = {
    ".".join(path.parent.relative_to(ROOT / "src").parts)
    for path in (ROOT / "src/tubepet").rglob("__init__.py")
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
    assert re.search(r"code=(code_digest\(|gan_code|variant_code)", body)  # two: one per model


@pytest.mark.parametrize("name", [name for name, body in RULES.items() if "    cache:" in body])
def test_the_key_of_a_cached_rule_holds_its_wildcards(name):
    """Snakemake's key is made of script, params and inputs: two parts of one table are the same."""
    outputs, params = (
        re.search(rf"^    {directive}:\n(.*?)(?=^    \w)", RULES[name], re.M | re.S).group(1)
        for directive in ("output", "params")
    )
    for wildcard in re.findall(r"{(\w+)}", outputs):
        assert f'{wildcard}="{{{wildcard}}}"' in params


def test_groups_are_those_of_both_profiles_and_no_training_is_in_one():
    """A group asks for the sum of its jobs' hours: with a training, for more than a day."""
    slurm, generic = (
        yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())["groups"]
        for name in ("slurm", "generic")
    )
    assert slurm == generic
    grouped = {entry.split("=")[0] for entry in slurm}
    assert grouped <= set(RULES)
    assert not grouped & {name for name in RULES if name.startswith(("train_", "fit_"))}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_scripts_are_thin(path: Path):
    text = path.read_text()
    assert len(text.splitlines()) <= 40
    assert path.stem in RULES
    assert not re.search(r"^\s*(def|class) ", text, re.M)
    # A shard runs a whole workflow inside; what counts of the config is in its param `digest`.
    assert "snakemake.config" not in text or path.stem == "run_shard"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_the_digest_covers_what_the_script_imports(path: Path):
    """An edited module must re-run the rule; io, logs and the list of models do not count."""
    named = re.findall(r'"(tubepet[.\w]*)"', RULES[path.stem])
    if path.stem in ("train_gan", "generate_samples"):
        named += [
            "tubepet.generate.loop",
            "tubepet.generate.read",
            "tubepet.generate.models.paper",
        ]  # see gan_code
    if path.stem in ("train_variant", "measure_cost", "tune_candidate"):
        named += [
            "tubepet.study.outcome",
            "tubepet.generate.read",
            "tubepet.generate.models.paper",
        ]  # variant_code
    covered = closure(named)
    imported = imported_modules(path)
    plumbing = {
        "tubepet.io",
        "tubepet.checksums",
        "tubepet.logs",
        "tubepet.errors",
        "tubepet.generate.models.catalogue",
    }
    assert imported - covered <= plumbing


def imported_modules(path: Path) -> set[str]:
    names = provenance._imported_names(path.read_text())
    return {n for n in names if n != "tubepet" and provenance._module_file(n)} - PACKAGES


def closure(names: list[str]) -> set[str]:
    seen: set[str] = set()
    while names:
        name = names.pop()
        file = provenance._module_file(name)
        if file and name not in seen:
            seen.add(name)
            names += list(imported_modules(file))
    return seen


def test_rules_inside_a_shard_bring_no_others_along():
    """An input ``rules.x.output`` would make rule x part of the DAG inside, in every shard."""
    for name in ("make_phantom", "simulate_tube", "reconstruct_tube"):
        inputs = re.search(r"input:\n(.*?)    output:", RULES[name], re.S)
        assert "rules." not in (inputs.group(1) if inputs else ""), name


@pytest.mark.parametrize("name", RULES)
def test_no_rule_asks_for_all_tubes_one_by_one(name):
    """Inputs are single tubes and the shards' manifests; paths of all tubes are params."""
    inputs = re.search(r"input:\n(.*?)    output:", RULES[name], re.S)
    if inputs and "tube=SINGLE_TUBES" in inputs.group(1):
        assert "shards=MANIFESTS" in inputs.group(1)
    assert "tube=TUBES" not in (inputs.group(1) if inputs else "")


def test_environments_pin_what_the_lock_pins():
    pins = set(re.findall(r"^\S+==\S+$", (ROOT / "requirements.lock").read_text(), re.M))
    canonical = {pin.lower().replace("_", "-") for pin in pins}
    for path in (ROOT / "envs").glob("*.yaml"):
        for entry in yaml.safe_load(path.read_text())["dependencies"]:
            if isinstance(entry, dict):
                assert set(entry["pip"]) <= canonical, path


@pytest.mark.workflow
def test_snakemake_finds_nothing_to_lint(tmp_path):
    done = snakemake(tmp_path, "--lint")
    assert done.returncode == 0, done.stdout
    assert "good condition" in done.stdout


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


@pytest.mark.parametrize("limit", [None, "7/1m"])
def test_the_scheduler_is_not_woken_by_a_limit_that_nobody_asked_for(tmp_path, limit):
    asked = ["--max-jobs-per-timespan", limit] if limit else []
    done = snakemake(tmp_path, "results/phantom/tube_0000/truth.json", "--verbose", *asked)
    assert done.returncode == 0, done.stdout
    free = re.findall(r"Resources after job selection: .*'_job_count': (\d+)", done.stdout)
    assert free and {int(number) for number in free} == {7 if limit else sys.maxsize}
