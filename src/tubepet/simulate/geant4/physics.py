"""Settings of Geant4's physics: the list, tables, production cuts, fluorescence, positrons.

Why the cuts of the crystals are what they are: `tubepet.validate.convergence` measures how the
counts move with them (docs/transport.md).
"""

from typing import Any

# Electrons that would go less far deposit where they are made. In the crystals of 4 mm, electrons
# that leave one take counts out of the window; elsewhere nothing depends on them.
CRYSTAL_CUT_MM = 0.02
OTHER_CUT_MM = 1.0
# The default of 7 leaves up to 5 % in the photoelectric cross section of LYSO between 200 and
# 400 keV: Geant4's spline through few energies errs behind the model's first one, 200 keV.
BINS_PER_DECADE = 20
# Electrons and positrons lose at most this share of their range in a step, until 1 um is left: a
# third of the share changes the mean distance of F18 in water by -0.6 +- 0.8 %, ten times by -8 %.
STEP_FUNCTION = "0.01 1 um"
# These lists scatter photons on free electrons at rest. The models of option 3 bind them (few small
# angles, and vacancies that give X-rays), and let electrons step up to the faces of the crystals.
# The cross section is the same.
FREE_ELECTRON_LISTS = (
    "G4EmStandardPhysics",
    "G4EmStandardPhysics_option1",
    "G4EmStandardPhysics_option2",
)
BOUND_ELECTRONS = "/process/em/AddEmRegion DefaultRegionForTheWorld G4EmStandard_opt3"


def set_physics(
    sim: Any, units: Any, physics_list: str, crystal_cut_mm: float, crystals: list[str]
) -> None:
    """Set all but the positrons (see `set_positrons`).

    Parameters
    ----------
    sim : opengate.Simulation
        With the volumes of crystals.
    units : Box
        ``opengate.g4_units``.
    physics_list : str
        Name of a Geant4 physics list.
    crystal_cut_mm : float
        Production cut of photons and electrons in the crystals, as a range.
    crystals : list of str
        Names of their volumes.
    """
    manager = sim.physics_manager
    manager.physics_list_name = physics_list
    sim.g4_commands_before_init.append(f"/process/em/binsPerDecade {BINS_PER_DECADE}")
    if physics_list in FREE_ELECTRON_LISTS:
        sim.g4_commands_before_init.append(BOUND_ELECTRONS)
    manager.global_production_cuts.all = OTHER_CUT_MM * units.mm
    for particle in ("gamma", "electron", "positron"):
        for volume in crystals:
            manager.set_production_cut(volume, particle, crystal_cut_mm * units.mm)
    # characteristic X-rays of a crystal's atoms can leave it; their Auger electrons cannot
    manager.em_parameters.fluo = True
    manager.em_parameters.auger = False
    manager.em_switches_world.update(deex=True, auger=False, pixe=False)


def set_positrons(sim: Any, units: Any, materials: list[str]) -> None:
    """Let positrons go as far as they do, and their pairs be not quite collinear, as in water.

    The list's own steps are too long: a positron whose range is below the distance to the next
    surface goes there in one step, turned but not displaced sideways, and ends 20 % too near.
    Geant4's default pairs are collinear. Its model after Allison gives the electron of water the
    momentum that makes the angle, if the material states its energy per ion pair; with 5 eV
    (opengate's test079) it comes to 0.48 degrees FWHM in each plane (tests/validation).
    """
    sim.g4_commands_before_init.append("/process/em/setPositronAtRestModel Allison")
    sim.g4_commands_before_init.append(f"/process/eLoss/StepFunction {STEP_FUNCTION}")
    for name in materials:
        # Geant4's air and aluminium are as they come; a part's own materials are as water
        if name not in ("G4_AIR", "G4_Al"):
            sim.physics_manager.mean_energy_per_ion_pair[name] = 5.0 * units.eV
