"""A network in the iterations: the root by hand, both ends of the weight, and the objective."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tubepet.dataset.slices import Slices
from tubepet.enhance.iterated import InIterations, drawn_to
from tubepet.enhance.network import Enhancer
from tubepet.enhance.pairs import Pairs
from tubepet.reconstruct.algorithms.em import Objective, iterate
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


def test_slices_are_those_of_their_tube_in_units_of_the_scale(
    model: Acquisition, image: np.ndarray
) -> None:
    # planes lie at -5, -3, .. mm: those of a are 2 and 3, that of b is 4
    table = pd.DataFrame({"tube": ["b", "a", "a"], "z_mm": [3.0, -1.0, 1.0]})
    slices = Slices(np.zeros((3, 8, 8), np.float32), table, 5.0, 1.0, 2.0)
    models = {"a": model, "b": replace(model, sensitivity_s=2 * model.sensitivity_s)}
    asked = []

    def acquisition(tube: str) -> Acquisition:
        asked.append(tube)
        return models[tube]

    method = InIterations(Flat(), acquisition, SETTINGS, slices)
    short = np.zeros((3, 8, 8), np.float32)
    pairs = Pairs(short, short, np.array(["b", "a", "a"]))
    weak, strong = (method(pairs, strength) for strength in (1e-7, 1e6))
    assert asked == ["a", "b"], "an acquisition is modelled once for all strengths"
    # no weight: MLEM of 4 + 3 x 8 iterations, twice the sensitivity is half the activity
    plain = iterate(model, replace(SETTINGS, num_iterations=28))[0] / 5
    np.testing.assert_allclose(weak[1:], plain[[2, 3]], atol=1e-4)
    np.testing.assert_allclose(weak[0], plain[4] / 2, atol=1e-4)
    # all weight: what the network says, of voxels that lines see
    np.testing.assert_allclose(strong[:, 2:6, 2:6], 2.0, rtol=1e-3)


def test_an_acquisition_without_events_is_dark(model: Acquisition) -> None:
    nothing = replace(model.part(np.empty(0, np.int64)), start=np.zeros(GRID.shape))
    table = pd.DataFrame({"tube": ["a"], "z_mm": [1.0]})
    slices = Slices(np.zeros((1, 8, 8), np.float32), table, 5.0, 1.0, 2.0)
    short = np.zeros((1, 8, 8), np.float32)

    def acquisition(tube: str) -> Acquisition:
        return nothing

    method = InIterations(Enhancer(4, use_memory=False), acquisition, SETTINGS, slices)
    made = method(Pairs(short, short, np.array(["a"])), 1.0)
    assert not made.any()
