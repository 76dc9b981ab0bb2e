"""The fault campaign in short: `make chaos` does all of it (tests/chaos)."""

from collections import Counter

import numpy as np
import pytest

from tests.chaos import damage, places
from tests.chaos.runs import (
    JOB_KILLS,
    SNAKEMAKE_KILLS,
    Kills,
    cpu_of_rules,
    run,
    under_fire,
    wait_for_orphans,
)
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
