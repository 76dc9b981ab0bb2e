"""Few parts of a declared reality, which differs from the simulation as scanners do.

Reality here is a simulation too, of another scanner: its crystals differ in efficiency, some are
dead, they contain 176Lu, the source emits positrons with their range, and parts lie beside where
they should. The calibration and the simulated parts know nothing of this. So there is a step from
simulation to reality, as for a laboratory, and a few real parts may or may not help across it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from tubepet import io, layout, rng
from tubepet.errors import InputError
from tubepet.pod.design import Planned
from tubepet.pod.parts import Bench
from tubepet.types import Scanner

SIMULATED, REAL = "simulated", "real"  # roles of parts to learn from


@dataclass(frozen=True)
class Reality:
    """How reality differs (config section `reality`).

    Attributes
    ----------
    efficiency_spread : float
        Standard deviation of the crystals' efficiencies, 0 to 0.25. They are even between 1 and
        what gives this spread.
    dead_share : float
        Share of crystals without any signal.
    shift_mm : float
        Standard deviation of a part's place along each axis.
    source : str
        As config key `simulate.source`.
    lutetium : bool
        As config key `simulate.lutetium`.
    """

    efficiency_spread: float
    dead_share: float
    shift_mm: float
    source: str
    lutetium: bool


def efficiencies(scanner: Scanner, reality: Reality, seed: int) -> pd.DataFrame:
    """Draw the crystals: columns crystal, efficiency and is_dead, on top of what is configured.

    Raises
    ------
    InputError
        If crystals are read out in blocks, for which efficiencies are not modelled.
    """
    if tuple(scanner.readout_block) != (1, 1):
        raise InputError(
            f"scanner.readout_block: got {list(scanner.readout_block)}, expected [1, 1] for the "
            "target few_real: efficiencies of crystals are not modelled with blocks"
        )
    random, num = rng.stream(seed, "reality", "crystals"), scanner.num_crystals
    lowest = 1 - np.sqrt(12) * reality.efficiency_spread  # of even numbers with this spread
    every = np.arange(num)
    known = layout.efficiencies(scanner)
    efficiency = random.uniform(lowest, 1, num) * np.where(known > 0, known, 1)
    is_dead = np.isin(every, random.permutation(num)[: round(reality.dead_share * num)])
    is_dead |= known == 0
    return pd.DataFrame({"crystal": every, "efficiency": efficiency, "is_dead": is_dead})


def displaced(plan: Sequence[Planned], shift_mm: float, seed: int) -> list[Planned]:
    """Put each part beside where it should be."""
    return [
        part._replace(
            shift_mm=tuple(rng.stream(seed, "reality", part.name, "place").normal(0, shift_mm, 3))
        )
        for part in plan
    ]


def real_bench(bench: Bench, reality: Reality, efficiencies_path: str) -> Bench:
    """Return the bench of reality: other acquisitions, calibrated as the simulation."""
    source = {**bench.source, "particle": reality.source, "has_lutetium": reality.lutetium}
    crystals = io.read_table(efficiencies_path)
    dead = crystals.loc[crystals["is_dead"], "crystal"].tolist()
    real_scanner = replace(bench.scanner, efficiencies=efficiencies_path, dead_crystals=dead)
    return replace(bench, source=source, real_scanner=real_scanner)
