"""The VAE's training learns, is repeatable, resumes bit for bit, and stops on NaN."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from tubepet.errors import InputError
from tubepet.pretrain import figures, train
from tubepet.pretrain.loss import aggregate_gap, kl_weight
from tubepet.training.checkpoint import save_checkpoint

WINDOW_HU = (-160.0, 240.0)
SETTINGS = {
    "latent_size": 8, "channels": 8, "num_steps": 12, "batch_size": 4, "learning_rate": 1e-3,
    "beta": 1.0, "kl_anneal_steps": 6, "sigma_x": 0.3, "validate_every": 5, "checkpoint_every": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def slices():
    """Twenty discs of random size and place, HU."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16] - 7.5
    discs = [np.hypot(x - a, y - b) < r for a, b, r in rng.uniform([-2, -2, 3], [2, 2, 7], (20, 3))]
    return np.where(discs, 60, -160).astype(np.float32)


SPLIT = np.array(["train"] * 14 + ["val"] * 4 + ["test"] * 2)


def run(slices, tmp_path, digest="run", **changes):
    return train.train_vae(
        slices, SPLIT, WINDOW_HU, SETTINGS | changes, 3, tmp_path / "vae.pt", digest
    )


def same_weights(a, b):
    return all(
        torch.equal(p, q)
        for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_normalisation_by_hand():
    hu = np.array([-160, 40, 240], np.float32)
    assert train.normalised(hu, WINDOW_HU).tolist() == [-1, 0, 1]


def test_it_learns(slices, tmp_path):
    curves = run(slices, tmp_path, num_steps=60, kl_anneal_steps=30).curves
    first, last = curves[curves["split"] == "train"]["reconstruction_nats"].iloc[[0, -1]]
    assert last < 0.5 * first
    val = curves[curves["split"] == "val"]
    assert val["step"].tolist() == list(range(4, 60, 5))
    assert np.isfinite(curves[["reconstruction_nats", "kl_nats"]]).all(axis=None)


def test_same_seed_same_weights_and_test_slices_unseen(slices, tmp_path):
    first = run(slices, tmp_path / "a")
    changed = slices.copy()
    changed[SPLIT == "test"] = 0
    second = run(changed, tmp_path / "b")
    assert same_weights(first.model, second.model) and first.facts == second.facts


def test_a_resumed_run_is_the_uninterrupted_one(slices, tmp_path, monkeypatch):
    whole = run(slices, tmp_path / "whole")

    def save_then_die(path, state, digest):
        save_checkpoint(path, state, digest)
        if state["step"] == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "save_checkpoint", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            run(slices, tmp_path / "killed")
    seen = []
    monkeypatch.setattr(
        train, "kl_weight", lambda step, *a: seen.append(step) or kl_weight(step, *a)
    )
    resumed = run(slices, tmp_path / "killed")
    assert seen == [8, 9, 10, 11]
    assert same_weights(whole.model, resumed.model)
    pd.testing.assert_frame_equal(whole.curves, resumed.curves, check_exact=True)


def test_two_processes_train_as_one_and_go_on_for_each_other(slices, tmp_path):
    def curves(name, num_processes, digest="run"):
        trained = train.train_vae(
            slices, SPLIT, WINDOW_HU, SETTINGS, 3, tmp_path / name, digest, num_processes
        )
        return trained.curves.drop(columns="split")

    alone = curves("one.pt", 1)
    # rounding: float32 sums in another order, 12 steps of Adam far; a batch of half the images is
    # off by more than 1e-2
    np.testing.assert_allclose(curves("two.pt", 2), alone, rtol=1e-3)
    for path, num_processes in (("one.pt", 2), ("two.pt", 1)):
        saved = torch.load(tmp_path / path, weights_only=True)
        saved["state"]["step"], saved["state"]["rows"] = 11, saved["state"]["rows"][:-2]
        torch.save(saved, tmp_path / path)
        resumed = curves(path, num_processes)
        assert resumed["step"].tolist() == alone["step"].tolist()


def test_a_batch_that_processes_cannot_share_is_refused(slices, tmp_path):
    with pytest.raises(
        InputError, match=r"pretrain\.num_processes: got 3, expected a divisor of p"
    ):
        train.train_vae(slices, SPLIT, WINDOW_HU, SETTINGS, 3, tmp_path / "a.pt", "run", 3)


def test_a_stale_checkpoint_is_not_resumed(slices, tmp_path):
    run(slices, tmp_path, learning_rate=1e-2, digest="old")
    fresh = run(slices, tmp_path / "fresh", digest="new")
    assert same_weights(run(slices, tmp_path, digest="new").model, fresh.model)


def test_a_loss_that_is_not_finite_stops_with_the_key(slices, tmp_path):
    with pytest.raises(InputError, match=r"pretrain\.learning_rate: got 1e\+30"):
        run(slices, tmp_path, learning_rate=1e30)


def test_batches_see_every_image_once_per_round():
    batches = np.concatenate([train.batch_indices(10, 4, step, 1) for step in range(5)])
    assert sorted(batches[:10]) == sorted(batches[10:]) == list(range(10))
    assert batches[:10].tolist() != batches[10:].tolist()
    assert len(train.batch_indices(3, 8, 0, 1)) == 8  # fewer images than a batch


def test_annealing_by_hand():
    assert [kl_weight(s, 2.0, 4) for s in range(6)] == [0, 0.5, 1, 1.5, 2, 2]
    assert kl_weight(0, 2.0, 0) == 2


def test_aggregate_gap_by_hand():
    # one dimension, means +-1 and variance 1: q(z) has variance 2, KL = (2 - 1 - ln 2) / 2
    gap = aggregate_gap(torch.tensor([[1.0], [-1.0]]), torch.zeros(2, 1))
    assert gap["aggregate_gap_nats"] == pytest.approx((1 - np.log(2)) / 2)
    assert gap["aggregate_mean_norm"] == 0 and gap["num_active_dimensions"] == 1
    # a posterior that ignores the image is the prior: no gap, no active dimension
    gap = aggregate_gap(torch.zeros(5, 3), torch.zeros(5, 3))
    assert gap["aggregate_gap_nats"] == 0 and gap["num_active_dimensions"] == 0


def test_figures_are_drawn(slices, tmp_path):
    trained = run(slices, tmp_path)
    drawn = (
        figures.draw_curves(trained.curves, "discs"),
        figures.draw_reconstructions(
            trained.model, slices, np.flatnonzero(SPLIT == "val"), WINDOW_HU, 10, "discs"
        ),
        figures.draw_samples(trained.model, WINDOW_HU, 2, 3, 3, "discs"),
    )
    for figure, num_axes in zip(drawn, (3, 2 * 4 + 1, 2 * 3 + 1), strict=True):
        assert isinstance(figure, Figure) and len(figure.axes) == num_axes
