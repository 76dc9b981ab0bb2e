"""Another workflow uses this one as a module, from the installed package or a repository."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests import documents
from tests.workflow.conftest import ROOT, RULES, SMOKE, environment, snakemake
from tubepet.plan.snakemake import stages

PAGE = (ROOT / "docs/elsewhere.md").read_text(encoding="utf-8")
FROM_PACKAGE = next(text for _, text in documents.FENCE.findall(PAGE) if "module tubepet" in text)
FROM_ADDRESS = """
configfile: "config.yaml"

module tubepet:
    snakefile: github("someone/tubepet", path="workflow/Snakefile", tag="v1.2.3")
    config: config

use rule * from tubepet
"""
TRUTH = "results/phantom/tube_0000/truth.json"


def other(folder: Path, text: str, config: dict[str, object], *arguments: str, **more: str) -> str:
    """Run another workflow, which has a Snakefile and a config; return what it says."""
    (folder / "Snakefile").write_text(text)
    (folder / "config.yaml").write_text(
        yaml.safe_dump(config, sort_keys=False)  # their order counts
    )
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *arguments],
        cwd=folder, env=environment() | more, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def jobs(said: str) -> Counter[str]:
    """Return the jobs of a plan, by rule."""
    table = said.partition("Job stats:\n")[2].partition("\n\n")[0].splitlines()[2:-1]
    return Counter({line.split()[0]: int(line.split()[1]) for line in table})


@pytest.mark.workflow
def test_another_workflow_plans_all_of_it_with_a_section_of_its_config(tmp_path):
    smoke = yaml.safe_load(SMOKE.read_text())
    smoke["phantom"] |= {"num_tubes": 4, "tubes_per_job": 2}
    said = other(tmp_path, FROM_PACKAGE, {"tubes": smoke}, "-n")
    assert "not present" not in said  # a warning: rules named by the names that they had
    planned = jobs(said)
    own = {"all", "mine"}
    assert {name for name in planned if not name.startswith("tubepet_")} == own
    assert {name.removeprefix("tubepet_") for name in planned.keys() - own} <= RULES.keys()
    assert planned["tubepet_run_shard"] == 2 and planned["tubepet_make_report"] == 1
    assert planned["tubepet_write_card"] == 5


@pytest.mark.workflow
def test_a_file_made_by_the_module_is_up_to_date_for_the_workflow_itself(tmp_path):
    """Scripts are found, and params are the same: digests of code, keys of the config."""
    smoke = yaml.safe_load(SMOKE.read_text())
    other(tmp_path, FROM_PACKAGE, {"tubes": smoke}, TRUTH)
    assert "Nothing to be done" in snakemake(tmp_path, TRUTH, "-n").stdout
    smoke["phantom"]["voxel_mm"] = 0.9
    assert jobs(other(tmp_path, FROM_PACKAGE, {"tubes": smoke}, TRUTH, "-n"))


@pytest.mark.workflow
def test_rules_may_come_from_a_repositorys_address(tmp_path):
    """The package is installed beside; here the address leads to a repository made for it."""
    repository, run = tmp_path / "repository", tmp_path / "run"
    run.mkdir()
    for name in ("workflow", "envs"):
        shutil.copytree(ROOT / name, repository / name)
    git = ["git", "-C", repository, "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init"], ["add", "."], ["commit", "-m", "all"], ["tag", "v1.2.3"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    variables = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{repository}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/someone/tubepet",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    smoke = yaml.safe_load(SMOKE.read_text())
    assert jobs(other(run, FROM_ADDRESS, smoke, "-n", **variables))["make_report"] == 1
    other(run, FROM_ADDRESS, smoke, TRUTH, **variables)
    assert (run / TRUTH).is_file()


@pytest.mark.workflow
def test_a_prefix_is_refused(tmp_path):
    text = FROM_PACKAGE.replace('["tubes"]', '["tubes"]\n    prefix: "there"')
    with pytest.raises(AssertionError, match="got a prefix that makes"):
        other(tmp_path, text, {"tubes": {}}, "-n")


def test_stages_of_rules_under_other_names():
    def rule(benchmark: str | None, snakefile: str) -> SimpleNamespace:
        return SimpleNamespace(benchmark=benchmark, snakefile=snakefile)

    found = [
        rule("results/benchmarks/make_phantom/{tube}.tsv", "/a b/workflow/rules/01_phantom.smk"),
        rule("results/benchmarks/make_report.tsv", "host/a/b/rules/11_report.smk@v1.2"),
        rule(None, "/a/workflow/rules/02_simulate.smk"),
        rule("results/benchmarks/mine.tsv", "/a/Snakefile"),
        rule("bench/other.tsv", "/a/rules/other.smk"),
    ]
    assert stages(SimpleNamespace(rules=found)) == {
        "make_phantom": "01_phantom", "make_report": "11_report",
    }  # fmt: skip
