import logging
from dataclasses import replace

import numpy as np
import pytest

from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct.background import tail_fit
from tubepet.reconstruct.background.log_linear import fit_log_linear
from tubepet.reconstruct.background.tail_fit import Background
from tubepet.reconstruct.scanner import geometry, lors
from tubepet.reconstruct.scanner.lors import Cylinder, Lors
from tubepet.types import Listmode

OBJECT = Cylinder(6.0, -8.0, 8.0)


def draw_events(scanner, counts):
    """One event per count of a (step, ring, ring) table, from column 0 on."""
    step, ring1, ring2 = (
        np.repeat(index, counts.ravel()) for index in map(np.ravel, np.indices(counts.shape))
    )
    crystal1, crystal2 = ring1 * scanner.num_columns, ring2 * scanner.num_columns + step
    num = len(step)
    return Listmode(
        crystal1.astype(np.int32), crystal2.astype(np.int32), np.zeros(num), np.zeros(num, np.uint8)
    )


@pytest.fixture(scope="module")
def areas(scanner):
    return geometry.lor_areas_mm2(
        scanner, np.ones((scanner.num_columns // 2 + 1, scanner.num_rings))
    )


def test_fit_continues_a_known_density_under_the_object(scanner, areas):
    true = Background(np.array([3.0, -4e-4, -2e-3]), 0.0)
    every = lors.of_scanner(scanner)
    mean = lors.exposures_mm2(scanner, areas) * true.density(every)
    events = draw_events(scanner, np.random.default_rng(1).poisson(mean))
    found = tail_fit.fit_background(events, scanner, areas, OBJECT)
    core = tail_fit.is_core(every, OBJECT)
    exposure = lors.exposures_mm2(scanner, areas)
    expected = mean[core].sum()
    got = (exposure * found.density(every))[core].sum()
    # the tail here holds about 1e4 counts; the extrapolation errs a few times their 1 %
    assert got == pytest.approx(expected, rel=0.05)
    assert tail_fit.total_counts(true, scanner, areas, OBJECT.widened(tail_fit.MARGIN_MM)) == (
        pytest.approx(expected)
    )


def test_counts_of_the_object_do_not_enter(scanner, areas):
    every = lors.of_scanner(scanner)
    flat = Background(np.array([2.5, 0.0, 0.0]), 0.0)
    mean = lors.exposures_mm2(scanner, areas) * flat.density(every)
    counts = np.random.default_rng(2).poisson(mean)
    core = tail_fit.is_core(every, OBJECT)
    allowed = np.broadcast_to(geometry.is_allowed_step(scanner)[:, None, None], counts.shape)
    alone = tail_fit.fit_background(draw_events(scanner, counts), scanner, areas, OBJECT)
    counts[core & allowed] += 50
    both = tail_fit.fit_background(draw_events(scanner, counts), scanner, areas, OBJECT)
    assert np.array_equal(alone.coefficients, both.coefficients)


def test_peaked_tails_are_refused_and_smooth_ones_are_not(scanner):
    """Activity beyond the end of the object; the same counts spread over the tail are background.

    The peak is at a ring (4.2 mm apart), and cells are 8 mm wide.
    """
    scanner = replace(scanner, num_rings=30)
    areas = geometry.lor_areas_mm2(scanner, np.ones((scanner.num_columns // 2 + 1, 30)))
    every = lors.of_scanner(scanner)
    exposure = lors.exposures_mm2(scanner, areas)
    smooth = exposure * Background(np.array([3.0, -4e-4, -2e-3]), 0.0).density(every)
    random = np.random.default_rng(7)
    peak = exposure * Cylinder(6.0, 17.0, 40.0).chord_mm(every)
    # 9000 counts of the tail are smooth; those of the peak are 400 times these
    for strength in (0.0, 0.1, 3.0):
        events = draw_events(scanner, random.poisson(smooth + strength * peak))
        if strength < 1:
            tail_fit.fit_background(events, scanner, areas, OBJECT)
            continue
        with pytest.raises(InputError, match=r"around z = (24|32) mm, beside .* enlarge the image"):
            tail_fit.fit_background(events, scanner, areas, OBJECT)


@pytest.mark.parametrize(("num_core", "is_refused"), [(1_000_000, False), (10_000, True)])
def test_a_peak_matters_by_what_it_is_of_the_object(scanner, num_core, is_refused):
    """What crystals scatter beside a source in air is peaked, and some 1e-4 of its counts."""
    scanner = replace(scanner, num_rings=30)
    areas = geometry.lor_areas_mm2(scanner, np.ones((scanner.num_columns // 2 + 1, 30)))
    every = lors.of_scanner(scanner)
    peak = lors.exposures_mm2(scanner, areas) * Cylinder(6.0, 17.0, 40.0).chord_mm(every)
    core = tail_fit.is_core(every, OBJECT) & (peak >= 0)
    outside = np.where(core, 0.0, peak)
    mean = 1500 * outside / outside.sum() + num_core * core / core.sum()
    events = draw_events(scanner, np.random.default_rng(8).poisson(mean))
    if is_refused:
        with pytest.raises(InputError, match="activity lies outside"):
            tail_fit.fit_background(events, scanner, areas, OBJECT)
    else:
        tail_fit.fit_background(events, scanner, areas, OBJECT)


@pytest.mark.parametrize("num", [0, 5])
def test_few_counts_give_no_background_and_say_so(scanner, areas, caplog, monkeypatch, num):
    monkeypatch.setattr(log, "propagate", True)
    events = Listmode(
        np.zeros(num, np.int32), np.full(num, 14, np.int32), np.zeros(num), np.zeros(num, np.uint8)
    )
    with caplog.at_level(logging.WARNING, "tubepet"):
        found = tail_fit.fit_background(events, scanner, areas, OBJECT)
    assert "set to zero" in caplog.text
    assert not found.density(Lors(np.linspace(0, 30, 4), np.zeros(4), np.zeros(4))).any()
    assert tail_fit.total_counts(found, scanner, areas, OBJECT) == 0


def test_poisson_fit_of_a_constant_is_the_mean_and_of_a_slope_equals_scikit_learn():
    from sklearn.linear_model import PoissonRegressor

    rng = np.random.default_rng(5)
    exposure, x = rng.uniform(1, 9, 400), rng.uniform(-1, 1, 400)
    counts = rng.poisson(exposure * np.exp(0.4 + 1.3 * x)).astype(float)
    one, none = np.ones((400, 1)), np.zeros(400)
    (constant,) = fit_log_linear(one, exposure, none, counts)
    assert np.exp(constant) == pytest.approx(counts.sum() / exposure.sum(), rel=1e-9)
    found = fit_log_linear(np.column_stack([one, x]), exposure, none, counts)
    peer = PoissonRegressor(alpha=0, tol=1e-10, max_iter=1000)
    peer.fit(x[:, None], counts / exposure, sample_weight=exposure)
    assert np.allclose(found, [peer.intercept_, *peer.coef_], atol=1e-6)
    # a known background: its counts do not go into the signal
    more = counts + rng.poisson(5.0, 400)
    found = fit_log_linear(np.column_stack([one, x]), exposure, np.full(400, 5.0), more)
    assert np.allclose(found, [0.4, 1.3], atol=0.1)  # 3 sigma of 4000 counts
