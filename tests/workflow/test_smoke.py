"""The whole chain at toy size, run once, and checks of its results."""

import os
import re
import shutil
import signal
import subprocess
import time
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests import crates
from tests.workflow.conftest import ROOT, RULES, SMOKE, planned, rules, snakemake, start
from tests.workflow.content import content, digest
from tubepet import io

pytestmark = pytest.mark.workflow

MODELS = ("paper", "vae", "dcgan", "wgan")


def test_every_picture_shows_something(smoke):
    pictures = [p for p in (smoke / "results").rglob("*.png") if "Images_png" not in p.parts]
    assert len(pictures) >= 20
    for path in pictures:
        with Image.open(path) as image:
            assert np.asarray(image.convert("L")).std() > 1, path


def test_table_has_the_papers_rows_and_the_floor(smoke):
    table = pd.read_csv(smoke / "results/evaluate/table1.csv")
    names = " ".join(table.iloc[:, 0].astype(str)).lower()
    assert all(model in names for model in MODELS) and "real" in names


def test_counts_add_up(smoke):
    for path in (smoke / "results/simulate").glob("tube_*/stats.json"):
        stats = io.read_json(path)
        assert stats["trues"] + stats["scatters"] + stats["randoms"] == stats["prompts"] > 0
        assert stats["tables"] in ("official", "substitute", "xraylib")
    literal = io.read_json(smoke / "results/simulate/literal/stats.json")
    assert 20 < literal["decays"] < 120  # Poisson(60), 5 sigma
    assert (smoke / "results/reconstruct/literal/image.nii.gz").is_file()


def test_second_run_has_nothing_to_do(copy):
    assert "Nothing to be done" in snakemake(copy).stdout


def test_a_finished_run_is_described_as_a_crate(copy):
    done = snakemake(copy, "crate")
    assert done.returncode == 0, done.stdout[-5000:]
    assert list(crates.problems(copy / "results")) == []
    found = crates.read(copy / "results")
    names = {"report.html", "inspect/verdicts.csv", "reconstruct/croissant.json"}
    assert names | {"reconstruct/tube_0001/image.nii.gz"} <= found.keys()
    report = copy / "results/report.html"
    ended = datetime.fromisoformat(found["#run"]["endTime"])
    assert abs(ended.timestamp() - report.stat().st_mtime) < 60  # the last job but for cards


def test_a_loss_weight_reruns_its_training_and_what_follows_only(copy):
    jobs = planned(copy, {"generate": {"paper": {"apg_weight": 2.0}}})
    assert jobs["train_generator"] == 1
    assert jobs.keys() <= rules(
        "train_generator", "generate_samples", "evaluate_models", "collect_report", "make_turing",
        "make_report", "write_card", "all",
    )  # fmt: skip


def test_one_tube_resimulates_that_tube_only(copy):
    jobs = planned(copy, {"phantom": {"tubes": {"tube_0001": {"family": "bent"}}}})
    of_tube = rules(
        "make_phantom", "simulate_tube", "reconstruct_tube", "simulate_reference",
        "reconstruct_reference",
    )  # fmt: skip
    assert {jobs[rule] for rule in of_tube} == {1}
    left = rules("simulate_calibration", "compute_sensitivity", "prepare_ct", "train_vae")
    assert not jobs.keys() & left


def test_a_shard_makes_what_is_missing_and_nothing_else(copy, tmp_path):
    config = tmp_path / "shards.yaml"
    config.write_text("phantom: {num_tubes: 3, tubes_per_job: 2}\n")
    kept = [copy / f"results/{part}" for part in ("phantom", "simulate", "reconstruct")]
    kept = [p for part in kept for p in part.glob("tube_0001/*")]
    before_ns = [path.stat().st_mtime_ns for path in kept]
    manifest = "results/shards/tubes_0001-0002.json"
    done = snakemake(copy, manifest, "--configfile", str(SMOKE), str(config))
    assert done.returncode == 0, done.stdout[-5000:]
    assert len(kept) == 15 and before_ns == [path.stat().st_mtime_ns for path in kept]
    kinds = ["phantom/{}/truth.json", "simulate/{}/stats.json"]
    kinds += ["reconstruct/{}/image.nii.gz", "reconstruct/{}/reference.nii.gz"]
    kinds += ["inspect/{}/verdict.json"]
    tubes = ("tube_0001", "tube_0002")
    expected = {f"results/{kind.format(tube)}" for kind in kinds for tube in tubes}
    assert io.read_json(copy / manifest).keys() == expected
    assert (copy / "results/reconstruct/tube_0002/image.png").is_file()
    config.write_text("phantom: {num_tubes: 3}\n")  # without shards the same files serve
    image = "results/reconstruct/tube_0002/image.nii.gz"
    done = snakemake(copy, image, "-n", "--configfile", str(SMOKE), str(config))
    assert "Nothing to be done" in done.stdout


def test_enhance_compares_networks_and_filters(copy):
    """On three tubes: networks and filters are chosen on one that is neither train nor test."""
    config = copy / "three.yaml"
    split = "reconstruct: {split: {train: 0.4, val: 0.3, test: 0.3}}"
    config.write_text(f"phantom: {{num_tubes: 3}}\n{split}\n")
    done = snakemake(copy, "enhance", "--configfile", str(SMOKE), str(config))
    assert done.returncode == 0, done.stdout[-5000:]
    table = pd.read_csv(copy / "results/enhance/table.csv", index_col="method")
    filters = ["gaussian", "non_local_means", "total_variation", "map_rdp", "iterated", "zero_shot"]
    assert {"short", *filters, "plain", "attention_gan"} <= set(table.index)
    assert np.isfinite(table.loc[filters, "strength"]).all()
    assert np.isfinite(table["psnr"]).all()
    assert table["ssim"].between(0, 1).all() and table["ms_ssim"].between(0, 1).all()
    # networks keep the total of the short image; 1e-5: float32 sums
    networks = table.loc[["plain", "memory", "adversarial"], "activity_bias"]
    np.testing.assert_allclose(networks, table.loc["short", "activity_bias"], rtol=0, atol=1e-5)
    assert (copy / "results/enhance/figure.png").is_file()


def test_every_tube_has_a_long_acquisition_with_decays_of_its_own(smoke):
    for tube in ("tube_0000", "tube_0001"):
        folder = smoke / "results/simulate" / tube
        short, long = (io.read_json(folder / f"{part}stats.json") for part in ("", "reference/"))
        # ten times as long; 5 standard deviations of the short one's decays
        assert long["decays"] / 10 == pytest.approx(short["decays"], abs=5 * short["decays"] ** 0.5)
        assert short["seed"] != long["seed"]
        assert not (folder / "reference/coincidences.root").exists()  # large: temporary
    table = pd.read_csv(smoke / "results/enhance/one_to_one.csv")
    assert len(table) == 1  # the test tube
    assert np.isfinite(table.filter(regex="psnr|ssim")).all(axis=None)


def test_inspect_gives_every_tube_a_verdict(copy):
    done = snakemake(copy, "inspect", "results/inspect/literal/verdict.json")
    assert done.returncode == 0, done.stdout[-5000:]
    table = pd.read_csv(copy / "results/inspect/verdicts.csv")
    assert list(table["tube"]) == ["tube_0000", "tube_0001"]
    assert (table["is_called"] == (table["verdict"] == "defect")).all()
    assert (copy / "results/inspect/tube_0001/map.png").is_file()
    # 60 decays: too few for any answer
    literal = io.read_json(copy / "results/inspect/literal/verdict.json")
    assert literal["verdict"] == "cannot tell" and literal["threshold_z"] is None


def test_pod_has_the_same_parts_whatever_the_batches(copy):
    """Nothing is found at toy size, and the table says so; its curves are tested by themselves."""
    single = "results/inspect/pod/0.1s/bubble_1-1.csv"
    done = snakemake(copy, "pod", single)
    assert done.returncode == 0, done.stdout[-5000:]
    folder = copy / "results/inspect/pod"
    table = pd.read_csv(folder / "parts.csv").drop(columns="cpu_s")
    assert list(table["class"].value_counts()[["groove", "bubble", "clean"]]) == [3, 3, 2]
    alone = pd.read_csv(copy / single).drop(columns="cpu_s")
    beside = table[table["part"] == "bubble_0001"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, beside, check_exact=True)
    facts = io.read_json(folder / "pod.json")
    assert [row["parts"] for row in facts["curves"]] == [3, 3]
    assert facts["false_calls"][0]["parts"] == 2
    assert (folder / "pod.png").is_file()


def test_observers_are_judged_on_the_same_parts(copy):
    """Nothing is learned in four steps; every part has a score of every observer."""
    done = snakemake(copy, "observers")
    assert done.returncode == 0, done.stdout[-5000:]
    folder = copy / "results/observers"
    table = pd.read_csv(folder / "parts.csv")
    assert list(table["role"].value_counts()[["test", "validation"]]) == [6, 3]
    observers = ["score_test", "largest_z", "learned", "learned_image", "learned_8"]
    observers += ["learned_8_surrogate", "hotelling", "hotelling_image"]
    assert np.isfinite(table[observers].to_numpy()).all()
    facts = io.read_json(folder / "observers.json")
    rows = [row for row in facts["figures"] if row["class"] == "all"]
    assert {row["observer"] for row in rows} == {"limit", *observers}
    assert all(0 <= row["auc_low"] <= row["auc"] <= row["auc_high"] <= 1 for row in rows)
    assert (folder / "observers.png").is_file()
    assert (folder / "learned/network.safetensors").is_file()


def test_few_real_parts_are_compared_with_simulated_ones(copy):
    """Nothing is learned in three steps; every arm scores every real part that is judged."""
    done = snakemake(copy, "few_real")
    assert done.returncode == 0, done.stdout[-5000:]
    folder = copy / "results/reality"
    table = pd.read_csv(folder / "parts.csv")
    assert list(table["role"].value_counts()[["test", "validation"]]) == [4, 2]
    ways = ("real", "both", "surrogate", "residual")
    arms = ["simulated", *(f"{way}_{n}" for n in (3, 4) for way in ways)]
    assert np.isfinite(table[["score_test", *arms]].to_numpy()).all()
    facts = io.read_json(folder / "reality.json")
    assert facts["reference"] == "real_3" and set(facts["arms"]) == set(arms)
    # the dead and weaker crystals of reality cost counts: 0.83 of an efficiency, squared
    simulated = pd.read_csv(folder / "simulated_0-3/parts.csv")["coincidences"].mean()
    assert table["coincidences"].mean() < 0.9 * simulated
    assert (folder / "reality.png").is_file()


def test_snakemakes_own_report_shows_every_stage_of_the_default_run(copy, tmp_path):
    path = tmp_path / "provenance.html"
    done = snakemake(copy, "--report", str(path))
    assert done.returncode == 0, done.stdout
    page = path.read_text()
    categories = set(re.findall(r'category="(.+?)"', "".join(RULES.values())))
    missing = {name for name in categories if name not in page and not name.endswith(" Study")}
    assert len(categories) > 8 and not missing
    assert "under Caveats of" in page and "results/report.html" in page


def test_one_core_killed_half_way_gives_the_same_files(smoke, tmp_path):
    """Survive kill -9 of Snakemake and all of its children, twice, then a plain second run."""
    for seconds in (9, 23):
        process = start(tmp_path, cores=1)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert snakemake(tmp_path, "--unlock", cores=1).returncode == 0
    done = snakemake(tmp_path, cores=1)
    assert done.returncode == 0, done.stdout[-5000:]
    ours, theirs = content(tmp_path), content(smoke)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_literal_sixty_decays_run_through_to_a_plain_statement(copy):
    literal = ROOT / "config" / "literal.yaml"
    done = snakemake(copy, "--configfile", str(SMOKE), str(literal))
    assert done.returncode == 0, done.stdout[-5000:]
    stats = [io.read_json(p) for p in sorted((copy / "results/simulate").glob("tube_*/*.json"))]
    assert all(20 < s["decays"] < 120 for s in stats)  # Poisson(60), 5 sigma
    assert (copy / "results/evaluate/figure2.png").is_file()
    assert "decays" in " ".join(io.read_json(copy / "results/report/facts.json")["sentences"])


def test_a_root_file_cut_in_half_is_named_and_the_next_run_goes_on(smoke, copy):
    path = copy / "results/simulate/tube_0000/coincidences.root"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = snakemake(copy)
    assert done.returncode != 0
    assert "error: " in done.stdout and "tube_0000/coincidences.root" in done.stdout
    path.unlink()
    image = "results/reconstruct/tube_0000/image.nii.gz"
    done = snakemake(copy, image)
    assert done.returncode == 0, done.stdout[-5000:]
    for made in (path.relative_to(copy), image):
        assert digest(copy / made) == digest(smoke / made)


@pytest.mark.parametrize(("reader", "target"), [("deeplesion", "all"), ("dicom", "prepare_ct")])
def test_real_ct_goes_through(copy, tmp_path, shared_ct, reader, target):
    """Behind prepare_ct nothing knows the reader."""
    source = shared_ct
    if reader == "dicom":
        source = tmp_path / "dicom"
        sagittal = shutil.ignore_patterns("*sagittal*")
        shutil.copytree(shared_ct / "dicom", source, ignore=sagittal)
    config = tmp_path / "real.yaml"
    config.write_text(f"ct: {{source_dir: {source}, format: {reader}}}\n")
    done = snakemake(copy, target, "--configfile", str(SMOKE), str(config))
    assert done.returncode == 0, done.stdout[-5000:]
    assert io.read_json(copy / "results/ct/slices.json")["is_standin"] is False
    if target == "all":
        facts = io.read_json(copy / "results/report/facts.json")
        assert not facts["is_ct_standin"] and "stand-in" not in " ".join(facts["sentences"])


def test_a_folder_of_sagittal_slices_stops_the_chain_with_one_sentence(copy, tmp_path, shared_ct):
    source = tmp_path / "sagittal"
    source.mkdir()
    shutil.copy(shared_ct / "dicom/covid_a002304_sagittal.dcm", source)
    config = tmp_path / "sagittal.yaml"
    config.write_text(f"ct: {{source_dir: {source}, format: dicom}}\n")
    done = snakemake(copy, "prepare_ct", "--configfile", str(SMOKE), str(config))
    assert done.returncode != 0
    assert "1 reformatted view (covid_a002304_sagittal.dcm)" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_full_disk_is_named_and_the_next_run_goes_on(smoke, copy):
    full = copy / "results/generate/vae"
    shutil.rmtree(full)
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(full)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small tmpfs")
    samples = "results/generate/vae/samples.npy"
    try:
        done = snakemake(copy, samples)
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert done.returncode != 0
    assert "No space left on device" in done.stdout
    done = snakemake(copy, samples)
    assert done.returncode == 0, done.stdout[-5000:]
    ours, theirs = content(copy), content(smoke)
    theirs.pop("results/generate/vae/card.md")  # made of the evaluation, which was not asked for
    assert ours == theirs


def test_the_study_goes_through_to_its_page(copy):
    """Two variants, two seeds, further tubes, all feature spaces; then only what changed."""
    done = snakemake(copy, "study")
    assert done.returncode == 0, done.stdout[-5000:]
    study = copy / "results/study"
    page = (study / "conclusions.md").read_text()
    assert "| `dcgan` is better than `vae` | **undecided** |" in page
    assert "**One number decides a claim:** none, for no features count" in page  # one test tube
    runs = pd.read_csv(study / "runs.csv")
    trained = runs[runs["variant"].isin(["vae", "dcgan"])]
    assert len(trained) == 4 and (trained["cpu_s"] > 0).all() and (runs["frechet"].notna()).all()
    assert runs["frechet_imagenet"].notna().all()
    assert "| imagenet |" in (study / "tables.md").read_text()
    own = set(io.read_json(study / "features/network.json")["tubes"])
    assert not own & set(io.read_table(copy / "results/reconstruct/slices.parquet")["tube"])
    jobs = planned(copy, {"study": {"num_seeds": 3}}, "study")
    assert jobs["train_variant"] == 2 and jobs["measure_cost"] == 0


def test_tuning_takes_the_candidate_nearest_to_the_validation_slices(copy):
    table = copy / "results/reconstruct/slices.parquet"
    rows = io.read_table(table)  # two tubes leave none for validation
    is_train = rows["split"] == "train"
    rows.loc[rows.index[is_train][:2], "split"] = "val"
    io.write_table(table, rows)
    dcgan = {"candidates": [{}, {"learning_rate": 0.0002}]}
    hinge = {"model": "dcgan", "set": {"loss": "hinge"}, "ablates": "dcgan"}
    change = {"study": {"tuning_steps": 5, "variants": {"dcgan": dcgan, "hinge": hinge}}}
    jobs = planned(copy, change, "results/study/costs/hinge.json")
    assert jobs["tune_candidate"] == 2 and jobs["choose_candidate"] == 1  # those of dcgan
    target = "results/study/tuning/dcgan.json"
    options = ("--configfile", str(SMOKE), str(copy / "changed.yaml"))
    done = snakemake(copy, target, *options)
    assert done.returncode == 0, done.stdout[-5000:]
    choice = io.read_json(copy / target)
    distances = [candidate["frechet"] for candidate in choice["candidates"]]
    assert choice["set"] == dcgan["candidates"][int(np.argmin(distances))]
