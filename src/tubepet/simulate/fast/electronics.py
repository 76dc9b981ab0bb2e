"""From pulses of crystals to singles, for both engines: blocks, pile-up, dead time, blur, window.

In this order. Within a unit of readout, a crystal or a block of them, pulses of one decay add up;
what is then less than `TRIGGER_KEV` is nothing; then those that come within `pile_up_ns` after a
first one add up; then dead time drops pulses. So one outside the window makes its unit dead too.
Simplified: pulses are numbers, not shapes, and add up whole or not at all.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.simulate.fast import kernels
from tubepet.types import Scanner

STREAM = np.uint64(1 << 63)  # of the blur; slices have the numbers from 0 on
# Above the K X-rays of lutetium: those that cross the bore are not in the fast engine.
TRIGGER_KEV = 65.0
KINDS = ("paralysable", "nonparalysable")


class Singles(NamedTuple):
    """Singles, or pulses; columns as in `kernels`.

    Events of the source are numbered from 0 up, those of lutetium from -1 down.
    """

    reals: NDArray[np.float64]  # (n, 5)
    counts: NDArray[np.int64]  # (n, 4)


class Piece(NamedTuple):
    """What a stretch of time gave: all later singles come from decays at `until_ns` or after.

    `fates` counts pulses: all, piled up on another, dropped by dead time.
    """

    until_ns: float
    num_decays: int
    singles: Singles
    fates: NDArray[np.int64] = np.zeros(3, np.int64)
    num_lutetium: int = 0


def check(scanner: Scanner) -> None:
    """Refuse electronics that cannot be.

    Raises
    ------
    InputError
        If a time is negative or no number, the kind of dead time is none of `KINDS`, or the block
        does not divide the scanner, or is more than one crystal where crystals are not all alike.
    """
    for key in ("dead_time_ns", "pile_up_ns"):
        if not 0 <= getattr(scanner, key) < math.inf:
            raise InputError(f"scanner.{key}: got {getattr(scanner, key)}, expected >= 0 ns")
    if scanner.dead_time_kind not in KINDS:
        raise InputError(
            f"scanner.dead_time_kind: got {scanner.dead_time_kind}, expected {' or '.join(KINDS)}"
        )
    columns, rings = scanner.readout_block
    if (columns, rings) == (1, 1):
        return
    if not scanner.is_even_ring:
        raise InputError(
            f"scanner.readout_block: got {[columns, rings]} crystals, expected [1, 1] with "
            "scanner.modules, dead_crystals or efficiencies"
        )
    if columns < 1 or rings < 1 or scanner.num_columns % columns or scanner.num_rings % rings:
        raise InputError(
            f"scanner.readout_block: got {[columns, rings]} crystals, expected divisors of "
            f"num_columns {scanner.num_columns} and num_rings {scanner.num_rings}"
        )


def units(scanner: Scanner) -> NDArray[np.int64]:
    """Return the unit of readout of every crystal, shape (num_crystals,)."""
    columns, rings = scanner.readout_block
    if (columns, rings) == (1, 1):
        return np.arange(scanner.num_crystals)
    ring, column = np.divmod(np.arange(scanner.num_crystals), scanner.num_columns)
    return ring // rings * (scanner.num_columns // columns) + column // columns


def ordered(*parts: Singles) -> Singles:
    """Join singles and put them in the order of time, equal times as they stand."""
    reals, counts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = kernels.time_order(reals[:, kernels.TIME_NS].copy())
    return Singles(reals[order], counts[order])


def singles_of(pulses: Iterable[Piece], scanner: Scanner, blur: Any, seed: int) -> Iterator[Piece]:
    """Turn pulses into singles, piece by piece; how they are cut does not matter.

    Parameters
    ----------
    pulses : iterable of Piece
        Of crystals, those of a decay together and in one piece; the last has `until_ns` infinite.
    scanner : Scanner
    blur : Readout
        Of `setup`: blur and window.
    seed : int
        Of the blur, whose stream no slice has.

    Yields
    ------
    Piece
        Singles in the energy window.
    """
    check(scanner)
    unit_of = units(scanner)
    num_units = int(unit_of.max()) + 1
    is_paralysable = scanner.dead_time_kind == "paralysable"
    window_ns, dead_ns = float(scanner.pile_up_ns), float(scanner.dead_time_ns)
    state = kernels.random_state(seed, STREAM)
    dead_until_ns = np.full(num_units, -np.inf)
    held = Singles(np.empty((0, 5)), np.empty((0, 4), np.int64))
    for piece in pulses:
        num = kernels.join_pulses(*piece.singles, unit_of, TRIGGER_KEV)
        joined = Singles(piece.singles.reals[:num], piece.singles.counts[:num])
        reals, counts = ordered(held, joined)
        sums, facts, is_open = kernels.pile_up(
            reals, counts, unit_of, num_units, window_ns, float(piece.until_ns)
        )
        num_closed = len(reals) - int(is_open.sum())
        held = Singles(reals[is_open], counts[is_open])
        unit = unit_of[facts[:, kernels.CRYSTAL_ID]]
        times_ns = sums[:, kernels.TIME_NS].copy()
        is_live = kernels.is_live(times_ns, unit, dead_ns, is_paralysable, dead_until_ns)
        fates = np.array([num_closed, num_closed - len(sums), len(sums) - int(is_live.sum())])
        sums, facts = sums[is_live], facts[is_live]
        is_seen = kernels.blur_pulses(sums, blur, state)
        singles = Singles(sums[is_seen], facts[is_seen])
        yield piece._replace(until_ns=piece.until_ns - window_ns, singles=singles, fates=fates)


def facts(fates: NDArray[np.int64]) -> dict[str, float]:
    """Return what ``stats.json`` says of pulses; `live_share` is that of the dead time alone."""
    num, piled_up, dead = (int(n) for n in fates)
    return {
        "pulses": num,
        "pulses_piled_up": piled_up,
        "pulses_dead": dead,
        "live_share": 1 - dead / max(num - piled_up, 1),
    }
