"""The Hotelling template, in cases with a known best observer."""

import numpy as np
import pytest

from tubepet.errors import InputError
from tubepet.observers import hotelling


def test_in_white_noise_it_is_the_matched_filter() -> None:
    """A signal that the channels span: d' is its length over the noise's standard deviation."""
    random = np.random.default_rng(1)
    channels = random.standard_normal((500, 3))  # of 500 voxels
    signal, noise = channels @ [0.3, -0.2, 0.1], 1.7
    covariance = noise**2 * channels.T @ channels
    found = hotelling.template(channels.T @ signal, np.zeros(3), covariance)
    assert found.detectability == pytest.approx(np.linalg.norm(signal) / noise, rel=1e-10)
    # by hand: one channel, which the signal is twice as far from the mean as the noise is wide
    one = hotelling.template(np.array([6.0]), np.array([1.0]), np.array([[9.0]]))
    assert one.detectability == pytest.approx(2.0)
    np.testing.assert_allclose(one.responses(np.array([[1.0], [7.0]])), [0.0, 2.0])


def test_responses_have_the_distance_that_is_promised() -> None:
    random = np.random.default_rng(2)
    mixed = np.array([[1.0, 0.5], [0.0, 2.0]])
    without = random.standard_normal((40_000, 2)) @ mixed + 3
    signal = np.array([1.0, -1.0])
    found = hotelling.template(signal, without.mean(axis=0), np.cov(without, rowvar=False))
    apart = found.responses(without + signal).mean() - found.responses(without).mean()
    assert apart == pytest.approx(found.detectability)
    # the template is normalised by the covariance of these very samples
    assert found.responses(without).std(ddof=1) == pytest.approx(1.0)
    matched = signal / np.linalg.norm(signal)  # blind to the covariance: a worse observer
    assert found.detectability > np.linalg.norm(signal) / (without @ matched).std()


def volumes(num: int) -> np.ndarray:
    """Return balls of fluid, every second one with a hole or a bump, in some noise."""
    random = np.random.default_rng(3)
    z, y, x = np.meshgrid(*[np.arange(16.0) - 7.5] * 3, indexing="ij")
    drawing = (np.sqrt(x**2 + y**2 + z**2) < 6.5).astype(np.float32)
    result = np.zeros((num, 4, 16, 16, 16), np.float32)
    for i, volume in enumerate(result):
        volume[1] = volume[3] = drawing
        if i % 4 == 1:
            volume[2, 6:9, 6:9, 6:9] = -1
        if i % 4 == 3:
            volume[2, 7:10, 7:10, 13:16] = 1
        volume[0] = 100 * (drawing + volume[2]) + 15 * random.standard_normal(drawing.shape)
    return result


@pytest.mark.parametrize("has_drawing", [True, False])
def test_holes_and_bumps_have_the_largest_responses(has_drawing: bool) -> None:
    templates = hotelling.fit(volumes(40), has_drawing)
    assert len(templates) == 2
    found = hotelling.scores(templates, volumes(20), has_drawing)
    assert np.median(found[1::2]) > np.median(found[0::2]) + 1
    # what is seen is in units of the part's own activity; 1e-4: float32
    brighter = volumes(20) * np.array([3, 1, 1, 1], np.float32)[:, None, None, None]
    np.testing.assert_allclose(
        hotelling.scores(templates, brighter, has_drawing), found, rtol=1e-4, atol=1e-4
    )


def test_clean_parts_alone_are_refused() -> None:
    with pytest.raises(InputError, match=r"observers: got 4 clean training parts of 4, expected"):
        hotelling.fit(volumes(8)[::2], True)
