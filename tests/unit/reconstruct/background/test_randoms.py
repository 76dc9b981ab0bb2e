import numpy as np
import pytest

from tubepet.reconstruct.background import randoms
from tubepet.reconstruct.scanner import crystals, geometry
from tubepet.types import Listmode


def pairs(crystal1, crystal2):
    num = len(crystal1)
    return Listmode(
        np.asarray(crystal1, np.int32),
        np.asarray(crystal2, np.int32),
        np.zeros(num),
        np.zeros(num, np.uint8),
    )


def drawn(scanner, singles, num, rng):
    """Pairs of independent crystals, as many as are allowed of `num`."""
    first, second = rng.choice(scanner.num_crystals, (2, num), p=singles / singles.sum())
    events = pairs(first, second)
    is_allowed = geometry.is_allowed_step(scanner)[geometry.column_steps(events, scanner)]
    return pairs(first[is_allowed], second[is_allowed])


def test_independent_singles_are_found_again(scanner):
    rng = np.random.default_rng(3)
    turn = 2 * np.pi * np.arange(scanner.num_columns) / scanner.num_columns
    ring = np.linspace(-1, 1, scanner.num_rings)
    true = np.outer(2 - ring**2, 1 + 0.4 * np.cos(turn)).ravel()
    delayed = drawn(scanner, true, 200_000, rng)
    found = randoms.fit_singles(delayed, scanner)
    # a column has about 6000 ends: 1.3 %, four sigma over 58 free numbers
    assert np.allclose(found / found.sum(), true / true.sum(), rtol=0.06)
    # the fit keeps the total, whatever the noise
    assert randoms.lor_counts(found, scanner).sum() == pytest.approx(len(delayed), rel=1e-6)


def test_singles_give_the_randoms_of_every_pair(scanner):
    """2 tau S_i S_j / T by hand: 10 ns, 2 s, shares of 3000 and 5000 singles."""
    rings, columns = [1000] * scanner.num_rings, np.zeros(scanner.num_columns, int)
    columns[[0, 24]] = 3000, 5000
    columns[5] = sum(rings) - 8000
    found = randoms.from_singles(rings, columns.tolist(), 2.0, scanner)
    events = pairs([0, 0], [24, 5])
    share = 1 / scanner.num_rings  # of a column's singles in a ring
    expected = 2 * 10e-9 / 2.0 * 3000 * share * np.array([5000, columns[5]]) * share
    assert np.allclose(randoms.event_counts(found, events), expected)
    assert not randoms.from_singles([0], [0], 1.0, scanner).any()


def test_counts_of_every_pair_add_up_to_those_of_the_kinds(scanner):
    rng = np.random.default_rng(4)
    singles = rng.uniform(0.5, 1.5, scanner.num_crystals)
    first, second = np.triu_indices(scanner.num_crystals, 1)
    events = pairs(first, second)
    is_allowed = geometry.is_allowed_step(scanner)[geometry.column_steps(events, scanner)]
    total = randoms.event_counts(singles, events)[is_allowed].sum()
    assert randoms.lor_counts(singles, scanner).sum() == pytest.approx(total)


def test_no_delayed_pairs_are_no_randoms(scanner):
    assert not randoms.fit_singles(pairs([], []), scanner).any()


def test_crystals_in_any_arrangement_have_singles_of_their_own(scanner):
    rng = np.random.default_rng(5)
    true = rng.uniform(0.5, 1.5, scanner.num_crystals)
    delayed = drawn(scanner, true, 400_000, rng)
    table = crystals.of_scanner(scanner)
    found = randoms.fit_crystals(delayed, table)
    # a crystal has about 1100 ends: 3 %, five sigma over 480 free numbers
    assert np.allclose(found / found.sum(), true / true.sum(), rtol=0.15)
    ends = np.triu_indices(scanner.num_crystals, 1)
    is_allowed = crystals.is_coincidence(table, *ends)
    total = (found[ends[0]] * found[ends[1]])[is_allowed].sum()
    # the fit keeps the total, whatever the noise
    assert total == pytest.approx(len(delayed), rel=1e-6)
    assert not randoms.fit_crystals(pairs([], []), table).any()
