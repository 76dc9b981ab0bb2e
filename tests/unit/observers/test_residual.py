"""The flow from the surrogate to reality: it carries what the surrogate cannot make."""

import numpy as np
import pytest

from tubepet.generate.layers.scanner_twin import Blur, ScannerTwin
from tubepet.observers import generated
from tubepet.observers.residual import Parts, Residual

SHAPE = (8, 12, 12)
DARK, BRIGHT = 0.2, 0.5  # what simulated and real images have on top: no blur of a drawing adds it
NUM_STEPS = 80


def twin() -> ScannerTwin:
    made = ScannerTwin(SHAPE, (1.0, 1.0, 1.0), 2.0, 1.0, (1.5, 1.5), 2)
    made.take(Blur(counts=30.0))
    return made


def parts(num: int, more: float) -> Parts:
    """Return tubes of two widths as the twin makes them, and something on top."""
    fluids = np.zeros((num, *SHAPE), np.float32)
    fluids[::2, 1:7, 3:9, 3:9] = fluids[1::2, 1:7, 4:8, 4:8] = 1
    random, scanner = np.random.default_rng(num), twin()
    images = [scanner.volume(f, random.random(SHAPE, np.float32)) + more for f in fluids]
    return Parts(np.stack(images), fluids)


def made_by(flow: Residual, seed: int = 9) -> np.ndarray:
    fluids, random = parts(6, 0.0).fluids, np.random.default_rng(seed)
    return np.stack([flow.volume(f, random.random(SHAPE, np.float32)) for f in fluids])


@pytest.fixture(scope="module")
def flow() -> Residual:
    return Residual(twin(), parts(8, DARK), parts(3, BRIGHT), NUM_STEPS, 1)


def test_volumes_become_those_of_the_real_parts(flow: Residual) -> None:
    made, start = made_by(flow), made_by(twin())  # type: ignore[arg-type]
    empty = parts(6, 0.0).fluids == 0
    # far from the simulated ones, seen first; short trainings stop a fifth of the way before it
    assert made[empty].mean() == pytest.approx(start[empty].mean() + BRIGHT, abs=0.1)
    # and they follow their drawings: wide tubes hold more than narrow ones, as the real ones do
    wide, narrow = (made[first::2].mean() for first in (0, 1))
    real = parts(6, BRIGHT).images
    assert wide - narrow == pytest.approx(real[::2].mean() - real[1::2].mean(), rel=0.4)


def test_the_same_seed_gives_the_same_volumes(flow: Residual) -> None:
    again, other = (
        Residual(twin(), parts(8, DARK), parts(3, BRIGHT), NUM_STEPS, seed) for seed in (1, 2)
    )
    assert np.array_equal(made_by(flow), made_by(again))
    assert not np.array_equal(made_by(flow), made_by(other))
    assert not np.array_equal(made_by(flow), made_by(flow, 10)), "each volume has its own noise"


def test_only_with_a_flow_simulated_images_are_looked_at() -> None:
    imaging = generated.Imaging((1.0, 1.0, 1.0), 2.0, 1.0, (1.5, 1.5), 2)
    volumes = np.zeros((6, 4, *SHAPE), np.float32)
    few = parts(6, 0.0)
    volumes[:, 0], volumes[:, 3] = few
    other = volumes.copy()
    other[3:, 0] = np.random.default_rng(1).random((3, *SHAPE))
    for num_steps, is_seen in ((0, False), (2, True)):
        one, two = (generated.filled_up(v, 3, imaging, 1, num_steps) for v in (volumes, other))
        assert np.array_equal(one[:3], two[:3])
        assert np.array_equal(one[3:, 0], two[3:, 0]) != is_seen
