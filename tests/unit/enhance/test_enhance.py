"""Enhancement: pairs, total activity, scores by hand, filters, errors."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio

from tubepet import io
from tubepet.dataset.slices import Slices
from tubepet.enhance import evaluate, pairs, train
from tubepet.enhance.network import BlockMemory, Enhancer
from tubepet.enhance.pairs import Pairs
from tubepet.enhance.quality import (
    enhanced,
    load_enhancer,
    psnr,
    score,
    tube_means,
    with_measured_total,
)
from tubepet.errors import InputError
from tubepet.types import Grid, Volume

CONFIG = {
    "channels": 4,
    "num_steps": 40,
    "batch_size": 4,
    "learning_rate": 3e-3,
    "adversarial_weight": 0.02,
}


def discs(num_tubes: int, seed: int) -> Pairs:
    """Return two slices each of blurred discs, 32 x 32, with and without noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] - 15.5
    radii = rng.uniform(6, 12, 2 * num_tubes)
    long = np.array([np.hypot(x, y) < r for r in radii]).astype(np.float32)
    short = rng.poisson(2 * long).astype(np.float32) / 2
    short, long = (gaussian_filter(image, (0, 1, 1)) for image in (short, long))
    return Pairs(short, long, np.repeat([f"tube_{i}" for i in range(num_tubes)], 2))


GRID = Grid.centred((8, 16, 16), (1.0, 1.0, 1.0))
# two tubes, of other slices each, in an order that is not the alphabet's
TABLE = pd.DataFrame(
    {
        "tube": ["tube_1"] * 3 + ["tube_0"] * 2,
        "split": ["train"] * 3 + ["test"] * 2,
        "z_mm": [-1.5, -0.5, 0.5, 1.5, 2.5],
    }
)


def test_long_slices_are_those_of_the_data_set(tmp_path) -> None:
    rng = np.random.default_rng(0)
    longs = [Volume(rng.uniform(1, 2, GRID.shape).astype(np.float32), GRID) for _ in range(2)]
    info = {"scale_bq_mm3": 9.0, "pixel_mm": 1.0}
    found = pairs.collect_long(tmp_path / "long.npy", iter(longs), TABLE, info, 0.5)
    long = io.read_array(tmp_path / "long.npy")
    # the centres lie at -3.5, -2.5, .. mm
    np.testing.assert_array_equal(long[:3], longs[0].array[2:5])
    np.testing.assert_array_equal(long[3:], longs[1].array[5:7])
    # the scale is that of long training slices
    assert found == {"scale_bq_mm3": pytest.approx(np.quantile(long[:3], 0.5)), "pixel_mm": 1.0}
    one, other = (Slices(array, TABLE, 2.0, 1.0, 1.0) for array in (-long, np.asarray(long)))
    test = pairs.select(one, other, "test")
    assert list(test.tubes) == ["tube_0"] * 2
    np.testing.assert_array_equal(test.short, -test.long)  # below 0 too: nothing is clipped
    np.testing.assert_array_equal(test.long, long[3:] / 2)  # in units of the scale


def test_a_long_image_of_other_voxels_is_named(tmp_path) -> None:
    other = Volume(np.ones((9, 16, 16), np.float32), Grid.centred((9, 16, 16), GRID.voxel_mm))
    with pytest.raises(InputError, match=r"tube_1: got a long image .* up to 0\.5 mm"):
        pairs.collect_long(tmp_path / "a.npy", [other, other], TABLE, {}, 0.5)


def test_psnr_ssim_and_bias_by_hand() -> None:
    long = np.zeros((3, 16, 16), np.float32)
    long[:, 4:12, 4:12] = 1.0  # 64 pixels
    images = long.copy()
    images[0] += 0.1  # mean square 0.01: 20 dB
    images[1] += 0.01  # 40 dB
    images[2, 0, 0] = 16.0  # a quarter more activity; mean square 256 / 256: 0 dB
    given = Pairs(images, long, np.array(["a", "a", "b"]))
    scores = score(images, given)
    assert scores["psnr"].tolist() == pytest.approx([20.0, 40.0, 0.0], abs=1e-4)  # float32
    means = tube_means(scores)
    assert means["psnr"].tolist() == pytest.approx([30.0, 0.0], abs=1e-4)
    # 256 pixels of 0.1 and 0.01 over two slices of 64
    assert means["activity_bias"].tolist() == pytest.approx([28.16 / 128, 0.25], rel=1e-5)
    parity = [
        peak_signal_noise_ratio(other, one, data_range=1.0)
        for one, other in zip(images, long, strict=True)
    ]
    assert scores["psnr"].tolist() == pytest.approx(parity)
    equal = score(long, given)
    assert equal["psnr"].tolist() == [120.0] * 3 and equal["ssim"].tolist() == [1.0] * 3
    assert equal["ms_ssim"].tolist() == pytest.approx([1.0] * 3, abs=1e-5)  # float32


def test_ssim_is_that_of_its_formula_where_the_window_is_flat() -> None:
    # constant images: variances are 0 and SSIM is (2 a b + c) / (a^2 + b^2 + c), c = 0.01^2
    flat = np.ones((1, 16, 16), np.float32)
    found = score(0.5 * flat, Pairs(flat, flat, np.array(["a"])))["ssim"][0]
    # 1e-4: SSIM divides rounding of float32 variances by 0.03^2
    assert found == pytest.approx((2 * 0.5 + 1e-4) / (1.25 + 1e-4), abs=1e-4)


def test_the_network_begins_as_the_identity_and_never_goes_below_zero() -> None:
    short = torch.from_numpy(discs(2, 0).short)[:, None]
    for use_memory in (False, True):
        network = Enhancer(4, use_memory)
        torch.testing.assert_close(network(short), short)
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        made = network(short)
        assert not torch.allclose(made, short) and made.min() >= 0


def test_every_tube_keeps_its_measured_total() -> None:
    given = discs(3, 0)
    made = np.random.default_rng(0).uniform(0, 2, given.short.shape).astype(np.float32)
    scaled = with_measured_total(made, given.short, given.tubes)
    for tube in np.unique(given.tubes):
        rows = given.tubes == tube
        # 1e-5: float32 sums
        assert scaled[rows].sum() == pytest.approx(given.short[rows].sum(), rel=1e-5)
        ratio = scaled[rows] / made[rows]
        np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-5)  # one factor per tube
    nothing = np.zeros_like(made)
    assert np.array_equal(with_measured_total(nothing, given.short, given.tubes), nothing)


def test_block_memory_sees_the_whole_image() -> None:
    memory = BlockMemory(4)
    memory.fuse.weight.data.normal_()
    x = torch.randn(1, 4, 3, 3)
    changed = x.clone()
    changed[..., 2, 2] += 1.0
    with torch.no_grad():
        difference = (memory(changed) - memory(x)).abs().sum(1)
    assert (difference > 0).all()  # every block heard of it


@pytest.mark.parametrize("name", train.VARIANTS)
def test_every_variant_learns_and_is_a_function_of_the_seed(name) -> None:
    fit, val = discs(8, 0), discs(2, 1)
    first, again = (train.train(name, CONFIG, fit, val, seed=1) for _ in range(2))
    for key, weight in first.weights.items():
        assert torch.equal(weight, again.weights[key]), key
    raw = np.mean([psnr(*both) for both in zip(val.short, val.long, strict=True)])
    assert first.curves["val_psnr"].iloc[-1] > raw + 0.3  # dB: identity gives 0


def test_dearer_variants_take_fewer_steps() -> None:
    fit, val = discs(8, 0), discs(2, 1)
    networks = ("plain", "adversarial")
    facts = {name: train.train(name, CONFIG, fit, val, seed=1).facts for name in networks}
    spent = {n: f["num_steps"] * f["operations_per_step"] for n, f in facts.items()}
    assert facts["adversarial"]["num_steps"] < facts["plain"]["num_steps"] == 40
    # half a step of the adversarial network at most
    assert spent["adversarial"] == pytest.approx(
        spent["plain"], abs=facts["adversarial"]["operations_per_step"] / 2
    )


def test_filters_smooth_and_are_tuned_where_noise_is() -> None:
    val = discs(3, 0)
    raw = tube_means(score(val.short, val))["psnr"].mean()
    for name, found in evaluate.FILTERS.items():
        make = partial(evaluate.filtered, name)
        made = evaluate.tuned(name, make, found.strengths, val, discs(2, 4))
        trials = [evaluate.mean_psnr(make(val, strength), val) for strength in found.strengths]
        assert evaluate.mean_psnr(made.val, val) == max(trials) > raw, name
        assert made.strength == found.strengths[int(np.argmax(trials))]
        np.testing.assert_array_equal(made.test, make(discs(2, 4), made.strength))


def test_what_a_method_made_is_read_as_written(tmp_path) -> None:
    random = np.random.default_rng(0)
    made = evaluate.Made(0.3, *(random.random((n, 4, 4), np.float32) for n in (2, 3)))
    paths = {"slices": str(tmp_path / "slices.npy"), "facts": str(tmp_path / "facts.json")}
    evaluate.write_made(paths, made)
    for one, other in zip(made, evaluate.read_made(**paths), strict=True):
        np.testing.assert_array_equal(one, other)


def test_comparison_chooses_on_val_and_reports_on_test() -> None:
    fit, val, test = discs(8, 0), discs(3, 1), discs(4, 2)
    networks = {}
    for name in ("plain", "memory"):
        trained = train.train(name, CONFIG, fit, val, seed=1)
        networks[name] = Enhancer(**trained.arguments)
        networks[name].load_state_dict(trained.weights)
    others = {"half": evaluate.Made(7.0, val.long / 2, test.long / 2)}
    draws = np.random.default_rng(0)
    table, metrics, images = evaluate.compare(networks, val, test, others, draws)
    assert list(table["method"]) == ["short", *evaluate.FILTERS, "half", *networks]
    rows = table.set_index("method")
    by_val = rows["val_psnr"]
    assert metrics["chosen"]["network"] == by_val[["plain", "memory"]].idxmax()
    assert metrics["chosen"]["filter"] == by_val[list(evaluate.FILTERS)].idxmax()
    for name, image in images.items():
        means = tube_means(score(image, test))
        assert rows.loc[name, "psnr"] == pytest.approx(means["psnr"].mean())
        assert rows.loc[name, "psnr_low"] <= rows.loc[name, "psnr"] <= rows.loc[name, "psnr_high"]
    # no method but filters adds or takes activity: its bias is the short image's
    bias = rows["activity_bias"]
    assert bias["half"] == pytest.approx(bias["short"], abs=1e-6)
    assert rows.loc["half", "strength"] == 7 and not rows.loc["half", "is_chosen"]
    assert bias["plain"] == pytest.approx(bias["short"], abs=1e-6)
    gain = metrics["gain_over_filter"]["psnr"]["mean"]
    chosen = metrics["chosen"]
    assert gain == pytest.approx(
        rows.loc[chosen["network"], "psnr"] - rows.loc[chosen["filter"], "psnr"]
    )


def test_interval_of_equal_tubes_is_a_point() -> None:
    found = evaluate.interval(np.full(5, 3.0), np.random.default_rng(0))
    assert found == {"mean": 3.0, "low": 3.0, "high": 3.0}


def test_interval_covers_the_standard_error() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = evaluate.interval(values, np.random.default_rng(0))
    # 1.96 standard errors either side; 10 %: 2000 draws
    half = 1.96 * values.std() / math.sqrt(400)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(half, rel=0.1)


def test_without_validation_tubes_nothing_is_chosen_but_a_network_is_trained() -> None:
    none = Pairs(*np.zeros((2, 0, 32, 32), np.float32), np.array([], str))
    trained = train.train("plain", CONFIG, discs(8, 0), none, seed=1)
    assert trained.curves["val_psnr"].isna().all() and trained.curves["l1"].notna().all()
    with pytest.raises(InputError, match=r"reconstruct\.split\.val: got a share that leaves no"):
        evaluate.compare({}, none, discs(2, 1), {}, np.random.default_rng(0))


def test_bad_input_is_named(tmp_path) -> None:
    fit, val = discs(1, 0), discs(1, 1)
    with pytest.raises(InputError, match=r"enhance\.batch_size: got 4, expected at most 2"):
        train.train("plain", CONFIG, fit, val, seed=1)
    odd = Pairs(
        np.ones((8, 20, 20), np.float32), np.ones((8, 20, 20), np.float32), np.array(["a"] * 8)
    )
    with pytest.raises(InputError, match="num_pixels: got 20, expected a multiple of 8"):
        train.train("plain", CONFIG, odd, odd, seed=1)
    broken = discs(8, 0)
    broken.long[:] = np.nan
    with pytest.raises(InputError, match="L1 distance of plain is nan at step 1"):
        train.train("plain", CONFIG, broken, val, seed=1)
    save_file(Enhancer(4, use_memory=False).state_dict(), tmp_path / "network.safetensors")
    with pytest.raises(InputError, match=r"network\.safetensors: expected the weights"):
        load_enhancer(tmp_path / "network.safetensors", {"channels": 8, "use_memory": False})


def test_weights_survive_a_file(tmp_path) -> None:
    network = Enhancer(4, use_memory=True)
    network.change.weight.data.normal_()
    save_file(network.state_dict(), tmp_path / "n.safetensors")
    again = load_enhancer(tmp_path / "n.safetensors", {"channels": 4, "use_memory": True})
    short = discs(1, 0).short
    assert np.array_equal(enhanced(network, short), enhanced(again, short))
    assert isinstance(score(short, discs(1, 0)), pd.DataFrame)
