import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad

from tubepet.errors import InputError
from tubepet.reconstruct import frames
from tubepet.reconstruct.image import reconstruct_frames
from tubepet.reconstruct.problem import Instrument, Measurement, Settings
from tubepet.reconstruct.projection import blur, sensitivity
from tubepet.reconstruct.scanner import geometry
from tubepet.types import Volume

HALF_LIFE_S = 3.0


def test_intervals_by_hand():
    edges = np.array(frames.intervals(0.0, 0.3, 0.1, 0.3))
    np.testing.assert_allclose(edges, [(0, 0.1), (0.1, 0.2), (0.2, 0.3)])
    assert frames.intervals(1.0, 3.5, 1.0, 9.0) == [(1.0, 2.0), (2.0, 3.0), (3.0, 3.5)]
    assert len(frames.intervals(0.0, 60.0, 0.1, 60.0)) == 600


def test_decay_factor_is_the_mean_of_the_decay():
    for interval in ((0.0, 0.1), (0.0, 30.0), (5.0, 7.5)):
        total, _ = quad(lambda t: 2 ** (-t / HALF_LIFE_S), *interval)
        expected = total / (interval[1] - interval[0])
        assert frames.decay_factor(interval, HALF_LIFE_S) == pytest.approx(expected, rel=1e-9)
    assert frames.decay_factor((5.0, 7.5), 0.0) == 1.0
    # F-18 loses half in 110 minutes, and 5e-6 of the mean in 0.1 s
    assert frames.decay_factor((6586.2, 6586.3), 6586.2) == pytest.approx(0.5, 1e-5)


def test_every_event_is_in_one_frame_whatever_the_order(timed):
    parts = [frames.cut(timed, 6.0, f) for f in frames.intervals(0.0, 6.0, 1.6, 6.0)]
    assert sum(map(len, parts)) == len(timed)
    assert all((np.floor(p.time_s / 1.6) == k).all() for k, p in enumerate(parts))
    cut = {(c, t) for p in parts for c, t in zip(p.crystal1, p.time_s, strict=True)}
    assert cut == set(zip(timed.crystal1, timed.time_s, strict=True))


def test_frames_need_times_of_this_acquisition(timed):
    events = dataclasses.replace(timed, time_s=np.empty(0))
    with pytest.raises(InputError, match="the events have no times"):
        frames.cut(events, 1.0, (0.0, 0.1))
    for bad in (1.2, -0.2, np.nan):
        times = np.zeros(len(events))
        times[3] = bad
        with pytest.raises(InputError, match=r"got events from .* 0 to the duration, 1 s"):
            frames.cut(dataclasses.replace(events, time_s=times), 1.0, (0.0, 0.1))
    with pytest.raises(InputError, match=r"got 0\.5 to 0\.5 s, expected a part"):
        frames.intervals(0.5, 0.5, 0.1, 1.0)


@pytest.fixture(scope="module")
def timed(simulate, cylinder_points):
    """Return a decaying cylinder over two half lives, not sorted in time."""
    rng = np.random.default_rng(7)
    found = simulate(cylinder_points(60_000, 6.0, 6.0, rng), rng)
    uniform = rng.uniform(size=len(found))
    times = -HALF_LIFE_S * np.log2(1 - 0.75 * uniform)
    return dataclasses.replace(found, time_s=times)


def test_decaying_activity_is_the_same_in_all_frames(timed, scanner, grid):
    ones = np.ones((scanner.num_columns // 2 + 1, scanner.num_rings))
    gapless = 2 * np.pi * geometry.detection_radius_mm(scanner) / scanner.num_columns
    efficiency = ones * (gapless * scanner.axial_pitch_mm / 16) ** 2
    geometric = Volume(sensitivity.geometric_sensitivity(scanner, grid, efficiency), grid)
    measured = Measurement(timed, Volume(np.zeros(grid.shape), grid), 6.0)
    instrument = Instrument(scanner, efficiency, geometric)
    settings = Settings(4, psf=blur.gaussian(3.0), sensitivity_stride=16)
    halves = frames.intervals(0.0, 6.0, 3.0, 6.0)
    images = reconstruct_frames(measured, instrument, settings, halves, HALF_LIFE_S, 0)
    totals = [float(image.array.sum()) * grid.voxel_volume_mm3 for image in images]
    # three quarters of N0 = A0 half life / ln 2 decays: A0 = 60,000 / 0.75 x ln 2 / 3 s = 18,484 Bq
    # 1.3 % from 6000 counts, 2 % as in test_acquisition
    assert totals == pytest.approx([18_484, 18_484], rel=0.04)
    # a frame is what it would be alone: its events, as long as it lasts
    later = dataclasses.replace(measured, events=timed.at(timed.time_s >= 3.0))
    alone = reconstruct_frames(later, instrument, settings, halves[1:], 0.0, 0)[0]
    factor = frames.decay_factor(halves[1], HALF_LIFE_S)
    np.testing.assert_allclose(alone.array / factor, images[1].array, rtol=1e-6)
