"""Model an acquisition: how many counts every line of response (LOR) is expected to have."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tubepet import rng
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct.algorithms import em
from tubepet.reconstruct.background import detection, paths, randoms, scatter, tail_fit
from tubepet.reconstruct.problem import Acquisition, Instrument, Measurement, Settings
from tubepet.reconstruct.projection import blur
from tubepet.reconstruct.projection.lines import Lines, tof_table
from tubepet.reconstruct.projection.sensitivity import attenuated_sensitivity
from tubepet.reconstruct.scanner import checks, geometry, lors, time_of_flight
from tubepet.reconstruct.scanner.crystals import (
    Crystals,
    ends_mm,
    is_coincidence,
    numbered_pairs,
    pair_areas_mm2,
)
from tubepet.reconstruct.scanner.lors import Cylinder
from tubepet.types import Listmode, Volume

# Draft images from which scatter is simulated, and from how many points. Scatter is smooth and
# follows the total activity, which few iterations settle: so many more for each draft. The first
# serves the second only.
SCATTER_POINTS = 32, paths.NUM_POINTS
SCATTER_ITERATIONS = 2
# For crystals in any arrangement, the background of all lines is estimated from so many pairs.
NUM_SOME_PAIRS = 100_000


def any_scanner(
    name: str | Path, lines: Lines, sensitivity: Volume, duration_s: float
) -> Acquisition:
    """Model lines of any scanner, without a background: scatter and randoms stay in the image.

    Parameters
    ----------
    name : str or Path
        The file of the lines, for errors.
    sensitivity : Volume
        Sensitivity with attenuation, mm3 (`sensitivity.of_pairs`).

    Raises
    ------
    InputError
        If no line crosses the image, or one crosses only voxels of sensitivity 0.
    """
    is_used = lines.forward(np.ones(lines.grid.shape)) > 0
    log.info("%d coincidences in, %d through the image", len(lines), is_used.sum())
    if not is_used.any():
        raise InputError(
            f"{name}: no line crosses the image, expected lines in mm about its middle"
        )
    lines = lines.part(np.flatnonzero(is_used))
    is_seen = (sensitivity.array > 0).astype(np.float64)
    num_blind = int((lines.forward(is_seen) <= 0).sum())
    if num_blind:
        raise InputError(
            f"{name}: got {num_blind} events on lines where the sensitivity is 0, expected the "
            "scanner of these events (or more --pairs)"
        )
    seen = duration_s * sensitivity.array.astype(np.float64)
    return Acquisition(lines, seen, np.full(lines.grid.shape, len(lines) / seen.sum()))


@dataclass(frozen=True)
class _Prepared:
    """The model of an acquisition before its scatter is added."""

    measured: Measurement  # its events are those of the lines, in their order
    lines: Lines  # their background lacks scatter; in counts, with time of flight per mm
    background_counts: float
    scale_mm2_s: NDArray[np.float64]  # m_i of `em`
    sensitivity_s: NDArray[np.float64]

    def scale(self, activity: NDArray[np.float64], scattered: float) -> float:
        """Return the factor by which an activity and its scatter explain the counts."""
        num = max(len(self.lines) - self.background_counts, 0.0)
        return num / (float((self.sensitivity_s * activity).sum()) + scattered)

    def model(self, scattered: NDArray[np.float64] | float, total: float) -> Acquisition:
        """Return the model with scatter, in counts: of every line, and in total."""
        counts, background_counts = self.lines.additive + scattered, self.background_counts + total
        level = max(len(self.lines) - background_counts, 1.0) / self.sensitivity_s.sum()
        return Acquisition(
            replace(self.lines, additive=counts / self.scale_mm2_s),
            self.sensitivity_s,
            np.full(self.lines.grid.shape, level),
            background_counts,
            float(np.log(self.scale_mm2_s).sum()) - background_counts,
        )


def model_acquisition(
    measured: Measurement, instrument: Instrument, settings: Settings
) -> Acquisition:
    """Model every LOR of an acquisition of unknown activity.

    Raises
    ------
    InputError
        If events or attenuation cannot belong to this scanner or any object.
    """
    prepared = _prepared(measured, instrument, settings)
    model = prepared.model(0.0, 0.0)
    if measured.delayed is None or len(model.lines) == 0:
        return model
    draft, image = Settings(SCATTER_ITERATIONS, psf=settings.psf), model.start
    seen_kev = _seen_kev(instrument)
    for num_points in SCATTER_POINTS:
        image, _ = em.iterate(replace(model, start=image), draft)
        activity = Volume(image, instrument.grid)
        counts, total = _scattered(
            activity, seen_kev, prepared.measured, instrument, settings, num_points
        )
        # The draft explains what the last scatter left unexplained. Both are scaled together:
        # otherwise a strongly scattering object oscillates about the solution.
        scale = prepared.scale(blur.blurred(image, instrument.grid, settings.psf), total)
        model = prepared.model(scale * counts, scale * total)
    log.info("%.1f randoms and %.1f scattered", prepared.background_counts, scale * total)
    checks.check_meets("attenuation map", measured.mu, model.lines, model.background_counts)
    return model


def model_known(
    measured: Measurement, instrument: Instrument, settings: Settings, activity: Volume
) -> tuple[Acquisition, float]:
    """Model every LOR of an acquisition whose activity is known up to its scale.

    Parameters
    ----------
    activity : Volume
        Any unit; on the grid of the image.

    Returns
    -------
    Acquisition
    float
        Bq/mm3 per unit of `activity` that explains the counts. 0 without counts.

    Raises
    ------
    InputError
        As `model_acquisition`.
    """
    prepared = _prepared(measured, instrument, settings)
    if measured.delayed is None or len(prepared.lines) <= prepared.background_counts:
        return prepared.model(0.0, 0.0), prepared.scale(activity.array, 0.0)
    seen_kev = _seen_kev(instrument)
    counts, total = _scattered(activity, seen_kev, prepared.measured, instrument, settings)
    scale = prepared.scale(activity.array, total)
    log.info("%.1f randoms and %.1f scattered", prepared.background_counts, scale * total)
    return prepared.model(scale * counts, scale * total), scale


def _seen_kev(instrument: Instrument) -> NDArray[np.float64]:
    if instrument.seen_kev is None:
        return detection.detection_table(instrument.scanner)
    return instrument.seen_kev


def _prepared(measured: Measurement, instrument: Instrument, settings: Settings) -> _Prepared:
    """Check an acquisition, and model all but its scatter."""
    mu = measured.mu
    _check(measured, instrument, settings)
    measured = replace(measured, events=_allowed(measured.events, instrument))
    lines, background_counts = _lines(measured, instrument, settings)
    order = _in_order(lines, measured.events, instrument)
    lines, measured = lines.part(order), replace(measured, events=measured.events.at(order))
    checks.check_background(len(lines), background_counts)
    areas_mm2 = _areas_mm2(measured.events, instrument)
    if (areas_mm2 <= 0).any():
        raise InputError(
            f"coincidences: got {int((areas_mm2 <= 0).sum())} on crystal pairs of efficiency 0, "
            "where the sensitivity is 0 too, expected the calibration of their scanner"
        )
    through_mu = Lines(mu.grid, lines.points, lines.first, lines.second).forward(mu.array)
    scale_mm2_s = measured.duration_s * areas_mm2 * np.exp(-through_mu)
    seen = attenuated_sensitivity(instrument, mu, settings.sensitivity_stride)
    return _Prepared(measured, lines, background_counts, scale_mm2_s, measured.duration_s * seen)


def _check(measured: Measurement, instrument: Instrument, settings: Settings) -> None:
    """Refuse events, scanner, image and attenuation that do not fit each other."""
    points = ends_mm(instrument.scanner, instrument.efficiency)
    checks.check_crystals(measured.events, instrument.scanner)
    checks.check_ends("scanner", points, instrument.grid)
    checks.check_attenuation("attenuation map", measured.mu, points, instrument.grid)
    if settings.tof:
        _check_times(measured)


def _check_times(measured: Measurement) -> None:
    """Refuse time of flight without time differences, or with a background that has none."""
    times_ns = measured.events.time_difference_ns
    if measured.delayed is None:
        raise InputError(
            "time of flight: got a fitted background, expected randoms from the delayed window and "
            "simulated scatter (reconstruct.background: modelled, --randoms delayed), whose times "
            "are known"
        )
    if not np.isfinite(times_ns).all():
        raise InputError("coincidences: got NaN or infinite time differences, expected ns")
    if len(times_ns) > 1 and not times_ns.any():
        raise InputError("time of flight: all time differences are 0, expected measured ones, ns")


def _allowed(events: Listmode, instrument: Instrument) -> Listmode:
    """Leave out events of crystals that cannot be in coincidence."""
    known, scanner = instrument.efficiency, instrument.scanner
    if isinstance(known, Crystals):
        is_allowed = is_coincidence(known, events.crystal1, events.crystal2)
    else:
        is_allowed = geometry.is_allowed_step(scanner)[geometry.column_steps(events, scanner)]
    if is_allowed.all():
        return events
    log.info("%d coincidences of crystals too near to each other left out", (~is_allowed).sum())
    return events.at(is_allowed)


def _lines(
    measured: Measurement, instrument: Instrument, settings: Settings
) -> tuple[Lines, float]:
    """Lines of all events with their background, and the background of all LORs of the field.

    Both are counts; with time of flight the first is counts per mm. Scatter is missing if it is
    simulated.
    """
    events, scanner = measured.events, instrument.scanner
    if measured.delayed is not None:
        additive, total = _randoms(events, measured.delayed, instrument)
    elif isinstance(instrument.efficiency, Crystals):
        log.warning("no delayed window and no ring: scatter and randoms stay in the image")
        additive, total = np.zeros(len(events)), 0.0
    else:
        additive, total = _tail_fit(measured, instrument)
    points = ends_mm(scanner, instrument.efficiency)
    ends = points, events.crystal1, events.crystal2
    if not settings.tof:
        return settings.kind_of_lines(instrument.grid, *ends, additive), total
    tof_mm = time_of_flight.positions_mm(events.time_difference_ns).astype(np.float32)
    times = tof_mm, tof_table(time_of_flight.sigma_mm(scanner))
    additive = additive / time_of_flight.reach_mm(scanner)
    return settings.kind_of_lines(instrument.grid, *ends, additive, *times), total


def _in_order(lines: Lines, events: Listmode, instrument: Instrument) -> NDArray[np.int64]:
    """Rows of the events through the image, sorted so that neighbours touch the same voxels."""
    scanner, field = instrument.scanner, instrument.field
    is_used = replace(lines, grid=field).forward(np.ones(field.shape)) > 0
    if isinstance(instrument.efficiency, Crystals):
        rows = np.flatnonzero(is_used)
        log.info("%d coincidences in, %d through the image", len(events), len(rows))
        return rows[np.lexsort([events.crystal2[rows], events.crystal1[rows]])]
    is_used |= lines.additive > 0
    is_used &= _field(instrument).meets(lors.of_events(events, scanner))
    rows = np.flatnonzero(is_used)
    log.info("%d coincidences in, %d through the image", len(events), len(rows))
    columns = (events.crystal2 % scanner.num_columns, events.crystal1 % scanner.num_columns)
    return rows[np.lexsort([column[rows] for column in columns])]


def _areas_mm2(events: Listmode, instrument: Instrument) -> NDArray[np.float64]:
    """Area of the LOR of every event."""
    known = instrument.efficiency
    if isinstance(known, Crystals):
        return pair_areas_mm2(known, events.crystal1, events.crystal2)
    areas_mm2 = geometry.lor_areas_mm2(instrument.scanner, known)
    ring1, ring2 = geometry.rings(events, instrument.scanner)
    return areas_mm2[geometry.column_steps(events, instrument.scanner), np.abs(ring1 - ring2)]


def _field(instrument: Instrument) -> Cylinder:
    """Return the cylinder around the lines that are used."""
    return lors.enclosing_cylinder(np.ones(instrument.field.shape, bool), instrument.field)


def _tail_fit(measured: Measurement, instrument: Instrument) -> tuple[NDArray[np.float64], float]:
    """Scatter and randoms of every event's pair and of all pairs through the field, in counts."""
    events, mu, scanner = measured.events, measured.mu, instrument.scanner
    assert not isinstance(instrument.efficiency, Crystals)
    areas_mm2 = geometry.lor_areas_mm2(scanner, instrument.efficiency)
    cylinder = lors.enclosing_cylinder(mu.array > 0, mu.grid)
    fitted = tail_fit.fit_background(events, scanner, areas_mm2, cylinder)
    density = fitted.density(lors.of_events(events, scanner))
    counts = density * _areas_mm2(events, instrument)
    return counts, tail_fit.total_counts(fitted, scanner, areas_mm2, _field(instrument))


def _randoms(
    events: Listmode, delayed: Listmode, instrument: Instrument
) -> tuple[NDArray[np.float64], float]:
    """Randoms of every event's pair and of all pairs through the field, in counts."""
    checks.check_crystals(delayed, instrument.scanner)
    known = instrument.efficiency
    if isinstance(known, Crystals):
        singles = randoms.fit_crystals(delayed, known)
        first, second, scale = _some_pairs(instrument)
        total = scale * float((singles[first] * singles[second]).sum())
        return randoms.event_counts(singles, events), total
    singles = randoms.fit_singles(delayed, instrument.scanner)
    total = _through_field(randoms.lor_counts(singles, instrument.scanner), instrument)
    return randoms.event_counts(singles, events), total


def _scattered(
    image: Volume,
    seen_kev: NDArray[np.float64],
    measured: Measurement,
    instrument: Instrument,
    settings: Settings,
    num_points: int = paths.NUM_POINTS,
) -> tuple[NDArray[np.float64], float]:
    """Scatter of every event's pair and of all pairs through the field, in counts.

    With time of flight the first is counts per mm.
    """
    events, scanner, known = measured.events, instrument.scanner, instrument.efficiency
    sigma_mm = time_of_flight.sigma_mm(scanner)
    scene = scatter.scene(image, measured.mu, instrument, seen_kev, 3 if settings.tof else 1)
    if isinstance(known, Crystals):
        first, second, scale = _some_pairs(instrument)
        pairs = (
            np.concatenate([events.crystal1, first]), np.concatenate([events.crystal2, second])
        )  # fmt: skip
        sums = scatter.pair_moments(scene, pairs, num_points)
        total = scale * float(sums[0, len(events) :].sum())
        sums = sums[:, : len(events)]
        times_ns = events.time_difference_ns
        rates = scatter.densities(sums, times_ns, sigma_mm) if settings.tof else sums[0]
    else:
        moments = scatter.moments(scene, num_points)
        if settings.tof:
            rates = scatter.event_densities(moments, events, scanner, sigma_mm)
        else:
            rates = scatter.event_counts(moments[0], events, scanner)
        total = _through_field(scatter.lor_counts(moments[0], scanner), instrument)
    return measured.duration_s * rates, measured.duration_s * total


def _some_pairs(
    instrument: Instrument,
) -> tuple[NDArray[np.int32], NDArray[np.int32], float]:
    """Draw crystal pairs, keep those through the image, and say for how many each stands."""
    known = instrument.efficiency
    assert isinstance(known, Crystals)
    total = len(known) * (len(known) - 1) // 2
    numbers = rng.stream(0, "reconstruct", "pairs").integers(total, size=NUM_SOME_PAIRS)
    first, second = numbered_pairs(numbers)
    lines = Lines(instrument.field, known.points_mm, first, second)
    is_used = is_coincidence(known, first, second)
    is_used &= lines.forward(np.ones(instrument.field.shape)) > 0
    return first[is_used], second[is_used], total / NUM_SOME_PAIRS


def _through_field(counts: NDArray[np.float64], instrument: Instrument) -> float:
    """Sum a table (step, ring, ring) over the LORs that meet the field."""
    return float(counts[_field(instrument).meets(lors.of_scanner(instrument.scanner))].sum())
