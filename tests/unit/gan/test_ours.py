"""The surrogate and the generator on top of it: fits, gradients, labels, requests."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from scipy.fft import dctn

from tubepet.errors import InputError
from tubepet.gan import ours, surrogate
from tubepet.gan.augment import dihedral
from tubepet.gan.data import positron_images
from tubepet.gan.drawn import sample_labelled
from tubepet.gan.run import start
from tubepet.reconstruct import psf
from tubepet.types import Grid

SIZE, FILTER_PX = 32, 0.6


def begin(config, data, **changes):
    fabric = Fabric(accelerator="cpu", devices=1)
    return start(ours, "ours", config("ours", **changes), data, fabric, seed=1)


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return 200 discs with log-normal noise of known strength, their drawings, and the fit."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] - 15.5
    radii = rng.uniform(6, 11, 200)
    fluid = (np.hypot(y, x) < radii[:, None, None]).astype(np.float64)
    expected = surrogate.filtered(fluid, surrogate.gaussian_transfer(SIZE, 1.5))
    noise = rng.normal(size=fluid.shape)
    noise = surrogate.filtered(noise, surrogate.gaussian_transfer(SIZE, 1.0))
    noise /= noise.std()
    images = 0.5 * expected * np.exp(0.2 * noise - 0.02)
    drawings = np.stack([fluid, expected], 1)
    return images, drawings, surrogate.fit(images, drawings, FILTER_PX)


def apply(fitted, drawings, seed=0):
    module = surrogate.Surrogate(SIZE, FILTER_PX)
    module.load_fit(fitted)
    white = torch.randn(len(drawings), 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return module(torch.from_numpy(drawings).float(), white)[:, 0].numpy()


def test_surrogate_finds_level_strength_and_correlation_of_the_noise(made) -> None:
    images, drawings, fitted = made
    again = apply(fitted, drawings)
    inside = drawings[:, 1] > 0.95
    # 200 discs of about 150 pixels, some 15 of them independent: 3000 samples of noise of 20 %
    assert again[inside].mean() == pytest.approx(images[inside].mean(), rel=0.02)
    assert again[inside].std() == pytest.approx(images[inside].std(), rel=0.05)

    def neighbours(batch):
        relative = np.where(inside, batch / 0.5 - 1, 0)
        pairs = inside[:, :, 1:] & inside[:, :, :-1]
        product = (relative[:, :, 1:] * relative[:, :, :-1])[pairs].mean()
        return product / (relative[inside] ** 2).mean()

    # a Gaussian of sigma 1 leaves exp(-1/4) = 0.78 between neighbours
    assert neighbours(images) == pytest.approx(0.78, abs=0.02)
    assert neighbours(again) == pytest.approx(neighbours(images), abs=0.03)


def test_surrogate_has_the_power_of_whole_slices_where_its_mean_is_wrong(made) -> None:
    _, drawings, _ = made
    rng = np.random.default_rng(1)
    noise = surrogate.filtered(
        rng.normal(size=(100, SIZE, SIZE)), surrogate.gaussian_transfer(SIZE, 1.0)
    )
    # a root, which no filter of the drawing makes: residuals hold an error of the mean
    level = np.sqrt(drawings[:100, 1].clip(0))
    images = 0.5 * level * np.exp(0.2 * noise / noise.std() - 0.02)
    again = apply(surrogate.fit(images, drawings[:100], FILTER_PX), drawings[:100])

    def power(batch):
        place = np.arange(SIZE) / 2
        ring = np.hypot(place[:, None], place).round().astype(int).ravel()
        of_each = np.square(dctn(batch.astype(np.float64), axes=(1, 2), norm="ortho"))
        sums = np.array([np.bincount(ring, p.ravel()) for p in of_each])
        return np.exp(np.log(sums).mean(0))[:21]  # above, F leaves nothing

    # 100 slices and 16 damped rounds leave up to 9 %; noise fitted to the residuals alone is up
    # to 40 % too strong
    np.testing.assert_allclose(power(again) / power(images), 1, atol=0.15)


def test_last_filter_is_that_of_the_reconstruction_up_to_the_borders() -> None:
    image = np.random.default_rng(0).uniform(size=(SIZE, SIZE))
    grid = Grid((1, SIZE, SIZE), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    kernel = psf.gaussian(FILTER_PX * psf.FWHM_PER_SIGMA)
    axial = kernel[0]._replace(axial_mm=0.0)  # in the slice only
    wanted = psf.blurred(image[None], grid, (axial,))[0]
    got = surrogate.filtered(image, surrogate.filter_transfer(SIZE, FILTER_PX))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12)  # float64
    module = surrogate.Surrogate(SIZE, FILTER_PX)
    single = module.filter(torch.from_numpy(image)[None, None].float())[0, 0].numpy()
    np.testing.assert_allclose(single, wanted, rtol=0, atol=1e-5)  # float32


def test_surrogate_is_dark_without_fluid_and_brighter_with_more(made) -> None:
    _, drawings, fitted = made
    assert np.abs(apply(fitted, np.zeros((2, 2, SIZE, SIZE)))).max() == 0
    area, total = drawings[:, 0].sum((1, 2)), apply(fitted, drawings).sum((1, 2))
    assert np.corrcoef(area, total)[0, 1] > 0.95


def test_fit_of_empty_slices_is_empty() -> None:
    fitted = surrogate.fit(np.zeros((4, SIZE, SIZE)), np.ones((4, 2, SIZE, SIZE)), FILTER_PX)
    assert all(torch.isfinite(values).all() for values in fitted.values())
    assert not apply(fitted, np.ones((2, 2, SIZE, SIZE))).any()


def test_generator_begins_as_its_surrogate(config, data) -> None:
    generator = begin(config, data).networks["generator"].module
    drawing = torch.from_numpy(data.drawn.of(np.arange(4)))
    noise = generator.draw_noise(4, torch.Generator().manual_seed(0))
    first = generator.surrogate(drawing, noise[0]).clamp(0, 1)
    image = generator(drawing, noise)
    torch.testing.assert_close(image, 2 * first - 1, rtol=0, atol=1e-6)  # float32


def test_gradients_reach_every_part(config, data) -> None:
    begun = begin(config, data)
    generator = begun.networks["generator"].module
    for _ in range(2):  # the last layer is zero at first and lets nothing through
        ours.train_step(begun)
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    for name, parameter in begun.networks["critic"].named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_noise_of_every_resolution_reaches_the_image(config, data) -> None:
    generator = begin(config, data).networks["generator"].module
    torch.nn.init.normal_(generator.out.weight, std=0.1)
    drawing = torch.from_numpy(data.drawn.of(np.arange(2)))
    noise = generator.draw_noise(2, torch.Generator().manual_seed(0))
    image = generator(drawing, noise)
    for i in range(len(noise)):
        other = [torch.zeros_like(n) if i == k else n for k, n in enumerate(noise)]
        assert not torch.equal(generator(drawing, other), image), i


def test_surrogate_turns_with_its_drawing(data) -> None:
    module = surrogate.Surrogate(SIZE, FILTER_PX)
    rows = data.real.rows
    module.load_fit(surrogate.fit(data.real.array[rows] / 600.0, data.drawn.of(rows), FILTER_PX))
    drawing, white = torch.from_numpy(data.drawn.of(rows[:2])), torch.randn(2, 1, SIZE, SIZE)
    straight = module(drawing, white)
    for element in range(8):
        turned = module(dihedral(drawing, element), dihedral(white, element))
        # 1e-5: float32 transforms
        torch.testing.assert_close(turned, dihedral(straight, element), rtol=1e-5, atol=1e-5)


def test_labels_belong_to_their_images(config, data) -> None:
    generator = begin(config, data).networks["generator"].module.eval()
    wanted = {"family": "round", "defect": "bubble", "defect_size_mm": 6.0}

    def ask(seed):
        return sample_labelled(generator, 12, torch.Generator().manual_seed(seed), wanted)

    images, labels, masks = ask(5)
    again, other = ask(5), ask(6)
    assert images.shape == (12, 1, SIZE, SIZE) and masks.shape == (12, SIZE, SIZE)
    assert torch.equal(images, again[0]) and labels.equals(again[1])
    assert not torch.equal(images, other[0])
    assert (labels["defect"] == "bubble").all() and (labels["defect_size_mm"] == 6.0).all()
    for mask, row in zip(masks, labels.itertuples(), strict=True):
        box = mask[row.y_low_px : row.y_high_px, row.x_low_px : row.x_high_px]
        assert box.any() and box.sum() == mask.sum()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"family": "octagonal"}, "wanted.family: got 'octagonal', expected one of round"),
        ({"defect": "pit", "defect_size_mm": -2.0}, "wanted.defect_size_mm: got -2 mm"),
    ],
)
def test_impossible_wishes_are_refused(wanted, message, config, data) -> None:
    generator = begin(config, data).networks["generator"].module.eval()
    with pytest.raises(InputError, match=message):
        sample_labelled(generator, 2, torch.Generator().manual_seed(0), wanted)


def test_nothing_to_learn_from_stays_finite(config, data) -> None:
    dim = np.full((10, SIZE, SIZE), 1e-3, np.float32)
    dim[0, 0, 0] = 1.0
    begun = begin(config, replace(data, real=positron_images(dim, np.ones(10, bool), 600.0)))
    losses = ours.train_step(begun)
    assert all(torch.isfinite(value) for value in losses.values())
