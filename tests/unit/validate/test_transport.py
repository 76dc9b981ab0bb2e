"""The judge of the two engines, on numbers made by hand."""

import copy

import numpy as np
import pytest

from tubepet.errors import InputError
from tubepet.validate import transport, transport_figures

STATS = {
    "tables": "substitute",
    "tube": "tube_0000", "engine": "gate", "decays": 1_000_000, "singles": 580_000,
    "prompts": 120_000, "trues": 100_000, "scatters": 15_000, "randoms": 5_000, "delayed": 5_000,
    "decays_per_cpu_s": 15_000,
}  # fmt: skip


def sample(factor=1.0, shift=0, **changes):
    stats = {**STATS, **{k: int(factor * STATS[k]) for k in ("decays", *transport.COUNTS)}}
    counts = np.random.default_rng(7 + shift).poisson(factor * (4000 + shift * np.arange(20)))
    edges = dict.fromkeys(transport.TITLES, np.arange(21.0))
    return transport.Sample({**stats, **changes}, edges, dict.fromkeys(transport.TITLES, counts))


def test_equal_samples_agree():
    judged = transport.agreement(sample(), sample(8, engine="fast"))
    assert judged["agrees"] and "agree in all" in judged["statement"]
    assert judged["counts"]["trues"]["percent"] == 0
    transport.require(judged, "fast")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"singles": 590_000}, "singles"),
        ({"scatters": 16_000}, "scatters, scatter_fraction"),
        ({"randoms": 6_000}, "randoms"),
        ({"shift": 20}, "energy_kev, axial_mm, radial_mm, difference_mm"),
    ],
)
def test_a_difference_is_named_and_stops_a_fast_run(changes, named):
    judged = transport.agreement(sample(), sample(**changes))
    assert f"disagree in {named};" in judged["statement"]
    transport.require(judged, "gate")
    with pytest.raises(InputError, match=r"simulate\.engine: got fast"):
        transport.require(judged, "fast")


def test_half_a_per_cent_is_allowed_however_small_the_error():
    large = {k: 10_000 * v for k, v in STATS.items() if isinstance(v, int)}
    other = {**large, "singles": int(1.004 * large["singles"])}
    judged = transport.agreement(sample(**large), sample(**other))
    assert judged["counts"]["singles"]["agrees"]


def test_two_samples_by_hand_and_uniform_p():
    # by hand: expected 15, 25 of each; chi2 = 2 (25/15 + 25/25)
    value, freedom, _ = transport.two_samples(np.array([20, 20]), np.array([10, 30]))
    assert (value, freedom) == (pytest.approx(2 * (25 / 15 + 25 / 25)), 1)
    rng = np.random.default_rng(1)
    p = [transport.two_samples(rng.poisson(100, 20), rng.poisson(800, 20))[2] for _ in range(500)]
    assert np.mean(p) == pytest.approx(0.5, abs=5 * np.sqrt(1 / 12 / 500))
    assert transport.two_samples(np.array([0, 3]), np.array([1, 2]))[1:] == (0, 1.0)


def test_octant_keeps_one_eighth():
    from tubepet.types import Grid, Volume

    grid = Grid.centred((4, 4, 4), (1.0, 1.0, 1.0))
    kept = transport.octant(Volume(np.ones(grid.shape, np.float32), grid)).array
    assert kept.sum() == 8 and kept[2:, 2:, 2:].all()


def test_figure_is_drawn():
    one, two = sample(), copy.deepcopy(sample(8))
    figure = transport_figures.draw_validation(one, two, transport.agreement(one, two))
    assert len(figure.axes) == 4
    transport_figures.plt.close(figure)
