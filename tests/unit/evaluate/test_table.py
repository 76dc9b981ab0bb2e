"""Table 1: floor, copies, noise, degenerate data, and messages."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from tubepet import io
from tubepet.dataset.slices import Slices
from tubepet.errors import InputError
from tubepet.evaluate import figures, inception, metrics, similarity, statistics, table
from tubepet.evaluate.imagenet import IMAGENET
from tubepet.evaluate.row_names import COPY, FLOOR

SIZE = 32


def discs(num: int, seed: int, noise: float = 0.1) -> np.ndarray:
    """Noisy discs of random radius and place, Bq/mm3."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    images = [
        600.0 * (np.hypot(x - rng.normal(), y - rng.normal()) < rng.uniform(5, 10))
        for _ in range(num)
    ]
    return np.clip(np.array(images) * (1 + noise * rng.normal(size=(num, SIZE, SIZE))), 0, None)


def real_slices(images: np.ndarray, num_train: int) -> Slices:
    num_test = len(images) - num_train
    split = np.repeat(["train", "test"], [num_train, num_test])
    tube = np.array([f"tube_{i // 4:04d}" for i in range(len(images))])
    rows = pd.DataFrame({"split": split, "tube": tube})
    return Slices(images.astype(np.float32), rows, 800.0, pixel_mm=0.5, slice_mm=1.0)


@pytest.fixture(scope="module")
def compared():
    real = real_slices(discs(100, seed=0), num_train=60)
    samples = {
        "paper": discs(80, seed=5),
        "dcgan": discs(80, seed=6, noise=0.4),
        "vae": np.repeat(discs(1, seed=7), 80, axis=0),
    }
    return (real, samples, *table.evaluate(samples, real, 10, "", seed=1))


def test_rows_and_columns(compared) -> None:
    _, _, rows, facts = compared
    assert rows["model"].tolist() == ["paper", "dcgan", "vae", FLOOR, COPY]
    assert (rows["n"] == 30).all() and (rows["num_test"] == 40).all()
    assert rows.set_index("model").loc["paper", "paper_fid"] == 52.8
    assert {name: gate["is_passed"] is not None for name, gate in facts["gates"].items()} == {
        metrics.STATISTICS: True, IMAGENET: True
    }  # fmt: skip
    in_imagenet = metrics.descriptions([IMAGENET]).keys() & set(rows.columns)
    assert {"frechet_imagenet", "energy_imagenet", "coverage_imagenet"} <= in_imagenet
    assert "c2st_imagenet" not in rows
    names = [*metrics.descriptions([metrics.STATISTICS]), *in_imagenet]
    assert set(names) <= set(facts["columns"])
    assert set(names) <= set(rows.columns)
    assert "fid" not in rows  # never under that name without the Inception file
    for name in names:
        assert (rows[f"{name}_low"] <= rows[name]).all() and (
            rows[name] <= rows[f"{name}_high"]
        ).all()


def test_same_distribution_scores_like_the_floor_and_others_do_not(compared) -> None:
    rows = compared[2].set_index("model")
    floor = rows.loc[FLOOR, "frechet"]
    # the same distribution: a few times the floor at most; more noise, one mode: far above
    assert rows.loc["paper", "frechet"] < 3 * floor
    assert rows.loc["dcgan", "frechet"] > 10 * floor
    assert rows.loc["vae", "frechet"] > 3 * floor
    noisy, alike = rows.loc["dcgan", "energy_imagenet"], rows.loc["paper", "energy_imagenet"]
    assert noisy > 10 * max(alike, rows.loc[FLOOR, "energy_imagenet"])
    assert rows.loc["vae", "ms_ssim"] == pytest.approx(1.0, abs=1e-6)  # float32: equal images
    assert rows.loc["vae", "recall"] == 0
    assert rows.loc["paper", "coverage"] > 0.7
    assert rows.loc["dcgan", "c2st"] > rows.loc["paper", "c2st"]


def test_copies_are_found_out(compared) -> None:
    rows = compared[2].set_index("model")
    assert rows.loc[COPY, "nearest_ratio"] == 0
    # other tubes of the same kind are as far away as the test tubes: within a third
    assert rows.loc[FLOOR, "nearest_ratio"] == pytest.approx(1.0, rel=0.33)


def test_result_is_a_function_of_the_seed(compared) -> None:
    real, samples, rows, facts = compared
    again, facts_again = table.evaluate(samples, real, 10, "", seed=1)
    assert rows.equals(again) and facts == facts_again


def test_figures_are_drawn(compared, tmp_path: Path) -> None:
    real, samples, rows, _ = compared
    drawn = (
        figures.draw_samples(real.images[60:], samples, 800.0),
        figures.draw_table(rows),
        figures.draw_neighbours(real.images[:60], samples, 800.0),
    )
    for i, figure in enumerate(drawn):
        io.write_figure(tmp_path / f"{i}.png", figure)
        assert (tmp_path / f"{i}.png").stat().st_size > 5000


def test_images_without_a_count_are_stated_not_crashed_on(tmp_path: Path) -> None:
    real = real_slices(np.zeros((20, SIZE, SIZE)), num_train=12)
    rows, facts = table.evaluate({"paper": np.zeros((16, SIZE, SIZE), np.float32)}, real, 5, "", 1)
    assert (rows["frechet"] == 0).all()
    assert rows["w1_activity"].isna().all() and rows["coverage"].isna().all()
    paper, few = (said for said in facts["statements"] if said.startswith("paper: "))
    assert few.startswith("paper: precision_imagenet, ") and "from 6 images against 8" in few
    assert (
        "w1_activity" in paper
        and "from 6 images against 8 test slices (too few images or tubes" in paper
    )
    io.write_json(tmp_path / "metrics.json", facts)  # refuses NaN
    io.write_figure(tmp_path / "t.png", figures.draw_table(rows))


def test_eight_test_slices_and_few_samples_are_enough() -> None:
    real = real_slices(discs(16, seed=0), num_train=8)
    rows, _ = table.evaluate({"paper": discs(16, seed=1)}, real, 5, "", 1)
    assert (rows["n"] == 4).all() and np.isfinite(rows["frechet"]).all()
    axes = {axis.get_title(): axis for axis in figures.draw_table(rows).axes}
    said = {title: [text.get_text() for text in axis.texts] for title, axis in axes.items()}
    assert said[figures.BARS["c2st"]] == ["too few images or tubes"]  # two tubes, five folds
    assert said[figures.BARS["frechet"]] == []


def test_no_test_slices_is_named() -> None:
    with pytest.raises(InputError, match="got 0 slices of split test, expected at least 2"):
        table.evaluate({"paper": discs(4, 1)}, real_slices(discs(8, 0), num_train=8), 5, "", 1)


def test_wrong_inception_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"not the network")
    with pytest.raises(InputError, match=r"net\.pt has sha256 .*, expected f58cb9b6"):
        inception.load_inception(tmp_path / "net.pt")
    with pytest.raises(InputError, match="expected a file that exists"):
        inception.load_inception(tmp_path / "none.pt")


@pytest.mark.parametrize(("size", "scales"), [(32, 2), (64, 3), (128, 4), (256, 5)])
def test_ms_ssim_fits_the_image(size: int, scales: int) -> None:
    assert similarity.num_scales(size) == scales
    images = np.random.default_rng(0).uniform(size=(2, size, size)).astype(np.float32)
    same = similarity.ms_ssim(images, images)
    np.testing.assert_allclose(same, 1, atol=1e-5)  # float32
    assert (similarity.ms_ssim(images, images[::-1].copy()) < 0.5).all()


def test_ms_ssim_is_that_of_its_formula() -> None:
    """Wang et al. 2003, eq. 7: contrast and structure of each scale, luminance of the last."""
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.uniform(size=(64, 64)), 2) + 0.1 * rng.uniform(size=(64, 64))
    first = smooth.astype(np.float32)
    other = np.clip(first + 0.05 * rng.normal(size=first.shape), 0, 1).astype(np.float32)
    found = float(similarity.ms_ssim(first[None], other[None])[0])
    pair, values, c1, c2 = [first.astype(float), other.astype(float)], [], 0.01**2, 0.03**2

    def window(image):
        return gaussian_filter(image, 1.5, truncate=3.5, mode="mirror")  # 11 pixels

    for _ in range(3):
        one, two = (window(image) for image in pair)
        variances = [window(i * i) - m * m for i, m in zip(pair, (one, two), strict=True)]
        covariance = window(pair[0] * pair[1]) - one * two
        contrast_structure = (2 * covariance + c2) / (sum(variances) + c2)
        luminance = (2 * one * two + c1) / (one**2 + two**2 + c1)
        values.append(contrast_structure[5:-5, 5:-5].mean())
        ssim = luminance * contrast_structure
        # the windows are those of skimage, which leaves 5 pixels at each border out
        parity = structural_similarity(
            *pair, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert ssim[5:-5, 5:-5].mean() == pytest.approx(parity, rel=1e-12)
        pair = [image.reshape(len(image) // 2, 2, -1, 2).mean((1, 3)) for image in pair]
    weights = np.array([0.0448, 0.2856, 0.3001])
    expected = np.prod(np.array([*values[:2], ssim.mean()]) ** (weights / weights.sum()))
    assert found < 0.9 and found == pytest.approx(expected, abs=1e-5)  # float32


def test_statistics_by_hand_on_a_flat_and_a_striped_image() -> None:
    flat = np.full((1, 32, 32), 0.5, np.float32)
    values = statistics.image_statistics(flat)[0]
    num = len(statistics.QUANTILES)
    assert np.array_equal(values[:num], np.full(num, 0.5))
    assert values[num] == 0.5 and values[num + 1] == 0  # mean, standard deviation
    stripes = np.tile([1.0, -1.0], (1, 32, 16)).astype(np.float32)  # all power at Nyquist
    spectrum = statistics.radial_spectrum(stripes)[0]
    assert spectrum.argmax() == statistics.NUM_RADII - 1


def test_space_keeps_ten_images_per_component() -> None:
    raw = np.random.default_rng(0).normal(size=(80, 30))
    assert statistics.fit_space(raw, 45).components.shape == (4, 30)
    assert statistics.fit_space(raw, 5).components.shape == (1, 30)
