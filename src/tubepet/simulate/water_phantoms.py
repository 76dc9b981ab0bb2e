"""Phantoms of water with known activity, and their acquisitions by the fast engine."""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tubepet import io, rng
from tubepet.phantom import maps
from tubepet.phantom.geometry import Filling
from tubepet.simulate import sources
from tubepet.simulate.coincidences import read_coincidences, read_delayed
from tubepet.simulate.fast import transport
from tubepet.types import Grid, Listmode, Scanner, Volume

Array = NDArray[np.float64]

AIR, FLUID = 0, 1


@dataclass(frozen=True)
class Engine:
    """What all acquisitions share.

    Attributes
    ----------
    scanner : Scanner
    delay_ns : float
    seed : int
    num_threads : int
    """

    scanner: Scanner
    delay_ns: float
    seed: int
    num_threads: int


class Phantom(NamedTuple):
    """What is simulated, on one grid.

    Attributes
    ----------
    labels : Volume of uint8
        0 air, then `fillings`; without fillings 1 water, 2 aluminium.
    activity : Volume
        Bq/mm3.
    mu : Volume
        Attenuation at 511 keV, 1/mm.
    """

    labels: Volume
    activity: Volume
    mu: Volume
    fillings: tuple[Filling, ...] = ()


def acquire(
    engine: Engine, name: str, phantom: Phantom, duration_s: float
) -> tuple[Listmode, Listmode]:
    """Simulate one acquisition by the fast engine: prompts and delayed pairs.

    Parameters
    ----------
    name : str
        Name of the random stream.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / part for part in ("labels.nii.gz", "activity.nii.gz", "c.root")]
        io.write_volume(paths[0], phantom.labels)
        io.write_volume(paths[1], phantom.activity)
        seed = rng.derived_seed(engine.seed, "phantoms", name)
        transport.simulate(
            name,
            sources.tube_source(
                paths[0], paths[1], phantom.labels.grid, [one._asdict() for one in phantom.fillings]
            ),
            sources.total_activity_bq(phantom.activity), duration_s, engine.scanner, seed,
            engine.num_threads, paths[2], engine.delay_ns, "cpu",
        )  # fmt: skip
        return read_coincidences(paths[2], engine.scanner), read_delayed(paths[2], engine.scanner)


def painted(
    radius_mm: float, length_mm: float, x_mm: float, voxel_mm: float,
    activity: Callable[[Array, Array, Array], Array],
    is_air: Callable[[Array, Array, Array], NDArray[np.bool_]],
) -> Phantom:  # fmt: skip
    """Paint a water cylinder along z around (x_mm, 0).

    Parameters
    ----------
    activity : function of x, y, z (mm, relative to the cylinder's middle)
        Bq/mm3 inside the cylinder.
    is_air : function of the same
        Where there is air instead of water.
    """
    num = int(np.ceil(2 * radius_mm / voxel_mm)) + 2
    shape = (round(length_mm / voxel_mm) + 2, num, num)
    centred = Grid.centred(shape, (voxel_mm,) * 3)
    origin = (centred.origin_mm[0], centred.origin_mm[1], centred.origin_mm[2] + x_mm)
    grid = Grid(shape, centred.voxel_mm, origin)
    z, y, x = np.meshgrid(*centred.axes_mm(), indexing="ij")
    inside = (np.hypot(x, y) < radius_mm) & (np.abs(z) < length_mm / 2)
    water = inside & ~is_air(x, y, z)
    values = np.where(water, activity(x, y, z), 0.0).astype(np.float32)
    mu = np.where(water, maps.MU_WATER_PER_MM, 0.0).astype(np.float32)
    labels = np.where(water, FLUID, AIR).astype(np.uint8)
    return Phantom(Volume(labels, grid), Volume(values, grid), Volume(mu, grid))


def grid_within(half_width_mm: float, half_length_mm: float, voxel_mm: float) -> Grid:
    """Return the grid of cubic voxels within an image; an even number of them along each axis."""
    nz, nx = (2 * math.floor(half / voxel_mm) for half in (half_length_mm, half_width_mm))
    return Grid.centred((nz, nx, nx), (voxel_mm,) * 3)


def in_air(activity: Volume) -> Phantom:
    """Return activity (Bq/mm3) with nothing around it."""
    nothing = np.zeros(activity.array.shape, np.float32)
    labels = Volume(nothing.astype(np.uint8), activity.grid)
    return Phantom(labels, activity, Volume(nothing, activity.grid))


def centred_onto(volume: Volume, grid: Grid) -> Array:
    """Put a volume into the middle of a larger grid of the same voxels and the same centre."""
    padding = []
    for large, small in zip(grid.shape, volume.grid.shape, strict=True):
        assert large >= small and (large - small) % 2 == 0
        padding.append(((large - small) // 2,) * 2)
    return np.pad(volume.array.astype(np.float64), padding)
