"""From energy deposits to coincidences: readout, energy and time blur, window, sorter.

Simplified: no light transport. All digitizers after the hits are attached to the world, which is
the same and sets up faster. A scanner with blocks, pile-up or dead time ends here with the readout;
`tubepet.simulate.fast.electronics` does the rest. GATE has actors for pile-up and dead time, but
they want a volume for each block, and each of a chain loses its last microsecond.
"""

from typing import Any

from tubepet.constants import PHOTON_KEV
from tubepet.simulate.coincidences import SCATTER_PROCESSES
from tubepet.simulate.geant4.objects import OBJECT
from tubepet.types import Scanner


def add_digitizer(
    sim: Any,
    units: Any,
    scanner: Scanner,
    delay_ns: float,
    singles_file: str,
    coincidences_file: str,
    crystals: list[str],
) -> None:
    """Add the chain that writes the trees `Singles`, `Coincidences` and `Delayed`.

    With electronics (`Scanner.has_electronics`) it writes the tree `Readout`, to the first file.

    Scatter truth: each photon counts its Compton and Rayleigh interactions in the object
    (branches ``n_compt1`` and so on).

    Parameters
    ----------
    sim : opengate.Simulation
    units : Box
        ``opengate.g4_units``.
    scanner : Scanner
    delay_ns : float
        Start of the delayed window after each single, ns: pairs in it are random, and as many as
        the randoms among the coincidences.
    singles_file, coincidences_file : str
        ROOT files, relative to the simulation's output folder; the latter holds two trees.
    crystals : list of str
        Names of the volumes of crystals.
    """
    counters = []
    for process in SCATTER_PROCESSES:
        counter = sim.activate_auxiliary_attribute(
            "ProcessDefinedStepInVolumeAttribute", f"n_{process}"
        )
        counter.process_name = process
        counter.volume_name = OBJECT
        counter.propagate_from_parent_track = True
        counters.append(counter.name)

    hits = _add(sim, "DigitizerHitsCollectionActor", "Hits", crystals)
    hits.attributes = [
        "EventID", "EventPosition", "PostPosition", "TotalEnergyDeposit", "GlobalTime",
        "PreStepUniqueVolumeID", *counters,
    ]  # fmt: skip

    pulses_file = singles_file if scanner.has_electronics else ""
    readout = _add(sim, "DigitizerReadoutActor", "Readout", "world", pulses_file)
    readout.input_digi_collection = "Hits"
    readout.group_volume = crystals[0]
    readout.discretize_volume = crystals[0]
    readout.policy = "EnergyWinnerPosition"
    if scanner.has_electronics:
        return

    energy = _add(sim, "DigitizerBlurringActor", "EnergyBlur", "world")
    energy.input_digi_collection = "Readout"
    energy.blur_attribute = "TotalEnergyDeposit"
    energy.blur_method = "InverseSquare"
    energy.blur_resolution = scanner.energy_resolution
    energy.blur_reference_value = PHOTON_KEV * units.keV

    time = _add(sim, "DigitizerBlurringActor", "TimeBlur", "world")
    time.input_digi_collection = "EnergyBlur"
    time.blur_attribute = "GlobalTime"
    time.blur_method = "Gaussian"
    time.blur_fwhm = scanner.single_fwhm_ps * 1e-3 * units.ns

    window = _add(sim, "DigitizerEnergyWindowsActor", "EnergyWindow", "world", singles_file)
    window.input_digi_collection = "TimeBlur"
    low_kev, high_kev = scanner.energy_window_kev
    window.channels = [{"name": "Singles", "min": low_kev * units.keV, "max": high_kev * units.keV}]

    for tree, offset_ns in (("Coincidences", 0.0), ("Delayed", delay_ns)):
        sorter = _add(sim, "CoincidenceSorterActor", tree, "world", coincidences_file)
        sorter.input_digi_collection = "Singles"
        sorter.window = scanner.coincidence_window_ns * units.ns
        sorter.offset = offset_ns * units.ns
        sorter.multiples_policy = "TakeAllGoods"
        sorter.min_transaxial_distance = scanner.min_transaxial_distance_mm * units.mm


def _add(sim: Any, kind: str, name: str, volume: str | list[str], output_file: str = "") -> Any:
    """Add a digitizer; it writes to disk only if it is given a file."""
    actor = sim.add_actor(kind, name)
    actor.attached_to = volume
    actor.authorize_repeated_volumes = True
    if output_file:
        actor.output_filename = output_file
    else:
        actor.root_output.write_to_disk = False
    return actor
