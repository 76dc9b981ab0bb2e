"""Hits and misses: a published example, statsmodels, a profile by brute force, and known curves."""

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import chi2, logistic

from tubepet.pod import hit_miss

Array = NDArray[np.float64]

# Beetles killed by gas (Bliss 1935, doi:10.1111/j.1744-7348.1935.tb07713.x), as analysed by Dobson,
# An Introduction to Generalized Linear Models, ch. 7: log10 of the dose, beetles, killed.
DOSES = np.array([1.6907, 1.7242, 1.7552, 1.7842, 1.8113, 1.8369, 1.8610, 1.8839])
BEETLES = np.array([59, 60, 62, 56, 63, 59, 62, 60])
KILLED = np.array([6, 13, 18, 28, 52, 53, 61, 60])


def one_by_one() -> tuple[Array, Array]:
    """Return a size whose natural logarithm is the dose, and 1 or 0, of every beetle."""
    hits = [np.arange(n) < k for n, k in zip(BEETLES, KILLED, strict=True)]
    return np.repeat(np.exp(DOSES), BEETLES), np.concatenate(hits).astype(float)


def drawn(num: int, link: str, random: np.random.Generator) -> tuple[Array, Array]:
    """Return parts of a known curve, POD 0.5 at e mm."""
    sizes_mm = np.geomspace(1, 6, num)
    pod = hit_miss.LAWS[link].cdf(6 * (np.log(sizes_mm) - 1))
    return sizes_mm, (random.random(num) < pod).astype(float)


def test_the_published_example() -> None:
    sizes, hits = one_by_one()
    curve = hit_miss.fit(sizes, hits)
    # as printed, three decimals
    assert (curve.intercept, curve.slope) == pytest.approx((-60.717, 34.270), abs=5e-4)
    errors = np.sqrt(np.diag(curve.covariance))
    assert errors == pytest.approx([5.1807, 2.9121], abs=1e-4)
    pod, share = curve.pod(np.exp(DOSES)), KILLED / BEETLES
    grouped = 2 * np.nansum(
        KILLED * np.log(share / pod)
        + (BEETLES - KILLED) * np.log(np.maximum(1 - share, 1e-300) / (1 - pod))
    )
    assert grouped == pytest.approx(11.232, abs=5e-4)
    assert np.log(curve.size_mm(0.5)) == pytest.approx(60.717 / 34.270, abs=1e-4)
    probit = hit_miss.fit(sizes, hits, "probit")
    # Dobson's table of the three links; two decimals
    assert (probit.intercept, probit.slope) == pytest.approx((-34.94, 19.73), abs=5e-3)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_it_is_the_fit_of_statsmodels(link: str) -> None:
    sizes_mm, hits = drawn(80, link, np.random.default_rng(3))
    laws = {"logit": sm.families.links.Logit(), "probit": sm.families.links.Probit()}
    design = sm.add_constant(np.log(sizes_mm))
    peer = sm.GLM(hits, design, sm.families.Binomial(laws[link])).fit(tol=1e-12)
    curve = hit_miss.fit(sizes_mm, hits, link)
    # both iterate to convergence
    assert [curve.intercept, curve.slope] == pytest.approx(peer.params, rel=1e-6)
    assert curve.covariance == pytest.approx(np.asarray(peer.cov_params()), rel=1e-6)
    assert curve.deviance == pytest.approx(peer.deviance, rel=1e-6)


def test_a90_95_by_hand() -> None:
    """The likeliest of all curves through (a90/95, 0.9) is worse by chi2 of 90 %, two-sided."""
    sizes_mm, hits = drawn(80, "logit", np.random.default_rng(4))
    curve = hit_miss.fit(sizes_mm, hits)
    for side in (1, -1):
        bound_mm = hit_miss.bound_mm(curve, 0.9, side)
        place, logs = np.log(bound_mm), np.log(sizes_mm)

        def deviance(slope: Array, place: float = place, logs: Array = logs) -> float:
            eta = np.log(9) + slope[0] * (logs - place)
            return float(-2 * np.where(hits > 0, logistic.logcdf(eta), logistic.logsf(eta)).sum())

        best = minimize(deviance, np.array([1.0]), method="Nelder-Mead", options={"xatol": 1e-9})
        assert best.fun - curve.deviance == pytest.approx(chi2.isf(0.1, 1), abs=1e-6)
        assert (bound_mm - curve.size_mm(0.9)) * side > 0


def test_a90_95_is_above_a90_as_often_as_it_says() -> None:
    """300 sets of 200 parts; the likelihood ratio is exact for many parts only."""
    random, link, num = np.random.default_rng(5), "logit", 300
    true_mm = np.exp(1 + np.log(9) / 6)
    bounds = [hit_miss.bound_mm(hit_miss.fit(*drawn(200, link, random)), 0.9) for _ in range(num)]
    # three binomial standard deviations, 0.038, and 0.01 for the finite number of parts
    assert np.mean(np.array(bounds) > true_mm) == pytest.approx(0.95, abs=0.048)


def test_goodness_sees_a_curve_that_never_gets_to_one() -> None:
    random, right, wrong = np.random.default_rng(6), [], []
    for _ in range(100):
        sizes_mm, hits = drawn(80, "logit", random)
        right.append(hit_miss.goodness(hit_miss.fit(sizes_mm, hits))[2])
        # beyond 2.2 mm seven of ten are found, whatever their size
        flat = (random.random(300) < 0.7 * (np.geomspace(1, 20, 300) > 2.2)).astype(float)
        wrong.append(hit_miss.goodness(hit_miss.fit(np.geomspace(1, 20, 300), flat))[2])
    # p is uniform but for groups of few expected hits; 14 % is three sd above 5 % in 100
    assert np.mean(np.array(right) < 0.05) < 0.14
    assert np.mean(np.array(wrong) < 0.05) > 0.9


def test_goodness_keeps_equal_sizes_together() -> None:
    sizes, hits = one_by_one()
    curve = hit_miss.fit(sizes, hits)
    # groups are the eight doses: Pearson's statistic of the published analysis, two decimals
    statistic, num_free, p_value = hit_miss.goodness(curve)
    assert (statistic, num_free) == (pytest.approx(10.03, abs=5e-3), 6)
    assert p_value == pytest.approx(chi2.sf(statistic, 6))
    shuffled = np.random.default_rng(7).permutation(len(sizes))
    other = hit_miss.fit(sizes[shuffled], hits[shuffled])
    assert hit_miss.goodness(other)[2] == pytest.approx(hit_miss.goodness(curve)[2], rel=1e-6)
    assert np.isnan(
        hit_miss.goodness(hit_miss.fit(*drawn(12, "logit", np.random.default_rng(1))))[2]
    )


SIZES = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("hits", "sentence"),
    [
        ([0, 0, 0, 0], "none of 4 parts of 1 to 4 mm is a hit"),
        ([1, 1, 1, 1], "each of 4 parts"),
        ([0, 0, 1, 1], "the largest miss has 2 mm, the smallest hit 3 mm"),
        ([1, 1, 0, 0], "larger defects are not found more often"),
        ([1, 0, 1, 0], "larger defects are not found more often"),
        ([0, 1, 0, 1], ""),
    ],
)
def test_what_has_no_curve_says_why(hits: list[int], sentence: str) -> None:
    found = hit_miss.why_not(SIZES, np.array(hits, float))
    assert found.startswith(sentence) if not sentence else sentence in found
    assert bool(found) == bool(sentence)


def test_a_slope_that_may_be_none_has_no_bound() -> None:
    assert np.isnan(hit_miss.bound_mm(hit_miss.fit(SIZES, np.array([0.0, 1, 0, 1])), 0.9))
