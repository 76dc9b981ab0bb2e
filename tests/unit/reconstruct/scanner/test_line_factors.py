"""Counts of lines over the model's: by hand, from a source that has other counts, and nowhere."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from tubepet.reconstruct.projection import blur, line_blur
from tubepet.reconstruct.projection.response import Response
from tubepet.reconstruct.scanner import crystals, geometry, line_factors
from tubepet.simulate import water_phantoms
from tubepet.simulate.water_phantoms import Engine
from tubepet.types import Listmode, Scanner

PSF = (blur.Gaussian(0.82, 2.3, 3.5), blur.Gaussian(0.18, 7.0, 8.0))
RESPONSE = Response([PSF] * line_blur.NUM_CLASSES, 1.0, 16)
SIZE_MM = 16.0, 8.0


@pytest.fixture(scope="module")
def scanner(root: Path) -> Scanner:
    return Scanner(**yaml.safe_load((root / "config/config.yaml").read_text())["scanner"])


def efficiency_of(scanner: Scanner) -> np.ndarray:
    return np.full((scanner.num_columns // 2 + 1, scanner.num_rings), 0.24)


def fitted(scanner: Scanner, decays: float) -> np.ndarray:
    engine = Engine(scanner, 500.0, 1, 2)
    return line_factors.fit(engine, efficiency_of(scanner), RESPONSE, *SIZE_MM, decays)


def test_few_counts_are_drawn_to_one() -> None:
    seen, expected = np.array([0.0, 10_200.0, 1e9]), np.array([0.0, 10_000.0, 1e9 / 1.05])
    # a prior of 1 % weighs as much as 10,000 counts
    assert line_factors.shrunk(seen, expected, 0.01) == pytest.approx([1.0, 1.01, 1.05], abs=1e-6)


def test_factors_of_steps_and_classes_are_found_in_their_product() -> None:
    steps, classes = np.array([0.99, 1.0, 1.01]), np.array([1.02, 0.99])
    expected = np.full((2, 3), 1e8)
    product = steps * classes[:, None]
    # the prior takes off 1e-4 of what differs
    assert line_factors.factors_of(expected * product, expected) == pytest.approx(product, abs=1e-5)


def test_events_are_counted_by_class_and_step(scanner: Scanner) -> None:
    """Opposite crystals of one ring; and of rings 63 apart, which is steeper than 0.8."""
    opposite = scanner.num_columns // 2
    ends = np.array([0, 0]), np.array([opposite, 63 * scanner.num_columns + opposite - 1])
    events = Listmode(*(one.astype(np.int32) for one in ends), np.zeros(2), np.zeros(2, np.uint8))
    counts = line_factors.by_class(events, scanner)
    assert counts.sum() == 2 and counts[0, opposite] == 1 and counts[-1, opposite - 1] == 1


def test_counts_that_a_detector_favours_are_found(scanner: Scanner, monkeypatch) -> None:
    """Leave out a tenth of the lines through the axis: their factor falls by a tenth."""
    acquire, opposite = water_phantoms.acquire, scanner.num_columns // 2

    def less(*given) -> tuple[Listmode, Listmode]:
        events, delayed = acquire(*given)
        is_kept = geometry.column_steps(events, scanner) < opposite
        is_kept |= np.arange(len(events)) % 10 > 0
        return events.at(is_kept), delayed

    decays = 4e6
    before = fitted(scanner, decays)
    monkeypatch.setattr(water_phantoms, "acquire", less)
    after = fitted(scanner, decays)
    # 40,000 counts are worth four fifths of the prior: 8 % in place of 10; their error is 0.5 %
    assert (after / before)[:, opposite].mean() == pytest.approx(0.92, abs=0.01)
    assert (after / before)[:, opposite - 1] == pytest.approx(1.0, abs=0.01)
    distances_mm = geometry.axis_distances_mm(scanner)
    outermost = np.flatnonzero(distances_mm < SIZE_MM[0] - 1.0 - 3.5)[0]
    assert (before[:, :outermost] == before[:, [outermost]]).all()  # beyond the source
    # the efficiency given is flat, and the scanner's grows with the ring difference
    assert 0.8 < before.min() and before.max() < 1.4


def test_an_image_without_lines_has_no_factors(scanner: Scanner) -> None:
    """Within 4.5 mm of the axis no line is far enough from the rim."""
    engine = Engine(scanner, 500.0, 1, 2)
    found = line_factors.fit(engine, efficiency_of(scanner), RESPONSE, 4.0, 4.0, 1e4)
    assert (found == 1.0).all()


def test_crystals_have_efficiencies_of_their_own(scanner: Scanner) -> None:
    known = crystals.of_scanner(scanner)
    engine = Engine(scanner, 500.0, 1, 2)
    assert line_factors.fit(engine, known, RESPONSE, *SIZE_MM, 1e4) is None
