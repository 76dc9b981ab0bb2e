"""Frames: images of parts of one acquisition, each as if it had been measured alone.

The activity of frame k, start a to stop b in s since the acquisition began, is the mean over the
frame. With decay constant l = ln 2 / half life it is divided by

    (exp(-l a) - exp(-l b)) / (l (b - a))

the decay within the frame and since the start of the acquisition (Cherry, Sorenson and Phelps,
Physics in Nuclear Medicine, chapter 4, average activity).

Scatter and randoms are estimated from the events of the frame only, so that frames are independent
unless they overlap.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct import acquisition
from tubepet.types import Listmode, Scanner, Volume

Interval = tuple[float, float]  # start and stop, s
F18_HALF_LIFE_S = 6586.2  # 109.77 min, ENSDF
# Clocks of formats count in ms, and photons of the last decays arrive a little after the end.
CLOCK_S = 1e-3


def intervals(start_s: float, stop_s: float, frame_s: float, duration_s: float) -> list[Interval]:
    """Cut a part of an acquisition into frames; the last one may be shorter.

    Raises
    ------
    InputError
        If the part is empty, longer than the acquisition or shorter than a frame.
    """
    if not 0 <= start_s < stop_s <= duration_s:
        raise InputError(
            f"frames: got {start_s:g} to {stop_s:g} s, expected a part of the acquisition, 0 to "
            f"{duration_s:g} s"
        )
    span_s = stop_s - start_s
    if frame_s > span_s * (1 + 1e-9):
        raise InputError(
            f"frame_s: got {frame_s:g} s, expected at most the {span_s:g} s to be divided"
        )
    num = math.ceil(span_s / frame_s - 1e-6)  # 0.3 / 0.1 is a little less than 3
    edges = [*(start_s + k * frame_s for k in range(num)), stop_s]
    return list(itertools.pairwise(edges))


def is_within(
    time_s: NDArray[np.float64], num_events: int, duration_s: float, interval: Interval
) -> NDArray[np.bool_]:
    """Which events belong to a frame, start <= time < stop; they need not be sorted.

    Raises
    ------
    InputError
        If the times are unknown, not finite, or not of an acquisition of this duration.
    """
    if len(time_s) != num_events:
        raise InputError("frames: the events have no times, expected them in s")
    if num_events > 0:
        low_s, high_s = float(time_s.min()), float(time_s.max())
        if not (low_s >= -CLOCK_S and high_s <= duration_s + CLOCK_S):  # also if NaN
            raise InputError(
                f"frames: got events from {low_s:g} to {high_s:g} s, expected 0 to the duration, "
                f"{duration_s:g} s"
            )
    start_s, stop_s = interval
    return (time_s >= start_s) & (time_s < stop_s)


def cut(events: Listmode, duration_s: float, interval: Interval) -> Listmode:
    """Return the events of a frame; errors as `is_within`."""
    return events.at(is_within(events.time_s, len(events), duration_s, interval))


def decay_factor(interval: Interval, half_life_s: float) -> float:
    """Return the mean activity in a frame over that at the start of the acquisition.

    `half_life_s` 0: no decay.
    """
    if half_life_s == 0:
        return 1.0
    rate = math.log(2) / half_life_s
    start_s, stop_s = interval
    span = rate * (stop_s - start_s)
    return math.exp(-rate * start_s) * -math.expm1(-span) / span


def corrected(image: Volume, interval: Interval, half_life_s: float) -> Volume:
    """Divide an image by `decay_factor`."""
    array = (image.array / decay_factor(interval, half_life_s)).astype(np.float32)
    return Volume(array, image.grid, image.note)


def reconstruct(
    events: Listmode,
    scanner: Scanner,
    efficiency: NDArray[np.float64],
    geometric: Volume,
    mu: Volume,
    duration_s: float,
    frames_s: Sequence[Interval],
    half_life_s: float = F18_HALF_LIFE_S,
    delayed: Listmode | None = None,
    **settings: Any,
) -> list[Volume]:
    """Reconstruct frames of one acquisition.

    Parameters
    ----------
    events, delayed : Listmode
        Of the whole acquisition, with times.
    duration_s : float
        Of the whole acquisition.
    frames_s : sequence of (float, float)
        Start and stop of each frame, s (`intervals`); they may overlap.
    half_life_s : float
        Of the nuclide; 0: no decay, as in simulations of constant activity.
    settings
        The other parameters of `acquisition.reconstruct`.

    Returns
    -------
    list of Volume of float32
        Activity at the start of the acquisition, Bq/mm3.

    Raises
    ------
    InputError
        As `is_within` and `acquisition.reconstruct`.
    """
    images = []
    for interval in frames_s:
        log.info("frame %g to %g s", *interval)
        part = cut(events, duration_s, interval)
        part_delayed = None if delayed is None else cut(delayed, duration_s, interval)
        length_s = interval[1] - interval[0]
        fixed = (scanner, efficiency, geometric, mu, length_s)
        image, _ = acquisition.reconstruct(part, *fixed, **settings, delayed=part_delayed)
        images.append(corrected(image, interval, half_life_s))
    return images


def short_and_long(
    events: Listmode,
    scanner: Scanner,
    efficiency: NDArray[np.float64],
    geometric: Volume,
    mu: Volume,
    duration_s: float,
    short_s: float,
    **settings: Any,
) -> tuple[Volume, Volume]:
    """Reconstruct the first `short_s` of an acquisition, and the rest: a pair to learn from.

    They share no event, so that what is noise in one is not in the other. Parameters and errors as
    `reconstruct`.

    Returns
    -------
    Volume, Volume
        Short and long, Bq/mm3.
    """
    first = intervals(0.0, duration_s, short_s, duration_s)[0]
    frames_s = [first, (first[1], duration_s)]
    short, long = reconstruct(
        events, scanner, efficiency, geometric, mu, duration_s, frames_s, **settings
    )
    return short, long
