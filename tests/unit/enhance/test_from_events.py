"""Images made again from events, with a network or a prior; the root by hand, and both ends."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tubepet.dataset.slices import Slices
from tubepet.enhance.iterated import InIterations, drawn_to
from tubepet.enhance.pairs import Pairs
from tubepet.enhance.penalised import Penalised
from tubepet.enhance.shorts import Again
from tubepet.reconstruct.algorithms.em import Objective, iterate
from tubepet.reconstruct.algorithms.priors import relative_differences
from tubepet.reconstruct.image import reconstruct
from tubepet.reconstruct.problem import Acquisition, Settings
from tubepet.reconstruct.projection import blur
from tubepet.reconstruct.projection.lines import Lines
from tubepet.types import Grid

GRID = Grid.centred((6, 8, 8), (2.0, 1.0, 1.0))
SETTINGS = Settings(num_iterations=4, psf=blur.gaussian(2.0))


@pytest.fixture(scope="module")
def model() -> Acquisition:
    """Return a cylinder, seen by random lines, some of them twice."""
    random = np.random.default_rng(3)
    angle = random.uniform(0, 2 * np.pi, (2, 200))
    ends = np.stack(
        [random.uniform(-8, 8, 200), *(30 * np.array([np.sin(angle[0]), np.cos(angle[0])]))]
    )
    points = np.ascontiguousarray(ends.T)
    first, second = random.integers(0, 200, (2, 20_000)).astype(np.int32)
    lines = Lines(GRID, points, first, second, np.full(len(first), 1e-3))
    lines = lines.part(np.flatnonzero(lines.forward(np.ones(GRID.shape)) > 2))
    _, y, x = np.meshgrid(*GRID.axes_mm(), indexing="ij")
    truth = np.where(np.hypot(x, y) < 3, 1.0, 0.0)
    sums = lines.forward(blur.blurred(truth, GRID, SETTINGS.psf)) * 0.1
    rows = np.repeat(np.arange(len(sums)), random.poisson(sums))
    sensitivity = 0.1 * lines.back(np.ones(len(lines)))
    return Acquisition(lines.part(rows), sensitivity, np.full(GRID.shape, 0.5))


@pytest.fixture(scope="module")
def objective(model: Acquisition) -> Objective:
    return Objective(model, SETTINGS)


@pytest.fixture(scope="module")
def image(model: Acquisition) -> np.ndarray:
    return iterate(model, SETTINGS)[0]


def test_no_weight_is_em_and_much_weight_is_what_is_wanted(
    model: Acquisition, objective: Objective, image: np.ndarray
) -> None:
    wanted = np.random.default_rng(0).uniform(0.1, 2, GRID.shape)
    em = iterate(model, replace(SETTINGS, num_iterations=5))[0]
    seen = objective.is_seen
    mean = objective.seen[seen].mean()
    # first order in the weight, over a hundred million and under it
    np.testing.assert_allclose(drawn_to(image, wanted, 1e-8 * mean, objective), em, atol=1e-6)
    near = drawn_to(image, wanted, 1e8 * mean, objective)
    np.testing.assert_allclose(near[seen], wanted[seen], rtol=1e-5)


def test_each_voxel_is_the_root_of_its_equation(
    model: Acquisition, objective: Objective, image: np.ndarray
) -> None:
    wanted = np.random.default_rng(1).uniform(0, 3, GRID.shape)
    weight = float(objective.seen.mean())
    x = drawn_to(image, wanted, weight, objective)
    em = iterate(model, replace(SETTINGS, num_iterations=5))[0]
    left = weight * x**2 + (objective.seen - weight * wanted) * x - objective.seen * em
    below = objective.seen - weight * wanted
    assert (below > 0).any() and (below < 0).any(), "both forms of the root are seen"
    assert (x >= 0).all()
    np.testing.assert_allclose(left, 0, atol=1e-9 * float(objective.seen.max()))


def test_every_iteration_climbs(objective: Objective, image: np.ndarray) -> None:
    wanted = np.roll(image, 2, axis=1)
    weight = float(objective.seen.mean())

    def value(x: np.ndarray) -> float:
        return objective.log_likelihood(x) - weight / 2 * float(((x - wanted) ** 2).sum())

    values = [value(image)]
    for _ in range(6):
        image = drawn_to(image, wanted, weight, objective)
        values.append(value(image))
    assert (np.diff(values) > 0).all()


class Flat(nn.Module):
    """Says that a long acquisition would show 2 everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, short: torch.Tensor) -> torch.Tensor:
        return torch.full_like(short, 2.0)


def test_no_weight_goes_on_and_all_weight_asks_the_network(model: Acquisition) -> None:
    method = InIterations(Flat(), SETTINGS, scale_bq_mm3=5.0)
    begun = replace(model, start=iterate(model, SETTINGS)[0])
    # no weight: MLEM of 4 + 3 x 8 iterations
    plain = iterate(model, replace(SETTINGS, num_iterations=28))[0]
    np.testing.assert_allclose(method(begun, 1e-7), plain, atol=5e-4)
    # all weight: what the network says, of voxels that lines see
    np.testing.assert_allclose(method(begun, 1e6)[2:4, 2:6, 2:6], 10.0, rtol=1e-3)


def test_the_prior_is_that_of_the_reconstruction(model: Acquisition) -> None:
    settings = replace(SETTINGS, filter_fwhm_mm=1.5)
    made = Penalised(settings)(model, 1.0)
    asked = replace(settings, algorithm="map_rdp", prior_strength=1.0, num_iterations=80)
    volume, _ = reconstruct(model, asked, seed=0)
    np.testing.assert_allclose(made, volume.array, atol=1e-6)  # which is in single precision


def test_a_stronger_prior_makes_smoother_images(model: Acquisition) -> None:
    one = np.ones(GRID.shape)
    images = [Penalised(SETTINGS)(model, strength) for strength in (0.1, 1.0, 10.0)]
    rough = [relative_differences(image, GRID, one, 1e-3)[0] for image in images]
    assert rough[0] > 1.2 * rough[1] > 1.44 * rough[2]


def _pairs(tubes: list[str]) -> Pairs:
    short = np.zeros((len(tubes), 8, 8), np.float32)
    return Pairs(short, short, np.array(tubes))


def _again(
    models: dict[str, Acquisition], asked: list[str], method: Callable[..., np.ndarray]
) -> Again:
    # planes lie at -5, -3, .. mm: those of a are 2 and 3, that of b is 4
    table = pd.DataFrame({"tube": ["b", "a", "a"], "z_mm": [3.0, -1.0, 1.0]})
    slices = Slices(np.zeros((3, 8, 8), np.float32), table, 5.0, 1.0, 2.0)

    def acquisition(tube: str) -> Acquisition:
        asked.append(tube)
        return models[tube]

    return Again(acquisition, method, slices)


def test_slices_are_those_of_their_tube_in_units_of_the_scale(model: Acquisition) -> None:
    models = {"a": model, "b": replace(model, sensitivity_s=2 * model.sensitivity_s)}
    asked: list[str] = []

    def method(model: Acquisition, strength: float) -> np.ndarray:
        return strength * iterate(model, SETTINGS)[0]

    again = _again(models, asked, method)
    once, thrice = (again(_pairs(["b", "a", "a"]), strength) for strength in (1.0, 3.0))
    assert asked == ["a", "b"], "an acquisition is modelled once for all strengths"
    one, other = (iterate(models[name], SETTINGS)[0] / 5 for name in ("a", "b"))
    np.testing.assert_allclose(once[1:], one[[2, 3]], rtol=1e-6)
    np.testing.assert_allclose(once[0], other[4], rtol=1e-6)
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-6)


def test_an_acquisition_without_events_is_dark(model: Acquisition) -> None:
    nothing = model.part(np.empty(0, np.int64))
    models = {"a": nothing, "b": model}
    made = _again(models, [], Penalised(SETTINGS))(_pairs(["b", "a", "a"]), 1.0)
    assert made[0].any() and not made[1:].any()
