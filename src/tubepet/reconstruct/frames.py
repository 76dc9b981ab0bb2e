"""Frames: images of parts of one acquisition, each as if it had been measured alone.

A frame lasts from a to b, in s since the acquisition began. Its image shows the mean activity. The
image is divided by the decay within the frame and since the start of the acquisition,

    (exp(-l a) - exp(-l b)) / (l (b - a)),    l = ln 2 / half-life

(Cherry, Sorenson and Phelps, Physics in Nuclear Medicine, chapter 4, average activity).

Scatter and randoms are estimated from the events of the frame only. So frames are independent
unless they overlap.
"""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.types import Listmode, Volume

Interval = tuple[float, float]  # start and stop, s
# File formats count in ms, and photons of the last decays arrive a little after the end.
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


def check_times(name: object, time_s: NDArray[np.float64], duration_s: float) -> None:
    """Refuse events outside an acquisition of this duration: counts are divided by it.

    Parameters
    ----------
    name : object
        The file of the events, for errors.
    time_s : float64 array, shape (n,)
        Empty if times are unknown.
    """
    if len(time_s) == 0:
        return
    low_s, high_s = float(time_s.min()), float(time_s.max())
    if not (low_s >= -CLOCK_S and high_s <= duration_s + CLOCK_S):  # also if NaN
        raise InputError(
            f"{name}: got events from {low_s:g} to {high_s:g} s, expected 0 to the duration, "
            f"{duration_s:g} s (--duration-s; protocol.duration_s)"
        )


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
    check_times("frames", time_s, duration_s)
    start_s, stop_s = interval
    return (time_s >= start_s) & (time_s < stop_s)


def cut(events: Listmode, duration_s: float, interval: Interval) -> Listmode:
    """Return the events of a frame; errors as `is_within`."""
    return events.at(is_within(events.time_s, len(events), duration_s, interval))


def decay_factor(interval: Interval, half_life_s: float) -> float:
    """Return the mean activity in a frame over that at the start; a half-life of 0 is no decay."""
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
