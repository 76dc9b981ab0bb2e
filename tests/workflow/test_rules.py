"""Conventions that every rule follows, and equal versions in every environment file."""

import re
import sys
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import house
from tests.workflow.conftest import ROOT, RULE_FILES, RULES, SNAKEFILES, rules, snakemake
from tubepet.report import page

SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))
JOBS = {name: body for name, body in RULES.items() if "output:" in body}  # the others are targets
OWN = {name: body for name, body in JOBS.items() if "script:" in body}  # others: `use rule`
# What scripts read and write with: a change of it changes no result.
PLUMBING = {"tubepet.io", "tubepet.checksums", "tubepet.logs", "tubepet.errors"}
PLUMBING |= {"tubepet.generate.models.catalogue"}


def directive(body: str, name: str) -> str:
    """Return what stands below a directive of a rule; empty without it."""
    found = re.search(rf"^    {name}:\n((?: {{8}}.*\n|\n)*)", body, re.M)
    return found.group(1) if found else ""


def test_every_rule_file_is_included_and_stages_are_those_of_the_report():
    included = re.findall(r'^include: "(?:.*/)?(\w+\.smk)"', read(SNAKEFILES), re.M)
    assert sorted(included) == [path.name for path in RULE_FILES]
    stages = {path.stem.partition("_")[2] for path in RULE_FILES}
    assert page.STAGES.keys() <= stages


def read(paths) -> str:
    return "\n".join(path.read_text() for path in paths)


def test_every_rule_is_documented_logged_measured_and_bounded():
    offenders = []
    for name, body in JOBS.items():
        wanted = ["log:", "benchmark:"]
        if name in OWN:
            wanted += ["threads:", "mem_mb=", "runtime=", "conda:", "code="]
            offenders += [f"{name}: docstring"] * (not body.lstrip().startswith('"""'))
        offenders += [f"{name}: {word}" for word in wanted if word not in body]
    assert len(OWN) > 35 and len(JOBS) > len(OWN)
    assert not offenders, "\n".join(offenders)


def test_the_key_of_a_cached_rule_holds_its_wildcards():
    """Snakemake's key is made of script, params and inputs: two parts of one table are the same."""
    cached = {name: body for name, body in JOBS.items() if "    cache:" in body}
    offenders = [
        f"{name}: {wildcard}"
        for name, body in cached.items()
        for wildcard in re.findall(r"{(\w+)}", directive(body, "output"))
        if f'{wildcard}="{{{wildcard}}}"' not in directive(body, "params")
    ]
    assert len(cached) >= 5
    assert not offenders, "\n".join(offenders)


def test_groups_are_those_of_both_profiles_and_no_training_is_in_one():
    """A group asks for the sum of its jobs' hours: with a training, for more than a day."""
    slurm, generic = (
        yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())["groups"]
        for name in ("slurm", "generic")
    )
    assert slurm == generic
    grouped = rules(*(entry.split("=")[0] for entry in slurm))
    trainings = {name for name in RULES if name.startswith(("train_", "fit_"))}
    assert trainings and not grouped & trainings


def script_of(body: str) -> str:
    return re.search(r"scripts/(\w+)\.py", directive(body, "script")).group(1)


def test_scripts_are_thin_and_have_rules():
    offenders = []
    for path in SCRIPTS:
        text = path.read_text()
        is_thin = len(text.splitlines()) <= 40 and not re.search(r"^\s*(def|class) ", text, re.M)
        # A shard runs a whole workflow inside; what counts of the config is in its param `digest`.
        reads_config = "snakemake.config" in text and path.stem != "run_shard"
        offenders += [path.stem] * (not is_thin or reads_config)
    assert {script_of(body) for body in OWN.values()} == {path.stem for path in SCRIPTS}
    assert not offenders


def modules_of(body: str) -> set[str]:
    """Return the modules that a rule's params name, also by a function of the workflow."""
    text = directive(body, "params")
    if function := re.search(r"code=(?:\w+\.)?(\w+),", text):
        shared = [ROOT / "workflow/rules/common.smk", *(house.PACKAGE / "plan").glob("*.py")]
        definition = rf"def {function.group(1)}\(.*?(?=\n\n\n|\n    def |\Z)"
        text += re.search(definition, read(shared), re.S).group()
    named = re.findall(r'"(tubepet[.\w]*(?:{[.\w]+})?)"', text)
    return {re.sub(r"{.*}", "paper", name) for name in named}


def test_digests_cover_what_scripts_import():
    """An edited module must re-run the rule."""
    offenders = []
    for name, body in OWN.items():
        script = ROOT / f"workflow/scripts/{script_of(body)}.py"
        imported = house.imported_by(script.read_text()) - house.PACKAGES - PLUMBING
        offenders += [f"{name}: {one}" for one in imported - house.closure(modules_of(body))]
    assert PLUMBING <= house.FILES.keys()
    assert not offenders, "\n".join(offenders)


def test_rules_inside_a_shard_bring_no_others_along():
    """An input ``rules.x.output`` would make rule x part of the DAG inside, in every shard."""
    inside = rules("make_phantom", "simulate_tube", "reconstruct_tube", "inspect_tube")
    assert not [name for name in inside if "rules." in directive(RULES[name], "input")]
    assert directive(RULES["reconstruct_tube"], "input")


def test_no_rule_asks_for_all_tubes_one_by_one():
    """Inputs are single tubes and the shards' manifests; paths of all tubes are params."""
    inputs = {name: directive(body, "input") for name, body in RULES.items()}
    asking = {name for name, text in inputs.items() if "tube=SINGLE_TUBES" in text}
    offenders = {name for name in asking if "shards=MANIFESTS" not in inputs[name]}
    all_of_them = ("tube=TUBES", "all_tubes(")
    offenders |= {n for n, text in inputs.items() if any(word in text for word in all_of_them)}
    assert asking and not offenders


def environment(path):
    return yaml.safe_load(path.read_text())["dependencies"]


def test_environments_pin_what_the_lock_pins():
    pins = set(re.findall(r"^\S+==\S+$", (ROOT / "requirements.lock").read_text(), re.M))
    canonical = {pin.lower().replace("_", "-") for pin in pins}
    for path in (ROOT / "envs").glob("*.yaml"):
        for entry in environment(path):
            if isinstance(entry, dict):
                assert set(entry["pip"]) <= canonical, path


def with_what_they_need(names: set[str]) -> set[str]:
    """Return packages and all that they ask for, directly or not, as they are installed here."""
    seen: set[str] = set()
    left = list(names)
    while left:
        name = canonicalize_name(left.pop())
        if name not in seen and name in INSTALLED:
            seen.add(name)
            needed = (Requirement(one) for one in metadata.requires(name) or ())
            left += [one.name for one in needed if not one.marker or one.marker.evaluate()]
    return seen


INSTALLED = {canonicalize_name(one.name) for one in metadata.distributions()}


def test_environments_hold_what_the_scripts_of_their_rules_import():
    """As far as rules say `conda:`; nothing else tries these environments without conda."""
    held = {}
    for path in (ROOT / "envs").glob("*.yaml"):
        (pins,) = (one["pip"] for one in environment(path) if isinstance(one, dict))
        held[path.name] = with_what_they_need({pin.partition("==")[0] for pin in pins})
    provided_by = metadata.packages_distributions()
    outside = {name: house.packages_of(path.read_text()) for name, path in house.FILES.items()}
    lacking = set()
    for body in OWN.values():
        name = re.search(r"envs/(\w+\.yaml)", directive(body, "conda")).group(1)
        script = (ROOT / f"workflow/scripts/{script_of(body)}.py").read_text()
        modules = house.closure(house.imported_by(script) | {"tubepet"})
        for package in house.packages_of(script).union(*(outside[one] for one in modules)):
            providers = {canonicalize_name(one) for one in provided_by.get(package, [package])}
            lacking |= {(name, package)} if not providers & held[name] else set()
    assert len(held) == 4
    assert not lacking, sorted(lacking)


@pytest.mark.workflow
def test_snakemake_finds_nothing_to_lint(tmp_path):
    done = snakemake(tmp_path, "--lint")
    assert done.returncode == 0, done.stdout
    assert "good condition" in done.stdout


@pytest.mark.workflow
def test_the_papers_config_has_a_dag(tmp_path):
    """Other tests run or plan the other configs."""
    done = snakemake(tmp_path, "--dry-run", "--configfile", str(ROOT / "config/paper.yaml"))
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


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("tube", "is_there"), [("0001", True), ("0003", True), ("0004", False), ("1", False)]
)
def test_a_tube_that_the_config_lacks_is_refused(tmp_path, tube, is_there):
    """The smoke run has two; the study learns its features from two further ones."""
    target = f"results/reconstruct/tube_{tube}/image.nii.gz"
    done = snakemake(tmp_path, target, "-n")
    assert (done.returncode == 0) == is_there
    assert (f"No rule to produce {target}" in done.stdout) == (not is_there)


@pytest.mark.workflow
@pytest.mark.parametrize("limit", [None, "7/1m"])
def test_the_scheduler_is_not_woken_by_a_limit_that_nobody_asked_for(tmp_path, limit):
    asked = ["--max-jobs-per-timespan", limit] if limit else []
    done = snakemake(tmp_path, "results/phantom/tube_0000/truth.json", "--verbose", *asked)
    assert done.returncode == 0, done.stdout
    free = re.findall(r"Resources after job selection: .*'_job_count': (\d+)", done.stdout)
    assert free and {int(number) for number in free} == {7 if limit else sys.maxsize}
