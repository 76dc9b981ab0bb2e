"""The shape of a tube as implicit functions of position, and the voxels of any part.

A surface is a function: about the signed distance to it in mm, negative inside. All tubes lie along
z. The planes z = +-length/2 cut them; wall and fluid both end there, open. A bent tube is
straightened by its own coordinates, so that every shape is described once.

A defect of the wall takes at most `MAX_DEPTH` of its local thickness, so none breaks through. It
is filled with fluid; an outer thinning is air. An inclusion (metal) or a bubble (air) lies in the
fluid.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from tubepet.errors import InputError
from tubepet.phantom.spec import Tube
from tubepet.types import Grid

Points = NDArray[np.float64]
AIR, FLUID, ALUMINIUM = 0, 1, 2

# Chosen: deep enough to see, and what is left of a 2 mm wall is more than half a millimetre.
MAX_DEPTH = 0.7  # share of the local wall
THINNING_DEPTH = 0.5  # share of the local wall, in the middle of the patch
GROOVE_LENGTH_RATIO = 4.0  # length over width of an axial groove
CRACK_LENGTH_RATIO = 8.0  # length over width of a crack


class Filling(NamedTuple):
    """What a label of a part stands for.

    Attributes
    ----------
    material : str
        A name of `tubepet.phantom.materials.MATERIALS`.
    g_cm3 : float
    activity : float
        Share of the concentration of the run, 0 to 1.
    """

    material: str
    g_cm3: float
    activity: float


# Of tubes, in the order of their labels.
TUBE = (Filling("water", 1.0, 1.0), Filling("aluminium", 2.699, 0.0))


@dataclass(frozen=True)
class Voxels:
    """A part on its grid; what none of its fillings takes is air.

    Attributes
    ----------
    grid : Grid
        Cropped to the object as drawn, without its defect, and one voxel around it.
    shares : float32 array, shape (fillings, nz, ny, nx)
        Volume fractions, 0 to 1.
    nominal_shares : float32 array, shape (fillings, nz, ny, nx)
        The same without the defect, as the drawing has it.
    fillings : tuple of Filling
        What the labels 1, 2, .. stand for; 0 is air.
    defect_box_mm : list of [low, high] for x, y, z, or None
        Holds all that the defect changes.
    defect_volume_mm3 : float
        Volume that the defect changes.
    """

    grid: Grid
    shares: NDArray[np.float32]
    nominal_shares: NDArray[np.float32]
    fillings: tuple[Filling, ...]
    defect_box_mm: list[list[float]] | None
    defect_volume_mm3: float

    @property
    def fluid(self) -> NDArray[np.float32]:
        """Volume fractions, weighted by the fillings' shares of the activity concentration."""
        return self._weighted([one.activity for one in self.fillings])

    @property
    def wall(self) -> NDArray[np.float32]:
        """Volume fraction of what is neither active nor air."""
        return self._weighted([float(one.activity == 0) for one in self.fillings])

    def _weighted(self, weights: list[float]) -> NDArray[np.float32]:
        total = np.zeros(self.grid.shape, np.float32)
        for weight, share in zip(weights, self.shares, strict=True):
            total += np.float32(weight) * share
        return total

    def labels(self) -> NDArray[np.uint8]:
        """Return what holds most of each voxel: 0 air, then the fillings (1 fluid, 2 wall)."""
        air = 1 - self.shares[0]
        for share in self.shares[1:]:
            air = air - share
        return np.argmax([air, *self.shares], axis=0).astype(np.uint8)

    def nominal(self) -> "Voxels":
        """Return the part without its defect, on the same grid."""
        drawn = self.nominal_shares
        return Voxels(self.grid, drawn, drawn, self.fillings, None, 0.0)

    def fluid_volume_mm3(self) -> float:
        """Return the volume of the fluid, weighted as `fluid`."""
        return float(self.fluid.sum(dtype=np.float64) * self.grid.voxel_volume_mm3)


@dataclass(frozen=True)
class Sampled:
    """A part on voxels, which takes the place of a `Tube` in drawings of slices.

    Attributes
    ----------
    grid : Grid
    made, drawn : uint8 array, shape (nz, ny, nx)
        0 air, 1 fluid, 2 wall, with and without the defect.
    length_mm : float
        Along z, centred.
    defect : str
        Its class.
    """

    grid: Grid
    made: NDArray[np.uint8]
    drawn: NDArray[np.uint8]
    length_mm: float
    defect: str

    def materials(
        self, x: Points, y: Points, z: Points
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return labels with and without the defect, as the function `materials`, on a raster."""
        places = z.ravel(), y.ravel(), x.ravel()
        return nearest(self.made, self.grid, *places), nearest(self.drawn, self.grid, *places)


def nearest(
    labels: NDArray[np.uint8], grid: Grid, z: Points, y: Points, x: Points
) -> NDArray[np.uint8]:
    """Return the labels of the voxels that hold a raster of points, (nz, ny, nx); outside is 0."""
    found, is_in = [], []
    for points, size, first, num in zip(
        (z, y, x), grid.voxel_mm, grid.origin_mm, grid.shape, strict=True
    ):
        index = np.floor((points - first) / size + 0.5).astype(np.intp)
        is_in.append((index >= 0) & (index < num))
        found.append(np.clip(index, 0, num - 1))
    inside = is_in[0][:, None, None] & is_in[1][:, None] & is_in[2]
    return np.where(inside, labels[np.ix_(*found)], np.uint8(0))


def own_coordinates(tube: Tube, x: Points, y: Points, z: Points) -> tuple[Points, Points, Points]:
    """Turn scanner coordinates into the tube's own: u, v across, w along (mm).

    The centre line of a bent tube bows in the plane v = 0 by the sagitta bend_mm, from u = -bend/2
    at its ends to u = +bend/2 in its middle. Each cross section is shifted, not tilted: it stays
    round at constant z, and the tube keeps its volume (Cavalieri).
    """
    turn = math.radians(tube.orientation_deg)
    u = math.cos(turn) * x + math.sin(turn) * y
    v = math.cos(turn) * y - math.sin(turn) * x
    if tube.family == "bent":
        u = u - tube.bend_mm * (0.5 - (2 * z / tube.length_mm) ** 2)
    return u, v, z


def bore(tube: Tube, u: Points, v: Points, w: Points) -> Points:
    """Return about the distance from the inner surface of the wall, negative in the bore."""
    radius = tube.bore_radius_mm
    if tube.family == "elliptical":
        return _ellipse(u, v, radius, tube.ellipse_ratio * radius)
    if tube.family == "rounded_square":
        half, corner = _square_sizes(tube)
        return _rounded_square(u, v, half, corner)
    if tube.family == "eccentric":
        return np.hypot(u - _bore_shift_mm(tube), v) - radius
    if tube.family == "stepped":
        return np.hypot(u, v) - np.where(w < 0, radius, tube.step_ratio * radius)
    return np.hypot(u, v) - radius


def outside(tube: Tube, u: Points, v: Points) -> Points:
    """Return about the distance from the outer surface of the wall, negative in the tube."""
    radius, wall = tube.bore_radius_mm, tube.wall_mm
    if tube.family == "elliptical":
        return _ellipse(u, v, radius + wall, tube.ellipse_ratio * radius + wall)
    if tube.family == "rounded_square":
        half, corner = _square_sizes(tube)
        return _rounded_square(u, v, half + wall, corner + wall)
    return np.hypot(u, v) - (radius + wall)


def _ellipse(u: Points, v: Points, a: float, b: float) -> Points:
    """First-order distance k0 (k0 - 1) / k1 with k0 = |p / r|, k1 = |p / r^2|."""
    k0, k1 = np.hypot(u / a, v / b), np.hypot(u / a**2, v / b**2)
    return k0 * (k0 - 1) / np.maximum(k1, 1e-12)


def _rounded_square(u: Points, v: Points, half: float, corner: float) -> Points:
    du, dv = np.abs(u) - (half - corner), np.abs(v) - (half - corner)
    beyond = np.hypot(np.maximum(du, 0), np.maximum(dv, 0))
    return beyond + np.minimum(np.maximum(du, dv), 0) - corner


def _square_sizes(tube: Tube) -> tuple[float, float]:
    """Half width and corner radius of the bore whose corners touch the circle of bore_radius_mm."""
    ratio = tube.corner_radius_ratio
    half = tube.bore_radius_mm / ((1 - ratio) * math.sqrt(2) + ratio)
    return half, ratio * half


def _bore_shift_mm(tube: Tube) -> float:
    return tube.eccentricity_ratio * tube.wall_mm if tube.family == "eccentric" else 0.0


def materials(
    tube: Tube, x: Points, y: Points, z: Points
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the material at points (mm), with and without the defect: 0 air, 1 fluid, 2 aluminium.

    Parameters
    ----------
    tube : Tube
    x, y, z : float64 arrays
        Scanner coordinates, mm; they broadcast.

    Returns
    -------
    uint8 array
        As made, with the defect.
    uint8 array
        As drawn; the same array where the tube has no defect.
    """
    u, v, w = own_coordinates(tube, x, y, z)
    inner, outer = bore(tube, u, v, w), outside(tube, u, v)
    is_inside = (outer < 0) & (np.abs(z) < tube.length_mm / 2)
    in_wall_or_bore = np.where(inner < 0, np.uint8(FLUID), np.uint8(ALUMINIUM))
    drawn = np.where(is_inside, in_wall_or_bore, np.uint8(AIR))
    if tube.defect == "none":
        return drawn, drawn
    cut, becomes = _defect(tube, u, v, w, inner, outer)
    takes_from = FLUID if tube.defect in ("inclusion", "bubble") else ALUMINIUM
    made = drawn.copy()
    made[cut & (drawn == takes_from)] = becomes
    return made, drawn


def _defect(
    tube: Tube, u: Points, v: Points, w: Points, inner: Points, outer: Points
) -> tuple[NDArray[np.bool_], int]:
    """Where the defect of `tube` lies, and the material that it becomes."""
    size, along = tube.defect_size_mm, w - tube.defect_z_mm
    turn = math.radians(tube.defect_deg)
    from_bore = u - _bore_shift_mm(tube)
    radial = math.cos(turn) * from_bore + math.sin(turn) * v
    around = math.cos(turn) * v - math.sin(turn) * from_bore
    surface = _bore_radius_at(tube, turn)
    if tube.defect in ("inclusion", "bubble"):
        place = tube.defect_radius_ratio * max(surface - size / 2, 0.0)
        ball = (radial - place) ** 2 + around**2 + along**2 < (size / 2) ** 2
        return ball, ALUMINIUM if tube.defect == "inclusion" else AIR

    depth = inner / np.maximum(inner - outer, 1e-9)  # share of the local wall
    is_this_side = radial > 0
    if tube.defect == "thinning":
        dish = THINNING_DEPTH * (1 - (around**2 + along**2) / (size / 2) ** 2)
        if tube.thinning_side == "outer":
            return is_this_side & (depth > 1 - dish), AIR
        return is_this_side & (depth < dish), FLUID
    if tube.defect == "pit":
        cut = (radial - surface) ** 2 + around**2 + along**2 < (size / 2) ** 2
    elif tube.defect == "crack":
        cut = is_this_side & (np.abs(around) < size / 2)
        cut = cut & (np.abs(along) < CRACK_LENGTH_RATIO * size / 2)
    elif tube.groove_kind == "circumferential":
        cut = np.hypot(inner, along) < size / 2
    else:
        cut = is_this_side & (np.hypot(inner, around) < size / 2)
        cut = cut & (np.abs(along) < GROOVE_LENGTH_RATIO * size / 2)
    return cut & (depth < MAX_DEPTH), FLUID


def defect_half_length_mm(tube: Tube) -> float:
    """Return how far along z the defect can reach from its middle."""
    ratio = {"crack": CRACK_LENGTH_RATIO, "groove": GROOVE_LENGTH_RATIO}.get(tube.defect, 1.0)
    if tube.defect == "groove" and tube.groove_kind == "circumferential":
        ratio = 1.0
    return ratio * tube.defect_size_mm / 2


def _bore_radius_at(tube: Tube, turn: float) -> float:
    """Distance of the inner surface from the middle of the bore, at the place of the defect."""
    shift, w = _bore_shift_mm(tube), np.array(tube.defect_z_mm)

    def off(radius: float) -> float:
        u, v = np.array(shift + radius * math.cos(turn)), np.array(radius * math.sin(turn))
        return float(bore(tube, u, v, w))

    return float(brentq(off, 1e-6, 2 * tube.bore_radius_mm))


def voxelise(tube: Tube, voxel_mm: float, supersampling: int) -> Voxels:
    """Measure a tube's volume fractions by supersampling.

    Parameters
    ----------
    tube : Tube
    voxel_mm : float
        Voxel size, all axes.
    supersampling : int
        Points per voxel along each axis.

    Returns
    -------
    Voxels

    Raises
    ------
    InputError
        If the tube has a defect that no sample point sees.
    """
    reach_mm = tube.bore_radius_mm + tube.wall_mm
    reach_mm += tube.bend_mm / 2 if tube.family == "bent" else 0.0
    across = 2 * (math.ceil(reach_mm / voxel_mm) + 1)
    along = 2 * (math.ceil(tube.length_mm / 2 / voxel_mm) + 1)
    grid = Grid.centred((along, across, across), (voxel_mm, voxel_mm, voxel_mm))
    z, y, x = sample_places_mm(grid, supersampling)
    slabs = (
        materials(tube, x[None, None, :], y[None, :, None], z_here[:, None, None])
        for z_here in z.reshape(along, supersampling)
    )
    voxels = measured(slabs, grid, supersampling, TUBE)
    if tube.defect != "none" and voxels.defect_box_mm is None:
        raise InputError(
            f"phantom: a {tube.defect} of {tube.defect_size_mm:g} mm at z {tube.defect_z_mm:g} mm "
            f"changes no sample point of a {tube.family} tube, expected a larger defect_size_mm "
            f"than the sampling of {voxel_mm / supersampling:g} mm"
        )
    return voxels


def sample_places_mm(grid: Grid, supersampling: int) -> tuple[Points, Points, Points]:
    """Return the places of sample points along z, y and x, in the voxels of a grid."""
    z, y, x = (
        axis[0] - size / 2 + size / supersampling * (np.arange(len(axis) * supersampling) + 0.5)
        for axis, size in zip(grid.axes_mm(), grid.voxel_mm, strict=True)
    )
    return z, y, x


def measured(
    slabs: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    grid: Grid,
    supersampling: int,
    fillings: tuple[Filling, ...],
) -> Voxels:
    """Turn the labels of sample points into volume fractions.

    Parameters
    ----------
    slabs : iterable of two uint8 arrays, each of shape (s, ny s, nx s)
        Labels of the sample points of one slice after the other, with and without the defect.
    grid : Grid
        Equal voxel sizes; large enough for the object and one voxel around it.
    supersampling : int
        s: points per voxel along each axis.
    fillings : tuple of Filling
        What the labels stand for.
    """
    step_mm = grid.voxel_mm[0] / supersampling
    z, y, x = sample_places_mm(grid, supersampling)
    # with and without the defect; a voxel has at most 16^3 points
    counts = np.zeros((2, len(fillings), *grid.shape), np.uint16)
    lows, highs, num_changed = [], [], 0
    for i_slice, (made, drawn) in enumerate(slabs):  # slice by slice, to bound the memory
        z_here = z[i_slice * supersampling : (i_slice + 1) * supersampling]
        counts[:, :, i_slice] = _counts(drawn, supersampling, len(fillings))
        changed = np.argwhere(made != drawn)  # z, y, x
        if len(changed):
            counts[0, :, i_slice] = _counts(made, supersampling, len(fillings))
            first, last = changed.min(axis=0), changed.max(axis=0)
            lows.append([x[first[2]], y[first[1]], z_here[first[0]]])
            highs.append([x[last[2]], y[last[1]], z_here[last[0]]])
            num_changed += len(changed)
    box = None
    if num_changed:
        low, high = np.min(lows, axis=0) - step_mm / 2, np.max(highs, axis=0) + step_mm / 2
        box = [[float(a), float(b)] for a, b in zip(low, high, strict=True)]
    window = _object_window(counts[1].any(axis=0))
    made_shares, drawn_shares = (counts[:, :, *window] / supersampling**3).astype(np.float32)
    start = [axis[part.start] for axis, part in zip(grid.axes_mm(), window, strict=True)]
    nz, ny, nx = (part.stop - part.start for part in window)
    cropped = Grid((nz, ny, nx), grid.voxel_mm, (float(start[0]), float(start[1]), float(start[2])))
    volume_mm3 = num_changed * step_mm**3
    return Voxels(cropped, made_shares, drawn_shares, fillings, box, volume_mm3)


def _counts(material: NDArray[np.uint8], supersampling: int, num_fillings: int) -> NDArray[np.intp]:
    """Points of each filling in each voxel of one slice, shape (fillings, ny, nx)."""
    num, up, across = material.shape
    blocks = material.reshape(
        num, up // supersampling, supersampling, across // supersampling, supersampling
    )
    return np.stack([(blocks == 1 + i).sum(axis=(0, 2, 4)) for i in range(num_fillings)])


def _object_window(is_object: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Slices around the object and one voxel more on each side."""
    places = np.argwhere(is_object)
    low, high = places.min(axis=0) - 1, places.max(axis=0) + 2
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
