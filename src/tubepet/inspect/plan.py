"""Plan a measurement: what is found at an activity and a duration, and how long a defect needs.

One acquisition of the part without any defect is simulated at the given activity, and inspected as
a measured one. It has about `REFERENCE_COUNTS`. The mean z of a defect is the root of Fisher's
information. At a constant activity all rates are constant, randoms included, so the information is
proportional to the duration. So z at any duration is that of the simulation times the root of the
ratio of durations, over the noise that is expected of errors of the model (`verdict.noise_of`).
"""

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from tubepet.errors import InputError
from tubepet.inspect import shapes
from tubepet.inspect.fit import Fitted
from tubepet.inspect.part import Part
from tubepet.inspect.score import expected_z
from tubepet.inspect.setup import SEED, Calibrated, Search
from tubepet.inspect.shapes import KIND_OF_CLASS
from tubepet.inspect.verdict import DEFECT, MISFIT, MODEL_COUNTS, Inspection
from tubepet.logs import log
from tubepet.reconstruct.problem import Measurement
from tubepet.simulate.water_phantoms import Engine, Phantom, acquire
from tubepet.types import Volume

Array = NDArray[np.float64]

REFERENCE_COUNTS = 20_000.0  # before attenuation: enough for 5 % of a z, in a few seconds
DELAY_NS = 500.0  # as the config's default
WANTED = 0.9  # probability to find a defect, mean over its places
LONGEST = 1e8  # times the simulated acquisition: what is not found by then never is
# Kinds that are no class of defect, by the class whose candidates they are among.
CLASS_OF = {"void": "bubble", "ring_groove": "groove"}
NAMES = (*KIND_OF_CLASS, *CLASS_OF)
LIMITS = (
    "the part is as drawn, but for what an inspection fits",
    "the activity stays as given: randoms grow with its square, and decay is left out",
    "the defect has a shape that is looked for",
    "the threshold stays that of the simulated acquisition",
)


@dataclass(frozen=True)
class Plan:
    """One acquisition without a defect, and what longer or shorter ones would find.

    Attributes
    ----------
    inspection : Inspection
        Inspection of the simulated acquisition.
    simulated_s : float
        Its duration.
    candidates : DataFrame
        kind, size_mm and expected_z (in the simulated acquisition) of defects all over the part.
    """

    inspection: Inspection
    simulated_s: float
    candidates: pd.DataFrame

    def coincidences(self, duration_s: float) -> float:
        """Return the expected number of coincidences through the image."""
        return len(self.inspection.fitted.rates) * duration_s / self.simulated_s

    def would_be_found(self, duration_s: float) -> pd.DataFrame:
        """Return kind, size_mm, and the probability to be found, mean over all places."""
        chance = self._chance(self.candidates["expected_z"].to_numpy(), duration_s)
        table = self.candidates.assign(probability=chance)
        by_size = table.groupby(["kind", "size_mm"], sort=False)["probability"].mean()
        return by_size.reset_index()

    def needed_s(self, expected_z: Array, wanted: float) -> float | None:
        """Return the duration in which a defect is found with a probability; None: none does.

        Parameters
        ----------
        expected_z : float64 array, shape (places,)
            z of the defect in the simulated acquisition.
        wanted : float
            Probability to be found, mean over the places.
        """

        def lacking(log_ratio: float) -> float:
            duration_s = self.simulated_s * math.exp(log_ratio)
            return float(self._chance(expected_z, duration_s).mean()) - wanted

        end = math.log(LONGEST)
        if len(expected_z) == 0 or lacking(end) < 0:
            return None
        return self.simulated_s * math.exp(float(brentq(lacking, -end, end)))

    def _chance(self, expected_z: Array, duration_s: float) -> Array:
        noise = math.sqrt(1 + self.coincidences(duration_s) / MODEL_COUNTS)
        more = math.sqrt(duration_s / self.simulated_s) / noise
        return np.asarray(norm.sf(self.inspection.threshold_z - more * expected_z))


def make_plan(part: Part, calibrated: Calibrated, search: Search, activity_bq_mm3: float) -> Plan:
    """Simulate a part without a defect, and inspect it.

    Raises
    ------
    InputError
        If no defect that is looked for can be found in `REFERENCE_COUNTS`.
    """
    rate_hz = activity_bq_mm3 * float(
        (calibrated.instrument.geometric.array * part.on_image(calibrated.instrument.grid)).sum()
    )
    simulated_s = REFERENCE_COUNTS / rate_hz
    log.info("simulating %.3g s at %g Bq/mm3", simulated_s, activity_bq_mm3)
    measured = acquired(part, calibrated, activity_bq_mm3, simulated_s)
    inspection = calibrated.inspect(measured, part, search)
    if not math.isfinite(inspection.threshold_z):
        raise InputError(
            f"--defects: got none that {len(measured.events)} coincidences of this part show, "
            "expected larger ones"
        )
    if inspection.verdict in (DEFECT, MISFIT):
        log.warning(
            "the simulated part, which has no defect, got: %s (%s); that is a false call, or the "
            "calibration is too poor", inspection.verdict, inspection.reason,
        )  # fmt: skip
    bank = shapes.bank(part, search.ranges_mm)
    return Plan(inspection, simulated_s, expected(inspection.fitted, bank))


def acquired(
    part: Part, calibrated: Calibrated, activity_bq_mm3: float, duration_s: float
) -> Measurement:
    """Simulate a part by the fast engine."""
    fluid = part.fluid
    activity = Volume((activity_bq_mm3 * fluid.array).astype(np.float32), fluid.grid)
    phantom = Phantom(part.labels, activity, part.mu, part.fillings)
    engine = Engine(calibrated.instrument.scanner, DELAY_NS, SEED, numba.get_num_threads())
    events, delayed = acquire(engine, "plan", phantom, duration_s)
    return Measurement(events, part.mu, duration_s, delayed)


def expected(fitted: Fitted, bank: shapes.Bank) -> pd.DataFrame:
    """Return kind, size_mm and expected_z of all candidates of a bank."""
    z = expected_z(fitted, bank)
    return bank.table[["kind", "size_mm"]].assign(expected_z=z)


def places_of(fitted: Fitted, part: Part, kind: str, size_mm: float) -> Array:
    """Return the expected z of one kind or class of defect, of one size, all over the part.

    Parameters
    ----------
    fitted : Fitted
        Of an acquisition without a defect.
    kind : str
        One of `NAMES`.

    Returns
    -------
    float64 array, shape (places,)
        z in this acquisition.
    """
    found = expected(fitted, _candidates(part, kind, size_mm))
    return found["expected_z"].to_numpy(np.float64)


def fits(part: Part, kind: str, size_mm: float) -> bool:
    """Whether the part has any place for a defect (one of `NAMES`) of this size."""
    return len(_candidates(part, kind, size_mm)) > 0


def _candidates(part: Part, kind: str, size_mm: float) -> shapes.Bank:
    bank = shapes.bank(part, {CLASS_OF.get(kind, kind): [size_mm, size_mm]})
    return bank.part((bank.table["kind"] == KIND_OF_CLASS.get(kind, kind)).to_numpy())


def as_json(
    plan: Plan, activity_bq_mm3: float, duration_s: float, needed: dict[str, Any] | None
) -> dict[str, Any]:
    """Return a plan as plain data."""
    inspection = plan.inspection
    return {
        "activity_bq_mm3": activity_bq_mm3,
        "duration_s": duration_s,
        "coincidences": round(plan.coincidences(duration_s)),
        "false_call_rate": inspection.false_call_rate,
        "threshold_z": inspection.threshold_z,
        "would_be_found": plan.would_be_found(duration_s).to_dict("records"),
        "needed": needed,
        "simulated": {
            "duration_s": plan.simulated_s,
            "verdict": inspection.verdict,
            "reason": inspection.reason,
        },
        "limits": list(LIMITS),
    }
