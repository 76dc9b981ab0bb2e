"""Intervals and tests, by hand and by simulation."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from tubepet.study import intervals


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_t_interval_by_hand() -> None:
    """Of 1, 2, 3: sd 1, standard error 1 / sqrt(3), t of 0.975 with two degrees 4.303."""
    found = intervals.estimate(np.array([1.0, 2.0, 3.0]), np.empty((3, 0)))
    assert (found.mean, found.sd, found.of_tubes) == (2.0, 1.0, 0.0)
    assert (found.low, found.high) == pytest.approx((2 - 2.484, 2 + 2.484), abs=0.001)
    assert found.p == pytest.approx(ttest_1samp([1.0, 2.0, 3.0], 0).pvalue)


def test_seeds_that_decide_by_hand() -> None:
    """Mean 2 and sd 1: with 4 seeds t is 3.182, half the width 1.59 < 2; with 3 it is 2.48."""
    found = intervals.estimate(np.array([1.0, 2.0, 3.0]), np.empty((3, 0)))
    assert intervals.seeds_to_decide(found) == 4
    # tubes alone leave 1.96 x 1.5 > 2 open, however many seeds
    wide = np.tile([0.0, 3.0] * 500, (3, 1))
    assert intervals.seeds_to_decide(intervals.estimate(np.array([1.0, 2.0, 3.0]), wide)) is None


def test_one_seed_alone_tells_nothing() -> None:
    found = intervals.estimate(np.array([0.003]), np.empty((1, 0)))
    assert (found.low, found.high, found.p) == (-np.inf, np.inf, 1.0)
    with_tubes = intervals.estimate(np.array([1.0]), np.array([[0.0, 1.0, 2.0]]))  # sd 1
    assert (with_tubes.low, with_tubes.high) == pytest.approx((1 - 1.96, 1 + 1.96), abs=0.01)
    assert intervals.seeds_to_decide(with_tubes) is None


def test_no_spread_is_no_chance() -> None:
    assert intervals.estimate(np.full(3, 9.0), np.empty((3, 0))).p == 0.0
    assert intervals.estimate(np.zeros(3), np.empty((3, 0))).p == 1.0


def test_holm_by_hand() -> None:
    # sorted .01 .02 .04 times 3 2 1 = .03 .04 .04
    assert intervals.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert intervals.holm([0.5, 0.9]) == [1.0, 1.0]


def test_interval_holds_the_mean_as_often_as_it_says() -> None:
    random, num = rng(1), 400
    hits = 0
    for _ in range(num):
        found = intervals.estimate(random.normal(1, 2, 5), np.empty((5, 0)))
        hits += found.low < 1 < found.high
    # binomial(400, .95): sd 1.1 %; an interval with the normal quantile covers about 88 %
    assert 0.90 < hits / num < 0.99


def test_halves_of_the_tubes_widen_the_interval_by_the_spread_of_tubes() -> None:
    # no spread over seeds: the interval is that of the halves, sd 1 -> +-1.96
    draws = np.tile(rng(2).normal(5, 1, 4000), (5, 1))
    found = intervals.estimate(np.full(5, 7.0), draws)
    assert found.mean == 7.0 and found.sd == 0.0
    assert (7 - found.low, found.high - 7) == pytest.approx((1.96, 1.96), rel=0.1)


def test_half_splits_keep_tubes_whole() -> None:
    tubes = np.repeat(["a", "b", "c", "d", "e"], 3)
    for mask in intervals.half_splits(tubes, 6, rng()):
        assert mask.sum() == 6  # two of five tubes
        assert all(len(set(mask[tubes == tube])) == 1 for tube in "abcde")


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.1, 2, "holds"), (-2, -0.1, "does not hold"), (-1, 1, "undecided")]
)
def test_verdict(low: float, high: float, word: str) -> None:
    assert intervals.verdict(low, high) == word
