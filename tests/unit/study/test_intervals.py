"""Intervals and tests, by hand and by simulation."""

import numpy as np
import pytest

from tubepet.study import intervals


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_sign_flips_by_hand() -> None:
    # all of one sign: only (+ + +) and (- - -) reach the sum 6, 2 of 8
    assert intervals.sign_flip_p(np.array([1.0, 2.0, 3.0]), rng()) == 2 / 8
    # sum 2; |sums| of the 8 sign choices of (3, 2, -3): 2 8 4 2 2 4 8 2: all reach it
    assert intervals.sign_flip_p(np.array([3.0, 2.0, -3.0]), rng()) == 1.0
    # |3 +- 1 +- 1 +- 1| is 6 once, 4 three times, 2 three times, 0 once: half reach 4
    assert intervals.sign_flip_p(np.array([1.0, 1.0, 3.0, -1.0]), rng()) == 0.5


def test_five_seeds_cannot_reach_five_per_cent() -> None:
    assert intervals.sign_flip_p(np.full(5, 9.0), rng()) == 1 / 16


def test_many_seeds_draw_signs() -> None:
    assert intervals.sign_flip_p(np.full(20, 1.0), rng()) < 0.01
    assert intervals.sign_flip_p(np.tile([1.0, -1.0], 10), rng()) == 1.0


def test_holm_by_hand() -> None:
    # sorted .01 .02 .04 times 3 2 1 = .03 .04 .04
    assert intervals.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert intervals.holm([0.5, 0.9]) == [1.0, 1.0]


def test_interval_holds_the_mean_as_often_as_it_says() -> None:
    random, num = rng(1), 400
    hits = 0
    for _ in range(num):
        found = intervals.estimate(random.normal(1, 2, 5), np.empty((5, 0)), 1000, random)
        hits += found.low < 1 < found.high
    # binomial(400, .95): sd 1.1 %; the unstretched percentile interval covers about 82 %
    assert 0.90 < hits / num < 0.99


def test_halves_of_the_tubes_widen_the_interval_by_the_spread_of_tubes() -> None:
    # no spread over seeds: the interval is that of the halves, sd 1 -> +-1.96
    draws = np.tile(rng(2).normal(5, 1, 4000), (5, 1))
    found = intervals.estimate(np.full(5, 7.0), draws, 4000, rng(3))
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
