"""The two engines behind one call, GATE and tubepet's own transport."""

from pathlib import Path
from typing import Any

from tubepet.errors import InputError
from tubepet.simulate.fast import transport
from tubepet.simulate.geant4 import gate
from tubepet.types import Scanner


def simulate(
    engine: str,
    name: str,
    source: dict[str, Any],
    activity_bq: float,
    duration_s: float,
    scanner: Scanner,
    physics_list: str,
    g4data_facts: dict[str, Any],
    seed: int,
    num_threads: int,
    coincidences_path: str | Path,
    *,
    particle: str,
    delay_ns: float,
    device: str,
    isotope: str = "F18",
    has_lutetium: bool = False,
) -> dict[str, Any]:
    """Simulate one acquisition; see `gate.simulate` and `transport.simulate`.

    GATE runs on one thread of a CPU; the fast engine needs no physics list and no Geant4 tables.

    Raises
    ------
    InputError
        If the engine is neither "gate" nor "fast", or cannot run.
    """
    common = (name, source, activity_bq, duration_s, scanner)
    if engine == "gate":
        return gate.simulate(
            *common, physics_list, g4data_facts, seed, coincidences_path,
            particle=particle, delay_ns=delay_ns, isotope=isotope,
            has_lutetium=has_lutetium,
        )  # fmt: skip
    if engine == "fast":
        return transport.simulate(
            *common, seed, num_threads, coincidences_path, delay_ns, device,
            particle=particle, isotope=isotope,
            has_lutetium=has_lutetium,
        )  # fmt: skip
    raise InputError(f"simulate.engine: got {engine}, expected gate or fast")
