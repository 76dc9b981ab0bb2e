"""Signals against sizes: a published tobit model, statsmodels, and known curves."""

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.stats import norm

from tubepet.pod import response

Array = NDArray[np.float64]

# Durable goods of Tobin (1958, doi:10.2307/1907382): amount, age, liquidity. Fit of R's survreg
# (package survival, example of `tobin`).
DURABLE = [0, 0.7, 0, 0, 0, 0, 0, 3.7, 0, 3, 10.4, 0, 0, 0, 1.5, 0, 0, 3.5, 6.1, 0]
AGE = [57.7, 50.9, 48.5, 41.7, 47.7, 59.8, 44.3, 45.1, 51.7, 50, 46.8, 58, 58.9, 40, 34.1, 39.9,
       33.4, 48.1, 46.6, 53.1]  # fmt: skip
QUANT = [236, 283, 207, 220, 238, 216, 284, 221, 275, 269, 207, 249, 246, 277, 231, 219, 240, 266,
         214, 251]  # fmt: skip

THRESHOLD_Z, SPREAD, SLOPE = 4.4, 0.3, 1.5


def drawn(num: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Return sizes, and signals of a known line: 4.4 at 2.5 mm."""
    sizes_mm = np.geomspace(1, 6, num)
    line = np.log(THRESHOLD_Z) + SLOPE * np.log(sizes_mm / 2.5)
    return sizes_mm, np.exp(line + SPREAD * random.standard_normal(num))


def test_the_published_tobit_model() -> None:
    durable = np.array(DURABLE)
    design = np.stack([np.ones(20), AGE, QUANT], axis=1)
    model = response.tobit(design, durable, durable == 0)
    assert model.coefficients == pytest.approx([15.14486644, -0.12905928, -0.04554166], rel=1e-6)
    assert model.spread == pytest.approx(5.572540, rel=1e-6)
    assert model.log_likelihood == pytest.approx(-28.94013, abs=5e-6)


def test_errors_are_those_of_the_published_model() -> None:
    durable = np.array(DURABLE)
    design = np.stack([np.ones(20), AGE, QUANT], axis=1)
    model = response.tobit(design, durable, durable == 0)
    # from coefficients over s to coefficients: the delta method
    change = np.eye(3, 4) * model.spread
    change[:, 3] = -model.coefficients * model.spread
    errors = np.sqrt(np.diag(change @ model.covariance @ change.T))
    assert errors == pytest.approx([16.07945, 0.2185836, 0.05825412], rel=1e-5)


def test_without_censoring_it_is_least_squares() -> None:
    sizes_mm, signal_z = drawn(60, np.random.default_rng(1))
    design = sm.add_constant(np.log(sizes_mm))
    peer = sm.OLS(np.log(signal_z), design).fit()
    none = np.zeros(60, bool)
    model = response.tobit(design, np.log(signal_z), none)
    assert model.coefficients == pytest.approx(peer.params, rel=1e-8)
    assert model.log_likelihood == pytest.approx(peer.llf, rel=1e-10)
    seen = signal_z > response.NOISE_Z
    curve = response.fit(sizes_mm[seen], signal_z[seen], THRESHOLD_Z)
    peer = sm.OLS(np.log(signal_z[seen]), design[seen]).fit()
    assert curve.model.spread == pytest.approx(np.sqrt(peer.scale), rel=1e-8)


def test_a50_and_a90_by_hand() -> None:
    sizes_mm, signal_z = drawn(4000, np.random.default_rng(2))
    curve = response.fit(sizes_mm, signal_z, THRESHOLD_Z)
    # four standard errors: s / slope / sqrt(4000) = 0.3 %
    assert curve.size_mm(0.5) == pytest.approx(2.5, rel=0.013)
    expected_mm = 2.5 * np.exp(norm.ppf(0.9) * SPREAD / SLOPE)
    assert curve.size_mm(0.9) == pytest.approx(expected_mm, rel=0.02)
    assert curve.pod(np.array([curve.size_mm(0.9)])) == pytest.approx(0.9)
    assert 500 < curve.num_censored < 1500 and curve.linear_p > 0.001


def test_a90_95_is_the_spread_of_a90_over_models_as_likely() -> None:
    """The delta method against models drawn from the covariance."""
    curve = response.fit(*drawn(4000, np.random.default_rng(6)), THRESHOLD_Z)
    model, random = curve.model, np.random.default_rng(7)
    shift, slope, width = random.multivariate_normal(model.scaled, model.covariance, 40000).T
    places = (norm.ppf(0.9) - shift + width * np.log(THRESHOLD_Z)) / slope
    error = np.log(curve.size_mm(0.9, 0.95) / curve.size_mm(0.9)) / norm.ppf(0.95)
    # 40000 draws give a standard deviation to 0.35 %, three of which are 1 %
    assert error == pytest.approx(places.std(), rel=0.011)


def test_a90_95_is_above_a90_as_often_as_it_says() -> None:
    random, num = np.random.default_rng(3), 400
    true_mm = 2.5 * np.exp(norm.ppf(0.9) * SPREAD / SLOPE)
    bounds = [response.fit(*drawn(200, random), THRESHOLD_Z).size_mm(0.9, 0.95) for _ in range(num)]
    # three binomial standard deviations, 0.033, and 0.02 for the finite number of parts
    assert np.mean(np.array(bounds) > true_mm) == pytest.approx(0.95, abs=0.053)


def test_a_bent_line_is_seen() -> None:
    sizes_mm, signal_z = drawn(80, np.random.default_rng(4))
    bent = np.minimum(signal_z, 5.0)
    assert response.fit(sizes_mm, bent, THRESHOLD_Z).linear_p < 1e-3


def test_what_has_no_line_says_why() -> None:
    sizes_mm, signal_z = drawn(20, np.random.default_rng(5))
    assert "0 of 20 signals are above 2" in response.why_not(sizes_mm, np.full(20, np.nan))
    assert "do not grow" in response.why_not(sizes_mm, signal_z[::-1])
    assert response.why_not(sizes_mm, signal_z) == ""
