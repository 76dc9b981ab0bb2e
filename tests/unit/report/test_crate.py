import json
import os
import subprocess

import pytest
import yaml
from tests import crates

import tubepet
from tubepet.plan import outside
from tubepet.report import crate

CONFIG = {"seed": 7, "ct": {"source_dir": "there/ct"}}
RESULTS = {"report": ["report.html"], "images": ["b c/tube_0000.nii.gz", "b c/tube_0001.nii.gz"]}


@pytest.fixture
def run(tmp_path):
    """Make a run of two jobs, from 1000 s to 1250 s after the epoch, and describe it twice."""
    folder = tmp_path / "results"
    for i, name in enumerate([*RESULTS["report"], *RESULTS["images"]]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content {i}")
    described = [("describe_slices.tsv", 1, 9000), ("make_crate.tsv", 1, 9002)]
    for name, seconds, end_s in [("a/x.tsv", 200, 1200), ("b.tsv", 100, 1250), *described]:
        path = folder / "benchmarks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tcpu_time\n{seconds}\t1\n")
        os.utime(path, (end_s, end_s))
    (tmp_path / "part.stl").write_text("a part")
    given = {
        "ct.source_dir": "there/ct",
        "phantom.parts.tube_0000.body": str(tmp_path / "part.stl"),
    }
    paths = {what: [str(folder / name) for name in names] for what, names in RESULTS.items()}
    crate.write(folder, CONFIG, given, paths)
    return folder


def test_a_crate_is_whole(run):
    assert list(crates.problems(run)) == []
    entities = crates.read(run)
    assert {"report.html", "b%20c/tube_0001.nii.gz", "crate/config.yaml"} <= entities.keys()
    assert len(list(crates.references(entities["#images"]["workExample"]))) == 2
    assert yaml.safe_load((run / "crate/config.yaml").read_text()) == CONFIG
    assert (run / "crate/workflow/rules/common.smk").is_file()


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda run: (run / "report.html").unlink(), "no file"),
        (lambda run: (run / "report.html").write_text("content 9"), "another content"),
        (lambda run: (run / "report.html").write_text("more content"), "another size"),
    ],
)
def test_what_no_longer_fits_is_found(run, damage, found):
    damage(run)
    assert [one.partition(": ")[2] for one in crates.problems(run)] == [found]


def test_the_run_has_its_time_its_data_and_its_software(run):
    entities = crates.read(run)
    action = entities["#run"]
    assert action["startTime"] == "1970-01-01T00:16:40+00:00"
    assert action["endTime"] == "1970-01-01T00:20:50+00:00"
    given = entities["#phantom.parts.tube_0000.body"]
    assert given["value"].endswith("part.stl") and len(given["sha256"]) == 64
    assert "sha256" not in entities["#ct.source_dir"]  # a folder
    assert {"@id": "#ct.source_dir"} in action["object"]
    names = {one["name"] for one in entities.values() if one["@type"] == "SoftwareApplication"}
    assert {"Python", "numpy", "snakemake", "torch"} <= names
    assert entities["crate/workflow/Snakefile"]["version"] == tubepet.__version__


def test_nobody_and_no_place_is_named(run):
    """Beside the paths that the config itself has."""
    entities = crates.read(run)
    assert entities["#agent"] == {
        "@id": "#agent", "@type": "Organization", "name": "Whoever made the run, not recorded",
    }  # fmt: skip
    text = json.dumps([one for one in entities.values() if "value" not in one])
    assert str(run.parent) not in text and os.uname().nodename not in text.split()


def test_the_commit_is_that_of_the_checkout_and_says_if_it_was_edited(tmp_path):
    assert crate.commit(tmp_path) == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "a").write_text("1")
    for words in (["init"], ["add", "a"], ["commit", "-m", "first"], ["tag", "v1"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert crate.commit(tmp_path) == head.stdout.strip()
    (tmp_path / "a").write_text("2")
    assert crate.commit(tmp_path) == f"{head.stdout.strip()}-dirty"
    (tmp_path / "inside").mkdir()
    assert crate.commit(tmp_path / "inside") == ""  # a wheel in somebody's repository


def test_own_data_are_those_that_the_config_names():
    config = {
        "ct": {"source_dir": ""},
        "simulate": {"g4_data_dir": "tables"},
        "scanner": {"efficiencies": ""},
        "reconstruct": {"attenuation": "truth"},
        "phantom": {"parts": {"tube_0001": {"body": "b.stl", "defect": {"file": "d.stl"}}}},
    }
    assert outside.own_data(config) == {
        "simulate.g4_data_dir": "tables",
        "phantom.parts.tube_0001.body": "b.stl",
        "phantom.parts.tube_0001.defect.file": "d.stl",
    }
    config["reconstruct"]["attenuation"] = "maps/{tube}.nii.gz"
    assert outside.own_data(config)["reconstruct.attenuation"] == "maps/{tube}.nii.gz"
