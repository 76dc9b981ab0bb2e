"""Flow matching: straight lines by hand, the sampler, and volumes that follow their drawings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tubepet.errors import InputError
from tubepet.generate import trained
from tubepet.generate.layers.flow import VelocityNet, flowed, matching_error
from tubepet.generate.loop import train
from tubepet.generate.models.flow import Flow
from tubepet.generate.run import Task, bare, start
from tubepet.generate.sample import Generator
from tubepet.training.devices import make_fabric

MODEL = Flow()
SHAPE = (3, 1, 2, 4, 4)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_shift_has_the_velocity_of_the_shift_and_is_reached() -> None:
    """By hand: every start moves by 2, at all times and places, so the velocity is 2."""
    begin, drawings, time = random(0, *SHAPE), torch.zeros(SHAPE), torch.tensor([0.0, 0.3, 1.0])

    def velocity(x, drawings, time):
        return torch.full_like(x, 2.0)

    assert float(matching_error(velocity, begin, begin + 2, drawings, time)) < 1e-12
    assert float(matching_error(velocity, begin, begin + 5, drawings, time)) == pytest.approx(9)
    for num_steps in (1, 7):
        torch.testing.assert_close(flowed(velocity, begin, drawings, num_steps), begin + 2)


def test_the_error_is_taken_on_the_line_between_start_and_end() -> None:
    seen = []

    def velocity(x, drawings, time):
        seen.append(x.flatten(1).mean(1).tolist())
        return torch.zeros_like(x)

    time = torch.tensor([0.0, 0.25, 1.0])
    error = matching_error(velocity, torch.ones(SHAPE), torch.full(SHAPE, 5.0), time, time)
    assert seen == [[1.0, 2.0, 5.0]] and float(error) == 16


def test_the_sampler_takes_noise_to_a_gaussian_with_its_exact_velocity() -> None:
    # data N(m, s^2) of N(0, 1): E[x_1 - x_0 | x_t] is linear in x_t, and the flow is m + s n
    m, s = 0.4, 0.5
    noise = random(1, 500, 1, 2, 2, 2).double()

    def velocity(x, drawings, time):
        t = time.double()[:, None, None, None, None]
        variance = (1 - t) ** 2 + (t * s) ** 2
        return m + (t * s**2 - (1 - t)) / variance * (x - t * m)

    def error(num_steps: int) -> float:
        return float((flowed(velocity, noise, noise, num_steps) - (m + s * noise)).std() / s)

    assert error(6) < 0.06  # measured 0.057; Euler's method: 0.23
    assert error(24) < error(6) / 12  # second order: 16 times less, first order: 4 times


def test_the_network_takes_any_shape_and_moves_everything_to_the_mean_at_first() -> None:
    network = VelocityNet(8)
    x = random(2, 2, 1, 5, 6, 7)
    # what is left of the time takes x to 0: all of it, a quarter; at the end no less than 0.15
    for time, left in ((0.0, 1.0), (0.75, 0.25), (1.0, 0.15)):
        torch.testing.assert_close(network(x, x, torch.full((2,), time)), -x / left)
    for weight in network.parameters():  # nothing stays at zero that hides a step
        torch.nn.init.normal_(weight, std=0.1)
    # the ends that it guesses depend on the time
    early, late = (x + (1 - t) * network(x, x, torch.full((2,), t)) for t in (0.1, 0.9))
    assert late.shape == x.shape and not torch.allclose(late, early, atol=1e-3)


def test_a_crop_looks_as_in_the_whole_volume() -> None:
    """Far from the edges of a crop the network answers as it does for the whole."""
    torch.manual_seed(0)
    network = VelocityNet(8)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    x, time = random(3, 1, 1, 64, 8, 8), torch.full((1,), 0.5)
    x[:, :, 40:] = 0  # what the crop does not see is another kind of thing
    whole, crop = network(x, x, time), network(x[:, :, :40], x[:, :, :40], time)
    torch.testing.assert_close(whole[:, :, :4], crop[:, :, :4], rtol=1e-4, atol=1e-5)


def test_crops_keep_image_and_drawing_together(config, data) -> None:
    """Of images that are their drawings times the scale, 600, every crop is its drawing's."""
    exact = replace(data.volumes, images=600 * data.volumes.fluid)
    task = Task(MODEL, config("flow", batch_size=6), replace(data, volumes=exact), 1)
    (image, drawing), again = (MODEL._crops(start(task, make_fabric())) for _ in range(2))
    assert image.shape == (6, 1, 10, 32, 32) and image.std() > 0.1
    torch.testing.assert_close(image, drawing)
    assert torch.equal(image, again[0])
    assert len(np.unique(image.flatten(1), axis=0)) > 3  # three tubes, so some are turned


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """Return learnt(config, data): a network after some training, and its losses."""
    kept = {}

    def once(config, data):
        if not kept:
            settings = config("flow", num_steps=60, learning_rate=5e-3, augment="none")
            found = train(Task(MODEL, settings, data, 1), "code", tmp_path_factory.mktemp("flow"))
            network = MODEL.make_generator(found.arguments)
            network.load_state_dict(found.weights)
            kept.update(network=network.eval(), curves=found.curves)
        return kept["network"], kept["curves"]

    return once


def test_the_loss_falls_on_a_toy_set(learnt, config, data) -> None:
    loss = learnt(config, data)[1]["matching_error"]
    assert loss[-10:].mean() < 0.5 * loss[:10].mean()


def test_volumes_follow_their_drawings_and_seeds(learnt, config, data) -> None:
    network = learnt(config, data)[0]
    generator = Generator(MODEL, network, data, 1.0, 1.0, {})
    fluids = data.volumes.fluid[:2]
    made, again, other = (
        trained.volumes_of(generator, fluids, np.random.default_rng(s)) for s in (1, 1, 2)
    )
    assert made.shape == fluids.shape and made.dtype == np.float32 and made.min() >= 0
    assert np.array_equal(made, again) and not np.array_equal(made, other)
    for volume, fluid in zip(made, fluids, strict=True):
        assert volume[fluid > 0.99].mean() > 2 * volume[fluid == 0].mean()
    empty = trained.volumes_of(generator, 0 * fluids, np.random.default_rng(1))
    assert empty.mean() < made.mean()


def test_volumes_do_not_depend_on_the_number_of_cores(learnt, config, data) -> None:
    generator = Generator(MODEL, learnt(config, data)[0], data, 1.0, 1.0, {})
    made = []
    for num_threads in (2, 1):
        torch.set_num_threads(num_threads)
        rng = np.random.default_rng(3)
        made.append(trained.volumes_of(generator, data.volumes.fluid[:1], rng))
    assert np.array_equal(*made)


def test_slices_of_a_wanted_defect_cross_it(learnt, config, data) -> None:
    wanted = {"family": "round", "defect": "bubble", "defect_size_mm": 6.0}
    rng = torch.Generator().manual_seed(5)
    network = learnt(config, data)[0]
    images, labels, masks = MODEL.sample_labelled(network, 5, data, rng, wanted)
    assert images.shape == (5, 1, 32, 32) and masks.shape == (5, 32, 32) and len(labels) == 5
    assert (labels["defect"] == "bubble").all() and masks.any(axis=(1, 2)).all()
    plain = MODEL.sample_labelled(network, 5, data, torch.Generator().manual_seed(5), {})[1]
    # slices of one tube are 3 apart: their noise is nearly independent
    assert plain["z_mm"].diff()[1] == pytest.approx(3 * data.volumes.population.grid.slice_mm)


def test_checkpoints_of_other_volumes_are_not_resumed(config, data, tmp_path: Path) -> None:
    settings = config("flow", num_steps=2)
    train(Task(MODEL, settings, data, 1), "code", tmp_path / "a")
    data.volumes.images[0, 5, 16, 16] += 1
    try:
        stale = train(Task(MODEL, settings, data, 1), "code", tmp_path / "a")
        fresh = train(Task(MODEL, settings, data, 1), "code", tmp_path / "b")
    finally:
        data.volumes.images[0, 5, 16, 16] -= 1
    for key, weight in fresh.weights.items():
        assert torch.equal(stale.weights[key], weight), key


def test_drawings_of_another_shape_are_refused(config, data) -> None:
    network = bare(start(Task(MODEL, config("flow"), data, 1), make_fabric()).networks["generator"])
    generator = Generator(MODEL, network, data, 1.0, 1.0, {})
    with pytest.raises(InputError, match=r"drawings: got shape \(9, 32, 32\), expected \(10,"):
        rng = np.random.default_rng(0)
        trained.volumes_of(generator, np.ones((1, 9, 32, 32), np.float32), rng)
