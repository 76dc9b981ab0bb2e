"""The surrogate and the generator on top of it: fits, gradients, labels, requests."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from scipy.fft import dctn

from tubepet import constants
from tubepet.dataset.symmetries import dihedral
from tubepet.errors import InputError
from tubepet.generate.data import positron_images
from tubepet.generate.layers import mean_and_noise
from tubepet.generate.layers import mirror_filter as mirrored
from tubepet.generate.models import surrogate
from tubepet.generate.run import Task, start
from tubepet.reconstruct.projection import blur
from tubepet.types import Grid

MODEL = surrogate.Surrogate()
SIZE, FILTER_PX = 32, 0.6


def fit(images, drawings, filter_px=FILTER_PX):
    mean = mean_and_noise.fit_mean(images, drawings, filter_px)
    gain = torch.ones(len(images))
    return {"mean": mean} | mean_and_noise.fit_noise(images, drawings, filter_px, mean, gain)


def begin(config, data, **changes):
    fabric = Fabric(accelerator="cpu", devices=1)
    return start(Task(MODEL, config("surrogate", **changes), data, 1), fabric)


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return 200 discs with log-normal noise of known strength, their drawings, and the fit."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] - 15.5
    radii = rng.uniform(6, 11, 200)
    fluid = (np.hypot(y, x) < radii[:, None, None]).astype(np.float64)
    expected = mirrored.filtered(fluid, mirrored.gaussian_transfer(SIZE, 1.5))
    noise = rng.normal(size=fluid.shape)
    noise = mirrored.filtered(noise, mirrored.gaussian_transfer(SIZE, 1.0))
    noise /= noise.std()
    images = 0.5 * expected * np.exp(0.2 * noise - 0.02)
    drawings = np.stack([fluid, expected], 1)
    return images, drawings, fit(images, drawings)


def apply(fitted, drawings, seed=0):
    module = mean_and_noise.MeanAndNoise(SIZE, FILTER_PX)
    module.load_fit(fitted)
    white = torch.randn(len(drawings), 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    drawing, gain = torch.from_numpy(drawings).float(), torch.ones(len(drawings))
    return module(drawing, white, gain)[:, 0].numpy()


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
    noise = mirrored.filtered(
        rng.normal(size=(100, SIZE, SIZE)), mirrored.gaussian_transfer(SIZE, 1.0)
    )
    # a root, which no filter of the drawing makes: residuals hold an error of the mean
    level = np.sqrt(drawings[:100, 1].clip(0))
    images = 0.5 * level * np.exp(0.2 * noise / noise.std() - 0.02)
    again = apply(fit(images, drawings[:100]), drawings[:100])

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
    kernel = blur.gaussian(FILTER_PX * constants.FWHM_PER_SIGMA)
    axial = kernel[0]._replace(axial_mm=0.0)  # in the slice only
    wanted = blur.blurred(image[None], grid, (axial,))[0]
    got = mirrored.filtered(image, mirrored.filter_transfer(SIZE, FILTER_PX))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12)  # float64
    module = mean_and_noise.MeanAndNoise(SIZE, FILTER_PX)
    single = module.filter(torch.from_numpy(image)[None, None].float())[0, 0].numpy()
    np.testing.assert_allclose(single, wanted, rtol=0, atol=1e-5)  # float32


def test_surrogate_is_dark_without_fluid_and_brighter_with_more(made) -> None:
    _, drawings, fitted = made
    assert np.abs(apply(fitted, np.zeros((2, 2, SIZE, SIZE)))).max() == 0
    area, total = drawings[:, 0].sum((1, 2)), apply(fitted, drawings).sum((1, 2))
    assert np.corrcoef(area, total)[0, 1] > 0.95


def test_fit_of_empty_slices_is_empty() -> None:
    fitted = fit(np.zeros((4, SIZE, SIZE)), np.ones((4, 2, SIZE, SIZE)))
    assert all(torch.isfinite(values).all() for values in fitted.values())
    assert not apply(fitted, np.ones((2, 2, SIZE, SIZE))).any()


def test_generator_begins_as_its_surrogate(config, data) -> None:
    generator = begin(config, data).networks["generator"].module
    drawing = torch.from_numpy(data.drawn.of(np.arange(4)))
    end_mm = data.drawn.places(np.arange(4))
    noise = generator.draw_noise(4, torch.Generator().manual_seed(0))
    first = generator.surrogate(drawing, noise[0], generator.memory(end_mm).exp()).clamp(0, 1)
    image = generator(drawing, end_mm, noise)
    torch.testing.assert_close(image, 2 * first - 1, rtol=0, atol=1e-6)  # float32


def test_gradients_reach_every_part(config, data) -> None:
    begun = begin(config, data)
    generator = begun.networks["generator"].module
    for _ in range(2):  # the last layer is zero at first and lets nothing through
        MODEL.train_step(begun)
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    for name, parameter in begun.networks["critic"].named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_noise_of_every_resolution_reaches_the_image(config, data) -> None:
    generator = begin(config, data).networks["generator"].module
    torch.nn.init.normal_(generator.out.weight, std=0.1)
    drawing = torch.from_numpy(data.drawn.of(np.arange(2)))
    end_mm = data.drawn.places(np.arange(2))
    noise = generator.draw_noise(2, torch.Generator().manual_seed(0))
    image = generator(drawing, end_mm, noise)
    for i in range(len(noise)):
        other = [torch.zeros_like(n) if i == k else n for k, n in enumerate(noise)]
        assert not torch.equal(generator(drawing, end_mm, other), image), i


def test_surrogate_turns_with_its_drawing(data) -> None:
    module = mean_and_noise.MeanAndNoise(SIZE, FILTER_PX)
    rows = data.real.rows
    module.load_fit(fit(data.real.array[rows] / 600.0, data.drawn.of(rows)))
    drawing, white = torch.from_numpy(data.drawn.of(rows[:2])), torch.randn(2, 1, SIZE, SIZE)
    one = torch.ones(2)
    straight = module(drawing, white, one)
    for element in range(8):
        turned = module(dihedral(drawing, element), dihedral(white, element), one)
        # 1e-5: float32 transforms
        torch.testing.assert_close(turned, dihedral(straight, element), rtol=1e-5, atol=1e-5)


def test_place_memory_is_the_kernel_regression_done_by_hand() -> None:
    module = surrogate.PlaceMemory(3)
    module.keys_mm.copy_(torch.tensor([0.0, 1.0, 4.0]))
    module.values.copy_(torch.tensor([0.1, -0.2, 0.4]))
    module.kernel_mm.fill_(0.5)
    weights = np.exp([-0.5 * (d / 0.5) ** 2 for d in (0.5, 0.5, 3.5)])
    wanted = weights @ [0.1, -0.2, 0.4] / weights.sum()
    far = 0.4  # only the nearest slot counts
    context = module(torch.tensor([0.5, 9.0]))
    torch.testing.assert_close(context, torch.tensor([wanted, far]).float(), rtol=0, atol=1e-6)
    assert not surrogate.PlaceMemory(0)(torch.tensor([1.0, 2.0])).any()  # no slots: nothing known


def test_kernel_is_chosen_on_other_tubes() -> None:
    rng = np.random.default_rng(0)
    keys_mm = rng.uniform(1, 12, 300)
    tubes = np.repeat(np.arange(20), 15).astype(str)
    own = rng.normal(0, 1, 20)[np.repeat(np.arange(20), 15)]
    # what a tube has of its own, the same everywhere in it, is no reason for a narrow kernel
    kernel_mm, contexts = surrogate.choose_kernel_mm(keys_mm, own, tubes)
    assert kernel_mm > surrogate.KERNELS_MM[0]
    assert np.corrcoef(contexts, own)[0, 1] < 0.3  # seeing its own slices, it would know them
    narrow, contexts = surrogate.choose_kernel_mm(keys_mm, np.sin(3 * keys_mm), tubes)
    assert narrow == surrogate.KERNELS_MM[0]
    assert np.corrcoef(contexts, np.sin(3 * keys_mm))[0, 1] > 0.95
    alone = np.full(300, "a")
    kernel_mm, contexts = surrogate.choose_kernel_mm(keys_mm, own, alone)
    assert kernel_mm == surrogate.KERNELS_MM[-1] and np.isfinite(contexts).all()


def overshooting(data):
    """Return data of one drawing, 10 % brighter in the middle of a tube and darker at its ends."""
    end_mm = np.where(np.arange(10) % 2, 1.0, 4.0)
    gain = np.where(end_mm > 2, 1.1, 0.9)
    fluid, expected = (
        np.repeat(array[:1], 10, 0) for array in (data.drawn.fluid, data.drawn.expected)
    )
    slices = (400 * gain[:, None, None] * expected).astype(np.float32)
    drawn = replace(data.drawn, fluid=fluid, expected=expected, end_mm=end_mm)
    return replace(data, real=positron_images(slices, np.ones(10, bool), 600.0), drawn=drawn), gain


def test_memory_gives_the_totals_and_shuffled_contexts_those_of_neighbours(config, data) -> None:
    data, gain = overshooting(data)
    rows = np.arange(10)
    drawing, end_mm = torch.from_numpy(data.drawn.of(rows)), data.drawn.places(rows)

    def ratios(**changes):
        generator = begin(config, data, **changes).networks["generator"].module
        rng, totals = torch.Generator().manual_seed(0), np.zeros(10)
        with torch.no_grad():
            for _ in range(20):
                made = (generator.generate(drawing, end_mm, rng) + 1) / 2
                totals += made.sum((1, 2, 3)).numpy() / 20
        return totals / (data.real.array.sum((1, 2)) / 600.0)

    # the slices have no noise: what is left is the fit's ridge
    np.testing.assert_allclose(ratios(), 1, atol=0.02)
    # places alternate, so the neighbour's context is that of the other place
    np.testing.assert_allclose(ratios(shuffle_contexts=True), gain[::-1] / gain, atol=0.02)
    # without a memory the differences become noise, about 10 % of a total, here 20 times averaged
    np.testing.assert_allclose(ratios(memory=False), 1 / gain, atol=0.08)


def test_labels_belong_to_their_images(config, data) -> None:
    generator = begin(config, data).networks["generator"].module.eval()
    wanted = {"family": "round", "defect": "bubble", "defect_size_mm": 6.0}

    def ask(seed):
        return MODEL.sample_labelled(
            generator, 12, data, torch.Generator().manual_seed(seed), wanted
        )

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
        MODEL.sample_labelled(generator, 2, data, torch.Generator().manual_seed(0), wanted)


def test_nothing_to_learn_from_stays_finite(config, data) -> None:
    dim = np.full((10, SIZE, SIZE), 1e-3, np.float32)
    dim[0, 0, 0] = 1.0
    begun = begin(config, replace(data, real=positron_images(dim, np.ones(10, bool), 600.0)))
    losses = MODEL.train_step(begun)
    assert all(torch.isfinite(value) for value in losses.values())
