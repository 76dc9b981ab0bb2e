"""Draw cross sections of tubes on the pixels of the image, with labels of their defects.

A drawing follows from the geometry alone, without a simulation, and takes milliseconds. It tells
what is true in a reconstructed slice, and it is the input of generators that make images of given
tubes.
"""

import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from tubepet import io
from tubepet.constants import FWHM_PER_SIGMA
from tubepet.errors import InputError
from tubepet.phantom.geometry import FLUID, Sampled, defect_half_length_mm, materials
from tubepet.phantom.spec import Tube, draw_tube

# Sample points per voxel across and along: 3 x 3 x 2 make 18. The blurred image differs by at most
# a per cent from that with 6 and 4 (test_drawing.py).
SAMPLES_ACROSS, SAMPLES_ALONG = 3, 2
REACH = 2.0  # standard deviations of the resolution; what lies farther along z is neglected
MAX_INDEX = 10**6  # a tube's family and defect follow from the number in its name: it is random
MOST_OF_GRID = 4096  # pixels, slices and mm, larger than any image here
CHUNK = 8  # planes sampled at once, which bounds the memory


@dataclass(frozen=True)
class SliceGrid:
    """The pixels of the slices of an image. Slices are square, with the tube's axis in the middle.

    Attributes
    ----------
    num_pixels : int
        Along x and along y.
    pixel_mm, slice_mm : float
        Size of a voxel across and along.
    fwhm_mm : float
        Resolution of the image, the same in all directions. Below `pixel_mm` it counts as that.
    filter_fwhm_mm : float
        FWHM of the Gaussian filter at the end of the reconstruction; `fwhm_mm` includes it.
    """

    num_pixels: int
    pixel_mm: float
    slice_mm: float
    fwhm_mm: float
    filter_fwhm_mm: float

    @property
    def filter_px(self) -> float:
        """Standard deviation of the reconstruction's last filter, in pixels."""
        return self.filter_fwhm_mm / FWHM_PER_SIGMA / self.pixel_mm


@dataclass(frozen=True)
class Drawings:
    """What is true in slices of one tube.

    Attributes
    ----------
    fluid : float32 array, shape (n, H, W)
        Volume fraction of fluid in each voxel. Activity is this times the concentration.
    expected : float32 array, shape (n, H, W)
        `fluid` at the resolution of the image, without noise.
    defect : uint8 array, shape (n, H, W)
        1 where the defect changes the material of a sample point of the voxel.
    fluid_change_mm3 : float64 array, shape (n,)
        Volume of fluid that the defect adds to the slice. It is positive for pit, groove, crack and
        inner thinning, negative for inclusion and bubble, and 0 for outer thinning, which no image
        shows.
    end_mm : float64 array, shape (n,)
        Distance of the slice's middle from the nearer end of the fluid; negative beyond it.
    """

    fluid: NDArray[np.float32]
    expected: NDArray[np.float32]
    defect: NDArray[np.uint8]
    fluid_change_mm3: NDArray[np.float64]
    end_mm: NDArray[np.float64]


def draw_slices(tube: Tube | Sampled, z_mm: NDArray[np.float64], grid: SliceGrid) -> Drawings:
    """Draw cross sections of a tube.

    Parameters
    ----------
    tube : Tube or Sampled
    z_mm : float64 array, shape (n,)
        Centres of the slices, in any order.
    grid : SliceGrid

    Returns
    -------
    Drawings
    """
    z_mm = np.asarray(z_mm, np.float64)
    step_mm = grid.slice_mm / SAMPLES_ALONG
    sigma_mm = max(grid.fwhm_mm, grid.pixel_mm) / FWHM_PER_SIGMA
    reach = max(math.ceil(REACH * sigma_mm / step_mm), math.ceil(SAMPLES_ALONG / 2))
    offset_mm = (np.arange(-reach, reach) + 0.5 * (SAMPLES_ALONG % 2 == 0)) * step_mm
    is_slice = np.abs(offset_mm) < grid.slice_mm / 2
    weight = np.exp(-0.5 * (offset_mm / sigma_mm) ** 2)
    weight /= weight.sum()

    places = (z_mm[:, None] + offset_mm).round(6)  # (n, offsets), shared between neighbours
    planes_mm, index = np.unique(places.astype(np.float64), return_inverse=True)
    index = index.reshape(places.shape)
    fluid, changed, gained = _planes(tube, planes_mm, grid)
    volume_mm3 = grid.pixel_mm**2 * grid.slice_mm / SAMPLES_ALONG
    blurred = np.einsum("k,nkyx->nyx", weight.astype(np.float32), fluid[index])
    for axis in (1, 2):
        blurred = gaussian_filter1d(
            blurred, sigma_mm / grid.pixel_mm, axis=axis, mode="constant", truncate=3.0
        )
    inside = index[:, is_slice]
    return Drawings(
        fluid=fluid[inside].mean(axis=1),
        expected=blurred.astype(np.float32),
        defect=np.asarray(changed[inside].any(axis=1), np.uint8),
        fluid_change_mm3=gained[inside].sum(axis=1) * volume_mm3,
        end_mm=tube.length_mm / 2 - np.abs(z_mm),
    )


def _planes(
    tube: Tube | Sampled, planes_mm: NDArray[np.float64], grid: SliceGrid
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Return, for each of p planes, what `Drawings` averages over the planes of a slice.

    These are the share of fluid (p, H, W), where the defect changes the material (p, H, W), and the
    fluid that it adds (p,), in pixels.
    """
    num, size = grid.num_pixels, grid.num_pixels * SAMPLES_ACROSS
    place = (np.arange(size) - (size - 1) / 2) * grid.pixel_mm / SAMPLES_ACROSS
    fluid = np.empty((len(planes_mm), num, num), np.float32)
    changed = np.zeros((len(planes_mm), num, num), np.bool_)
    gained = np.zeros(len(planes_mm))
    blocks = (-1, num, SAMPLES_ACROSS, num, SAMPLES_ACROSS)
    for start in range(0, len(planes_mm), CHUNK):
        part = slice(start, start + CHUNK)
        points = (place[None, None, :], place[None, :, None], planes_mm[part, None, None])
        made, whole = (
            materials(tube, *points) if isinstance(tube, Tube) else tube.materials(*points)
        )
        fluid[part] = (made == FLUID).reshape(blocks).mean(axis=(2, 4), dtype=np.float32)
        if tube.defect != "none":
            changed[part] = (made != whole).reshape(blocks).any(axis=(2, 4))
            more = (made == FLUID).sum(axis=(1, 2)) - (whole == FLUID).sum(axis=(1, 2))
            gained[part] = more / SAMPLES_ACROSS**2
    return fluid, changed, gained


def boxes_px(defect: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the box of each mask (n, H, W): x low, y low, x high, y high, shape (n, 4).

    Numbers are edges of pixels: pixel i reaches from i to i + 1. All are 0 for an empty mask.
    """
    boxes = np.zeros((len(defect), 4), np.int64)
    for i, mask in enumerate(defect):
        y, x = np.nonzero(mask)
        if len(x):
            boxes[i] = x.min(), y.min(), x.max() + 1, y.max() + 1
    return boxes


def label_table(drawings: Drawings, grid: SliceGrid) -> pd.DataFrame:
    """Return the labels of each slice.

    Returns
    -------
    DataFrame
        is_cut: whether the defect reaches the slice; x_low_px, y_low_px, x_high_px, y_high_px: its
        box, see `boxes_px`; x_low_mm .. y_high_mm: the same in mm from the middle of the image;
        fluid_change_mm3, end_mm: see `Drawings`.
    """
    boxes = boxes_px(drawings.defect)
    is_cut = np.asarray(drawings.defect.any(axis=(1, 2)))
    sides = ("x_low", "y_low", "x_high", "y_high")
    boxes_mm = (boxes - grid.num_pixels / 2) * grid.pixel_mm * is_cut[:, None]
    pixels = {f"{side}_px": boxes[:, i] for i, side in enumerate(sides)}
    lengths = {f"{side}_mm": boxes_mm[:, i] for i, side in enumerate(sides)}
    rest = {name: getattr(drawings, name) for name in ("fluid_change_mm3", "end_mm")}
    return pd.DataFrame({"is_cut": is_cut} | pixels | lengths | rest)


def slice_labels(
    tube: Tube, z_mm: NDArray[np.float64], drawings: Drawings, grid: SliceGrid
) -> pd.DataFrame:
    """Return the labels of slices of one tube, wherever it is from.

    Returns
    -------
    DataFrame
        family, defect, z_mm, defect_size_mm (0 without a defect), and the columns of `label_table`.
    """
    size_mm = tube.defect_size_mm if tube.defect != "none" else 0.0
    facts = {"family": tube.family, "defect": tube.defect, "z_mm": z_mm, "defect_size_mm": size_mm}
    return pd.concat([pd.DataFrame(facts), label_table(drawings, grid)], axis=1)


def draw_dataset(
    paths: Mapping[str, str | os.PathLike[str]],
    table: pd.DataFrame,
    tubes: Mapping[str, Tube | Sampled],
    grid: SliceGrid,
) -> pd.DataFrame:
    """Draw every slice of the dataset, tube by tube.

    Parameters
    ----------
    paths : mapping
        `.npy` files to write: fluid and expected (float32), defect (uint8), all of shape (N, H, W),
        with one image per row of `table`; see `Drawings`.
    table : DataFrame
        ``slices.parquet``: the slices of a tube in consecutive rows.
    tubes : mapping of Tube or Sampled
        By name, as they were simulated.
    grid : SliceGrid

    Returns
    -------
    DataFrame
        i_slice, tube, and the columns of `label_table`.
    """
    labels, shape = [], (len(table), grid.num_pixels, grid.num_pixels)
    kinds = {"fluid": "<f4", "expected": "<f4", "defect": "|u1"}
    with ExitStack() as files:
        appends = {n: files.enter_context(io.open_stack(paths[n], shape, kinds[n])) for n in kinds}
        for name, rows in table.groupby("tube", sort=False):
            drawn = draw_slices(tubes[str(name)], rows["z_mm"].to_numpy(), grid)
            for kind, append in appends.items():
                for image in getattr(drawn, kind):
                    append(image)
            labels.append(label_table(drawn, grid))
    return pd.concat([table[["i_slice", "tube"]], pd.concat(labels, ignore_index=True)], axis=1)


@dataclass(frozen=True)
class Population:
    """The tubes and slices that a data set is drawn from; new ones can be drawn from it too.

    Attributes
    ----------
    phantom : mapping
        Config section `phantom`: families, defects, ranges.
    grid : SliceGrid
    num_slices : int
        Slices of an image along z; the middle of the image is at z = 0.
    margin_mm : float
        Slices are at least this far inside the ends of a tube.
    """

    phantom: Mapping[str, Any]
    grid: SliceGrid
    num_slices: int
    margin_mm: float

    @property
    def all_mm(self) -> NDArray[np.float64]:
        """Return z of all slices of an image."""
        place = np.arange(self.num_slices, dtype=np.float64) - (self.num_slices - 1) / 2
        return np.asarray(place * self.grid.slice_mm, np.float64)

    def places_mm(self, tube: Tube) -> NDArray[np.float64]:
        """Return z of the slices that a data set takes from this tube."""
        return self.all_mm[np.abs(self.all_mm) <= tube.length_mm / 2 - self.margin_mm]

    def draw_volume(self, tube: Tube) -> NDArray[np.float32]:
        """Draw the fluid of a tube on all slices of an image, shape (nz, ny, nx)."""
        return draw_slices(tube, self.all_mm, self.grid).fluid


def read_population(facts: Mapping[str, Any]) -> Population:
    """Return the population that JSON describes (`dataclasses.asdict`); other keys are ignored.

    Raises
    ------
    InputError
        If a number of its grid is not finite, not above 0, or larger than any image's.
    """
    grid = SliceGrid(**facts["grid"])
    for name, value in {**vars(grid), "num_slices": facts["num_slices"]}.items():
        is_number = isinstance(value, int | float) and 0 <= value <= MOST_OF_GRID
        if not is_number or (value == 0 and name != "filter_fwhm_mm"):  # there may be no filter
            raise InputError(
                f"population: {name} got {value!r:.60}, expected above 0, at most {MOST_OF_GRID}"
            )
    return Population(
        phantom=facts["phantom"],
        grid=grid,
        num_slices=facts["num_slices"],
        margin_mm=facts["margin_mm"],
    )


def draw_new(
    population: Population, num: int, rng: np.random.Generator, wanted: Mapping[str, Any]
) -> tuple[Drawings, pd.DataFrame, list[Tube]]:
    """Draw one slice of each of `num` new tubes.

    Parameters
    ----------
    population : Population
    num : int
        At least 1.
    rng : numpy Generator
    wanted : mapping
        Fields of `Tube` to fix: family, defect, defect_size_mm, defect_z_mm, defect_deg, .. The
        rest is drawn from the ranges. If a defect is asked for, every slice crosses it. Otherwise
        slices are anywhere along the tube, as in the data set.

    Returns
    -------
    Drawings
        n = `num`.
    DataFrame
        See `slice_labels`.
    list of Tube
        The tubes.

    Raises
    ------
    InputError
        If a wanted value is unknown or impossible, or no slice crosses the defect.
    """
    if num < 1:
        raise InputError(f"number of slices: got {num}, expected at least 1")
    drawn, tables, tubes = [], [], []
    for _ in range(num):
        name, seed = f"tube_{rng.integers(MAX_INDEX)}", int(rng.integers(2**31))
        tube = draw_tube(name, population.phantom, wanted, seed, where="wanted")
        drawing, z_mm = _draw_one(tube, population, rng, "defect" in wanted)
        tables.append(slice_labels(tube, np.array([z_mm]), drawing, population.grid))
        drawn.append(drawing)
        tubes.append(tube)
    names = [field.name for field in fields(Drawings)]
    drawings = Drawings(*(np.concatenate([getattr(one, n) for one in drawn]) for n in names))
    return drawings, pd.concat(tables, ignore_index=True), tubes


def _draw_one(
    tube: Tube, population: Population, rng: np.random.Generator, is_defect_wanted: bool
) -> tuple[Drawings, float]:
    """Draw a slice of the tube at a random place; it crosses the defect if one is wanted."""
    places_mm = rng.permutation(population.places_mm(tube))
    must_cut = is_defect_wanted and tube.defect != "none"
    if must_cut:
        reach_mm = defect_half_length_mm(tube) + population.grid.slice_mm / 2
        places_mm = places_mm[np.abs(places_mm - tube.defect_z_mm) < reach_mm]
    for z_mm in places_mm:
        drawing = draw_slices(tube, np.array([z_mm]), population.grid)
        if not must_cut or drawing.defect.any():
            return drawing, float(z_mm)
    raise InputError(
        f"wanted: got a {tube.family} tube with defect {tube.defect} of "
        f"{tube.defect_size_mm if must_cut else 0:g} mm at z {tube.defect_z_mm:g} mm, expected one "
        f"that a slice at least {population.margin_mm:g} mm inside the tube's ends crosses"
    )
