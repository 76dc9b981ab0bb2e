"""Blocks, pile-up and dead time: by hand, against slow references and the formulas."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.simulate.fast import electronics, kernels, setup, tables, transport
from tubepet.simulate.fast.electronics import Piece, Singles
from tubepet.types import Grid, Volume

INF = math.inf


def pulses_at(times_ns, kev, crystal, event) -> Singles:
    """Pulses with the event also as x of the decay, to see whose attributes stay."""
    num = len(times_ns)
    reals, counts = np.zeros((num, 5)), np.zeros((num, 4), np.int64)
    reals[:, kernels.TIME_NS], reals[:, kernels.ENERGY_KEV] = times_ns, kev
    reals[:, kernels.X_MM] = event
    counts[:, kernels.EVENT], counts[:, kernels.CRYSTAL_ID] = event, crystal
    return Singles(reals, counts)


def sharp(scanner, **changes):
    """Return a scanner that blurs nothing to speak of and keeps every energy."""
    return dataclasses.replace(
        scanner, energy_resolution=1e-9, time_resolution_ps=1e-9, energy_window_kev=(0.0, 1e6),
        **changes,
    )  # fmt: skip


def poisson(rate_ns: float, num: int, num_crystals: int, seed: int) -> Singles:
    """Pulses of one kind at random times, each of a decay of its own."""
    rng = np.random.default_rng(seed)
    times_ns = np.cumsum(rng.exponential(1 / rate_ns, num))
    return pulses_at(times_ns, np.full(num, 511.0), rng.integers(0, num_crystals, num), range(num))


def only(pulses: Singles, scanner, seed: int = 1) -> Piece:
    """Return what becomes of pulses in one piece; they stay as they are."""
    copied = Singles(*(part.copy() for part in pulses))
    (piece,) = electronics.singles_of(
        [Piece(INF, 1, copied)], scanner, setup.readout(scanner), seed
    )
    return piece


def columns(singles: Singles) -> list[list[float]]:
    """Time, energy, crystal and event of every single."""
    reals, counts = singles
    names = (kernels.TIME_NS, kernels.ENERGY_KEV)
    found = np.column_stack([reals[:, names], counts[:, [kernels.CRYSTAL_ID, kernels.EVENT]]])
    return np.round(found, 3).tolist()


def test_pulses_by_hand(scanner):
    """Crystals 0, 1 and 184 are of the block of 2 x 2, 2 is not; ns and keV."""
    pulses = pulses_at(
        [0.0, 0.4, 5.0, 20.0, 30.0, 59.0, 60.0, 119.0, 200.0],
        [100.0, 200.0, 511.0, 66.0, 300.0, 65.0, 100.0, 80.0, 70.0],
        [0, 184, 2, 1, 0, 0, 0, 0, 1],
        [0, 0, 0, 1, 2, 3, 4, 5, 6],
    )
    # one decay in a block: 300 keV in crystal 184, at the earlier time. 20 ns later 66 keV more, of
    # another decay; 300 keV 30 ns after the first are a pulse of their own, 59 ns add to that
    piled = dataclasses.replace(sharp(scanner), pile_up_ns=29.5, readout_block=(2, 2))
    piece = only(pulses, piled)
    assert columns(piece.singles) == [
        [0.0, 366.0, 184, 0], [5.0, 511.0, 2, 0], [30.0, 365.0, 0, 2], [60.0, 100.0, 0, 4],
        [119.0, 80.0, 0, 5], [200.0, 70.0, 1, 6],
    ]  # fmt: skip
    assert piece.fates.tolist() == [8, 2, 0]
    # then dead for 60 ns: 30 is dropped; 60 is dropped too (not after the end); from 0 on it is
    # alive at 119, or, if the pulse at 60 started it again, dead
    for kind, kept in (("nonparalysable", [0, 5, 119, 200]), ("paralysable", [0, 5, 200])):
        dead = dataclasses.replace(piled, dead_time_ns=60.0, dead_time_kind=kind)
        piece = only(pulses, dead)
        assert [row[0] for row in columns(piece.singles)] == kept
        assert piece.fates.tolist() == [8, 2, 6 - len(kept)]


def test_small_pulses_are_none_but_their_parts_add_up(scanner):
    """40 and 30 keV of one decay are 70 keV in a block, and nothing in crystals."""
    pulses = pulses_at([0.0, 0.1, 50.0], [40.0, 30.0, 511.0], [0, 1, 0], [0, 0, 1])
    crystals = sharp(scanner, dead_time_ns=100.0)
    assert columns(only(pulses, crystals).singles) == [[50.0, 511.0, 0, 1]]
    blocks = dataclasses.replace(crystals, readout_block=(2, 1))
    assert columns(only(pulses, blocks).singles) == [[0.0, 70.0, 0, 0]]


def slow_singles(pulses: Singles, unit: NDArray[np.int64], scanner) -> list[list[float]]:
    """Go unit by unit: pulses of a decay, then of a window, then dead time, in plain loops."""
    found = []
    rows = [
        (int(unit[c[kernels.CRYSTAL_ID]]), c[kernels.EVENT], r[0], r[1], c[kernels.CRYSTAL_ID])
        for r, c in zip(*pulses, strict=True)
    ]
    for one in set(unit.tolist()):
        decays: dict[int, list] = {}
        for own, event, *rest in rows:
            if own == one:
                decays.setdefault(event, []).append(rest)
        joined = [
            (
                min(p[0] for p in group),
                sum(p[1] for p in group),
                max(group, key=lambda p: p[1])[2],
                e,
            )
            for e, group in decays.items()
        ]
        sums: list[list] = []
        for now, kev, crystal, event in sorted(joined):
            if sums and now - sums[-1][0] <= scanner.pile_up_ns:
                sums[-1][1].append((kev, crystal, event))
            else:
                sums.append([now, [(kev, crystal, event)]])
        end = -INF
        for now, parts in sums:
            if now > end:
                best = max(parts)
                found.append([now, sum(p[0] for p in parts), best[1], best[2]])
            if now > end or scanner.dead_time_kind == "paralysable":
                end = now + scanner.dead_time_ns
    return np.round(sorted(found), 3).tolist()


@pytest.mark.parametrize("kind", electronics.KINDS)
@pytest.mark.parametrize("num_pieces", [1, 7, 60])
def test_pieces_of_any_size_give_what_plain_loops_give(scanner, kind, num_pieces):
    """Groups and dead times that reach over the border of a piece, and units that are silent."""
    small = dataclasses.replace(scanner, num_rings=4, num_columns=8)
    small = sharp(
        small, readout_block=(4, 2), pile_up_ns=30.0, dead_time_ns=100.0, dead_time_kind=kind
    )
    rng = np.random.default_rng(3)
    num, times = 4000, 3
    event = np.repeat(np.arange(num), times)  # three pulses of each decay, 1 ns apart at most
    decay_ns = np.sort(rng.uniform(0, num * 20.0, num))
    pulses = pulses_at(
        decay_ns[event] + rng.uniform(0, 1, num * times),
        rng.uniform(70, 300, num * times), rng.integers(0, 32, num * times), event,
    )  # fmt: skip
    cuts = np.linspace(0, num, num_pieces + 1).astype(int)
    pieces = [
        Piece(
            float(decay_ns[stop]) if stop < num else INF, int(stop),
            Singles(*(part[start * times : stop * times].copy() for part in pulses)),
        )
        for start, stop in itertools.pairwise(cuts)
    ]  # fmt: skip
    found = list(electronics.singles_of(pieces, small, setup.readout(small), 1))
    whole = sorted(row for piece in found for row in columns(piece.singles))
    assert whole == slow_singles(pulses, electronics.units(small), small)
    fates = sum(piece.fates for piece in found)
    assert fates[0] - fates[1] - fates[2] == len(whole)
    for piece in found[1:]:  # what is to come is later than what was said
        assert piece.singles.reals[:, kernels.TIME_NS].min() >= found[0].until_ns


@pytest.mark.parametrize("n_tau", [0.05, 0.3, 1.0])
def test_rates_are_those_of_the_formulas(scanner, n_tau):
    """Knoll, ch. 4.VII: n exp(-n tau) and n / (1 + n tau); pile-up takes 1 - 1 / (1 + n t)."""
    num, num_crystals, tau_ns = 200_000, 32, 200.0
    small = sharp(dataclasses.replace(scanner, num_rings=4, num_columns=8))
    pulses = poisson(num_crystals * n_tau / tau_ns, num, num_crystals, 2)
    expected = {"paralysable": math.exp(-n_tau), "nonparalysable": 1 / (1 + n_tau)}
    for kind, share in expected.items():
        dead = dataclasses.replace(small, dead_time_ns=tau_ns, dead_time_kind=kind)
        piece = only(pulses, dead, 1)
        # four binomial sigma: pulses are at most as independent as that, 0.5 % at n tau of 1
        error = math.sqrt(share * (1 - share) / num)
        assert len(piece.singles.reals) / num == pytest.approx(share, abs=4 * error)
    piled = dataclasses.replace(small, pile_up_ns=tau_ns)
    piece = only(pulses, piled, 1)
    share = 1 / (1 + n_tau)
    error = math.sqrt(share * (1 - share) / num)
    assert len(piece.singles.reals) / num == pytest.approx(share, abs=4 * error)
    kev = piece.singles.reals[:, kernels.ENERGY_KEV]
    assert kev.sum() == pytest.approx(511.0 * num)
    # alone: nothing within t after it
    alone = math.exp(-n_tau)
    error = math.sqrt(alone * (1 - alone) / len(kev))
    assert (kev < 512).mean() == pytest.approx(alone, abs=4 * error)


def test_blur_and_window_are_those_of_the_engine(scanner):
    """60,000 pulses of 511 keV: widths within four of their errors, 0.3 %, and the window."""
    num = 60_000
    pulses = pulses_at(1e6 * np.arange(num), np.full(num, 511.0), np.zeros(num, int), range(num))
    wide = dataclasses.replace(scanner, dead_time_ns=1.0, energy_window_kev=(0.0, 1e6))
    piece = only(pulses, wide, 1)
    reals = piece.singles.reals
    late_ns = reals[:, kernels.TIME_NS] - 1e6 * np.arange(num)
    assert reals[:, kernels.ENERGY_KEV].std() * 2.35482 == pytest.approx(76.65, rel=0.012)
    assert late_ns.std() * 2.35482 == pytest.approx(0.3 / math.sqrt(2), rel=0.012)
    other = only(pulses, wide, 2)
    assert not np.array_equal(other.singles.reals, reals)
    narrow = dataclasses.replace(wide, energy_window_kev=(350.0, 511.0))
    piece = only(pulses, narrow, 1)
    assert len(piece.singles.reals) == (reals[:, kernels.ENERGY_KEV] < 511.0).sum()


def block_pairs(scanner, num_threads: int, **changes) -> list[transport.Batch]:
    """Simulate a cube of water with 300 MBq for 0.6 ms."""
    grid = Grid.centred((8, 8, 8), (2.0, 2.0, 2.0))
    labels = Volume(np.ones(grid.shape, np.uint8), grid)
    activity = Volume(np.ones(grid.shape, np.float32), grid)
    changed = dataclasses.replace(scanner, **changes)
    photons = tables.photons()
    what = setup.tube(labels, activity, changed, photons)
    return list(transport.batches(what, photons, 3e8, 6e-4, changed, 500.0, 4, num_threads, "cpu"))


def totals(found: list[transport.Batch]) -> NDArray[np.int64]:
    """Singles, prompts, delayed pairs."""
    pairs = [(b.singles.sum(), len(b.prompts[0].counts), len(b.delayed[0].counts)) for b in found]
    return np.sum(pairs, axis=0)


def test_the_engine_with_and_without(scanner, monkeypatch):
    plain = block_pairs(scanner, 1)
    # nothing of it does anything: the same physics, other random numbers. 100,000 singles differ
    # by 0.5 % between two runs, their pairs, mostly random, by twice as much; three sigma
    idle = block_pairs(scanner, 1, dead_time_ns=1e-3)
    np.testing.assert_allclose(totals(idle), totals(plain), rtol=0.03)
    assert sum(b.fates for b in idle)[1:].tolist() == [0, 0]
    assert not any(b.fates.any() for b in plain)
    changes = {"dead_time_ns": 200.0, "pile_up_ns": 50.0, "readout_block": (8, 8)}
    one = block_pairs(scanner, 1, **changes)
    fates = sum(b.fates for b in one)
    share = electronics.facts(fates)
    assert 0.5 < share["live_share"] < 0.9 and fates[1] > 0
    # neither threads nor the cut into batches change anything
    two = block_pairs(scanner, 2, **changes)
    monkeypatch.setitem(transport.SLICES_PER_BATCH, "cpu", 3)
    cut = block_pairs(scanner, 1, **changes)
    assert len(one) < len(cut) > 3
    for other in (two, cut):
        assert (totals(other) == totals(one)).all()
        for tree in ("prompts", "delayed"):
            for i in range(2):
                pieces = [
                    np.concatenate([getattr(b, tree)[i].reals for b in found])
                    for found in (one, other)
                ]
                assert np.array_equal(*pieces)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dead_time_ns": -1.0}, r"scanner\.dead_time_ns: got -1\.0, expected >= 0 ns"),
        ({"pile_up_ns": float("nan")}, r"scanner\.pile_up_ns: got nan, expected >= 0 ns"),
        ({"dead_time_ns": 1.0, "dead_time_kind": "x"}, r"dead_time_kind: got x, expected paraly"),
        ({"readout_block": (5, 8)}, r"readout_block: got \[5, 8\] crystals, expected divisors"),
        ({"readout_block": (0, 1)}, r"readout_block: got \[0, 1\] crystals, expected divisors"),
        ({"readout_block": (2, 2), "dead_crystals": (1,)}, r"\[2, 2\] crystals, expected \[1, 1\]"),
    ],
)
def test_bad_electronics_are_named(scanner, changes, message):
    with pytest.raises(InputError, match=message):
        block_pairs(scanner, 1, **changes)
