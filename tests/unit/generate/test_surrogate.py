"""The surrogate: slices with labels, volumes of drawings, requested tubes, its folder."""

import numpy as np
import pytest
import torch

from tubepet.dataset.drawing import draw_slices
from tubepet.errors import InputError
from tubepet.generate import trained
from tubepet.generate.models.dcgan import DCGAN
from tubepet.generate.models.surrogate import Surrogate
from tubepet.generate.sample import Generator
from tubepet.phantom.spec import draw_tube

MODEL = Surrogate()


@pytest.fixture
def network(config, data):
    return MODEL.fit(config("surrogate"), data)[0]


@pytest.fixture
def generator(network, data):
    return Generator(MODEL, network, data, 1.0, 1.0, {})


def ask(network, data, seed, **wanted):
    return MODEL.sample_labelled(network, 6, data, torch.Generator().manual_seed(seed), wanted)


def test_labels_belong_to_their_images(network, data) -> None:
    wanted = {"family": "round", "defect": "bubble", "defect_size_mm": 6.0}
    images, labels, masks = ask(network, data, 5, **wanted)
    again, other = ask(network, data, 5, **wanted), ask(network, data, 6, **wanted)
    assert images.shape == (6, 1, 32, 32) and masks.shape == (6, 32, 32)
    assert images.min() >= -1 and images.max() <= 1
    assert torch.equal(images, again[0]) and labels.equals(again[1])
    assert not torch.equal(images, other[0])
    assert (labels["defect"] == "bubble").all() and (labels["defect_size_mm"] == 6.0).all()
    for mask, row in zip(masks, labels.itertuples(), strict=True):
        box = mask[row.y_low_px : row.y_high_px, row.x_low_px : row.x_high_px]
        assert box.any() and box.sum() == mask.sum()


def test_a_slice_is_that_of_its_tube(network, data) -> None:
    """Bright where its own tube has fluid, not where that of another slice has."""
    images, labels, _ = ask(network, data, 1, defect="bubble", defect_size_mm=6.0)
    held = (images[:, 0] + 1) / 2 > 0.2
    assert held.any(axis=(1, 2)).all()
    assert labels["z_mm"].isin(data.volumes.population.all_mm).all()


def test_volumes_follow_their_drawings_defect_included(generator, data) -> None:
    population = data.volumes.population
    bubble = {"defect": "bubble", "defect_size_mm": 6.0, "defect_z_mm": 0.0}
    tubes = [
        draw_tube("tube_0000", population.phantom, {"family": "round"} | own, 1, where="test")
        for own in (bubble, {"defect": "none"})
    ]
    fluids = np.stack([draw_slices(t, population.all_mm, population.grid).fluid for t in tubes])
    made = np.mean(
        [trained.volumes_of(generator, fluids, np.random.default_rng(s)) for s in range(8)], axis=0
    )
    assert made.shape == fluids.shape
    lost = fluids[1] - fluids[0] > 0.99  # fluid that the bubble takes
    kept = np.minimum(*fluids) > 0.99
    # 8 volumes of noise, resolution of 3 mm in a bubble of 6 mm
    assert made[0][lost].mean() < 0.85 * made[1][lost].mean()
    assert made[0][kept].mean() == pytest.approx(made[1][kept].mean(), rel=0.1)


def test_volumes_are_reproducible_and_not_clipped(generator) -> None:
    first, second = (
        trained.generate_volumes(generator, 2, np.random.default_rng(s)) for s in (3, 3)
    )
    assert first.shape == (2, 10, 32, 32) and first.dtype == np.float32
    assert np.array_equal(first, second) and first.min() >= 0
    assert not np.array_equal(first[0], first[1])


def test_what_cannot_be_made_is_refused(generator, data) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"drawings: got shape \(9, 32, 32\), expected \(10,"):
        trained.volumes_of(generator, np.ones((1, 9, 32, 32), np.float32), rng)
    other = Generator(DCGAN(), generator.network, data, 1.0, 1.0, {})
    with pytest.raises(InputError, match="'dcgan': makes slices, expected one of surrogate"):
        trained.generate_volumes(other, 1, rng)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"family": "octagonal"}, "wanted.family: got 'octagonal', expected one of round"),
        ({"defect": "pit", "defect_size_mm": -2.0}, "wanted.defect_size_mm: got -2 mm"),
    ],
)
def test_impossible_wishes_are_refused(wanted, message, network, data) -> None:
    with pytest.raises(InputError, match=message):
        ask(network, data, 0, **wanted)
