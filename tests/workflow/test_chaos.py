"""A short part of the fault campaign; `make chaos` runs all of it (tests/chaos)."""

import time
from collections import Counter

import numpy as np
import psutil
import pytest
import torch
import yaml

from tests.chaos import campaign, changes, damage, places
from tests.chaos.runs import (
    JOB_KILLS,
    SNAKEMAKE_KILLS,
    Fault,
    Kills,
    cpu_of_rules,
    jobs_of,
    run,
    start,
    under_fire,
    wait_for_orphans,
)
from tests.workflow.conftest import ROOT, RULES, SMOKE
from tests.workflow.content import content

pytestmark = pytest.mark.workflow

# All phantoms and the CT slices: eight jobs without a network.
TUBES = ("tube_0000", "tube_0001", "literal")
TARGETS = (*(f"results/phantom/{tube}/truth.json" for tube in TUBES), "results/ct/slices.npy")


def parts(folder, *stages):
    """Return the content of some stages."""
    wanted = tuple(f"results/{stage}/" for stage in stages)
    return {name: sum_ for name, sum_ in content(folder).items() if name.startswith(wanted)}


def test_killed_jobs_and_a_killed_snakemake_change_nothing(smoke, tmp_path):
    """Orphans go on writing while their duplicates run."""
    folder = tmp_path / "run"
    folder.mkdir()
    jobs = Counter(["make_phantom", "make_ct_standin", "window_ct"])
    # 3 s: reading the workflow takes about two, so that it is killed before these few jobs end
    kills = Kills(np.random.default_rng(4), cpu_of_rules(smoke), jobs, 2, latest_s=3.0)
    while not under_fire(folder, kills, *TARGETS):
        assert len(kills.done) < 20
    wait_for_orphans(folder)
    status, said = run(folder, *TARGETS)
    assert status == 0, said
    kinds = {kind for kind, _ in kills.done}
    assert kinds & set(SNAKEMAKE_KILLS) and kinds & set(JOB_KILLS)
    assert parts(folder, "phantom", "ct") == parts(smoke, "phantom", "ct")


def test_damaged_artefacts_are_named(smoke, copy, tmp_path):
    batch = max(damage.batches(copy), key=len)[:4]
    kinds = ["one bit flipped", "cut short", "emptied", "one bit flipped"][: len(batch)]
    rng = np.random.default_rng(5)
    faults = damage.damage_batch(smoke, tmp_path / "run", batch, kinds, rng)
    assert len(faults) >= 3
    assert [fault for fault in faults if fault.outcome not in ("named", "survived")] == []
    assert any(fault.outcome == "named" for fault in faults)


def test_the_second_snakemake_in_a_folder_is_refused(smoke, tmp_path):
    missing = ["results/generate/vae/card.md"]
    outcome = places.two_at_once(smoke, tmp_path / "run", content(smoke), missing, 1.0)
    assert outcome == "survived"


def test_a_module_edited_in_the_middle_stops_the_jobs_that_use_it(smoke, tmp_path):
    """Taken back before the end, its results would stand under the digest of other code."""
    root, folder = changes.copy_of_code(tmp_path / "code"), tmp_path / "run"
    folder.mkdir()
    log, module = tmp_path / "first.log", root / "src/tubepet/rng.py"
    process = start(folder, log, *TARGETS, root=root)
    while process.poll() is None and not [*jobs_of(psutil.Process(process.pid), ())]:
        time.sleep(0.1)
    former = module.read_bytes()
    module.write_bytes(former + b"\n\nEDITED = True\n")
    assert process.wait() != 0
    assert "rng.py: changed after this run was planned" in log.read_text()
    module.write_bytes(former)
    status, said = run(folder, *TARGETS, root=root)
    assert status == 0, said
    assert parts(folder, "phantom", "ct") == parts(smoke, "phantom", "ct")


def test_learning_is_training_evaluation_and_report():
    hit = {rule for rule in RULES if campaign.LEARNING.match(rule)}
    assert hit >= {"train_generator", "train_vae", "evaluate_models", "make_report"}
    assert not hit & {"make_phantom", "simulate_tube", "reconstruct_tube", "inspect_tube"}


def test_the_changed_config_differs_in_what_it_changes_only(tmp_path):
    path = tmp_path / "config.yaml"
    assert changes.config_of(first=True)(tmp_path / "run") == ["--configfile", str(path)]
    assert yaml.safe_load(path.read_text()) == yaml.safe_load(SMOKE.read_text())
    changes.config_of(first=False)(tmp_path / "run")
    expected = yaml.safe_load(SMOKE.read_text())
    expected["generate"]["vae"]["num_steps"] = expected["evaluate"]["num_bootstrap"] = 25
    assert yaml.safe_load(path.read_text()) == expected


def test_the_edit_draws_batches_in_another_order_and_is_taken_back(tmp_path):
    root = changes.copy_of_code(tmp_path / "code")
    before = (root / changes.MODULE).read_bytes()
    drawn = []
    for _ in range(2):
        names: dict[str, object] = {}
        exec(compile((root / changes.MODULE).read_text(), "data.py", "exec"), names)
        drawn.append(names["take"](torch.empty(0), 4, 9, torch.Generator().manual_seed(1))[0])
        changes.edit(root)
    assert drawn[0].tolist() == drawn[1].flip(0).tolist() != drawn[1].tolist()
    changes.take_back(root)
    assert (root / changes.MODULE).read_bytes() == before == (ROOT / changes.MODULE).read_bytes()


def test_the_table_counts_by_kind():
    faults = [Fault("a", "x", "survived"), Fault("a", "y", "lost: why"), Fault("b", "z", "named")]
    rows = campaign.table(faults).splitlines()[2:]
    assert rows == ["| a | 2 | 1 | 0 | 0 | 1 |", "| b | 1 | 0 | 1 | 0 | 0 |",
                    "| **all** | 3 | 1 | 1 | 0 | 1 |"]  # fmt: skip
