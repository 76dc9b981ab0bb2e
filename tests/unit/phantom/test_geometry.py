from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from tubepet import io
from tubepet.errors import InputError
from tubepet.phantom import geometry
from tubepet.phantom.geometry import AIR, ALUMINIUM, FLUID, materials, voxelise
from tubepet.phantom.spec import DEFECTS, FAMILIES, Tube
from tubepet.types import Volume

MakeTube = Callable[..., Tube]
STEP_MM = 0.2  # of the sample points of `sampled`
WALL_DEFECTS = ("pit", "groove", "crack", "thinning")


def sampled(tube: Tube, *, has_defect: bool) -> NDArray[np.uint8]:
    """Sample materials on points around the tube, axes (z, y, x)."""
    reach_mm = tube.bore_radius_mm + tube.wall_mm + tube.bend_mm + 1
    across = np.arange(-reach_mm, reach_mm, STEP_MM)
    along = np.arange(-tube.length_mm / 2 - 1, tube.length_mm / 2 + 1, STEP_MM)
    made, drawn = materials(
        tube, across[None, None, :], across[None, :, None], along[:, None, None]
    )
    return made if has_defect else drawn


@st.composite
def tubes(draw: st.DrawFn) -> Tube:
    """Draw any tube from about the default ranges (short ones, for speed)."""

    def number(low: float, high: float) -> float:
        return draw(st.floats(low, high))

    return Tube(
        family=draw(st.sampled_from(FAMILIES)),
        defect=draw(st.sampled_from(DEFECTS)),
        length_mm=number(8, 10),
        bore_radius_mm=number(5, 7),
        wall_mm=number(2, 3.5),
        orientation_deg=number(0, 360),
        ellipse_ratio=number(0.6, 0.85),
        corner_radius_ratio=number(0.25, 0.5),
        eccentricity_ratio=number(0.2, 0.5),
        step_ratio=number(0.6, 0.8),
        bend_mm=number(1, 2),
        defect_size_mm=number(1.2, 5),
        defect_z_mm=number(-2, 2),
        defect_deg=number(0, 360),
        defect_radius_ratio=number(0, 1),
        groove_kind=draw(st.sampled_from(["circumferential", "axial"])),
        thinning_side=draw(st.sampled_from(["inner", "outer"])),
    )


@settings(max_examples=25)
@given(tube=tubes())
def test_any_tube_is_sound(tube: Tube) -> None:
    voxels = voxelise(tube, 1.0, 4)
    total = voxels.fluid + voxels.wall
    assert voxels.fluid.min() >= 0 and voxels.wall.min() >= 0
    assert total.max() <= 1 + 1e-6
    edge = total.copy()
    edge[1:-1, 1:-1, 1:-1] = 0
    assert edge.sum() == 0  # one voxel of air all around
    z_mm, y_mm, x_mm = np.meshgrid(*voxels.grid.axes_mm(), indexing="ij")
    reach_mm = np.hypot(x_mm, y_mm)[total > 0].max() - voxels.grid.voxel_mm[0] / np.sqrt(2)
    assert reach_mm < tube.bore_radius_mm + tube.wall_mm + tube.bend_mm / 2
    assert np.abs(z_mm[total > 0]).max() < tube.length_mm / 2 + 0.5
    assert (voxels.defect_box_mm is None) == (tube.defect == "none")


@settings(max_examples=25)
@given(tube=tubes())
def test_no_fluid_reaches_the_outside(tube: Tube) -> None:
    made = sampled(tube, has_defect=True)
    if tube.defect == "bubble":  # its gas is air inside the bore, not the outside
        made[sampled(tube, has_defect=False) == FLUID] = FLUID
    is_air = made == AIR
    for axis in (1, 2):  # the ends, along z, are open
        for shift in (-1, 1):
            assert not ((made == FLUID) & np.roll(is_air, shift, axis=axis)).any()


@settings(max_examples=25)
@given(tube=tubes())
def test_the_box_holds_all_that_the_defect_changes(tube: Tube) -> None:
    voxels = voxelise(tube, 0.8, 4)
    reach_mm = tube.bore_radius_mm + tube.wall_mm + tube.bend_mm
    random = np.random.default_rng(3)
    points = random.uniform(-1, 1, (3, 200_000)) * [[reach_mm], [reach_mm], [tube.length_mm / 2]]
    made, drawn = materials(tube, *points)
    changed = made != drawn
    if tube.defect == "none":
        assert not changed.any()
        return
    assert voxels.defect_box_mm is not None
    slack_mm = 0.2  # one step of the supersampling that measured the box
    for axis, (low, high) in zip(points, voxels.defect_box_mm, strict=True):
        assert low - slack_mm <= axis[changed].min() and axis[changed].max() <= high + slack_mm


def test_round_volumes_are_analytic(make_tube: MakeTube) -> None:
    tube = make_tube()
    voxels = voxelise(tube, 1.0, 5)
    fluid = np.pi * 6.0**2 * 10
    aluminium = np.pi * (8.5**2 - 6.0**2) * 10
    assert_allclose(voxels.fluid_volume_mm3(), fluid, rtol=0.02)
    assert_allclose(voxels.wall.sum(dtype=float), aluminium, rtol=0.02)


@pytest.mark.parametrize(
    ("family", "area_mm2"),
    [
        ("elliptical", np.pi * 6**2 * 0.7),
        ("eccentric", np.pi * 6**2),
        ("stepped", np.pi * 6**2 * (1 + 0.7**2) / 2),
        ("bent", np.pi * 6**2),
        # half width h = 6 / (0.6 sqrt 2 + 0.4), corner radius 0.4 h
        ("rounded_square", (4 - (4 - np.pi) * 0.4**2) * (6 / (0.6 * np.sqrt(2) + 0.4)) ** 2),
    ],
)
def test_fluid_volume_of_each_family(make_tube: MakeTube, family: str, area_mm2: float) -> None:
    voxels = voxelise(make_tube(family=family), 1.0, 5)
    assert_allclose(voxels.fluid_volume_mm3(), 10 * area_mm2, rtol=0.02)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_wall_is_closed_and_as_thick_as_told(make_tube: MakeTube, family: str) -> None:
    tube = make_tube(family=family)
    angle, w = np.linspace(0, 2 * np.pi, 200), np.array(-2.0)
    radii = np.arange(0, 12, 0.01)
    u, v = radii * np.cos(angle)[:, None], radii * np.sin(angle)[:, None]
    inner, outer = geometry.bore(tube, u, v, w), geometry.outside(tube, u, v)
    thickness = ((inner >= 0) & (outer < 0)).sum(axis=1) * 0.01  # along rays: at least the wall
    least = 2.5 * (1 - tube.eccentricity_ratio) if family == "eccentric" else 2.4
    assert thickness.min() > least - 0.05


def test_a_defect_lies_where_it_is_told(make_tube: MakeTube) -> None:
    tube = make_tube(defect="pit", orientation_deg=20.0, defect_deg=100.0, defect_z_mm=2.0)
    box = voxelise(tube, 0.5, 4).defect_box_mm
    assert box is not None
    x, y, z = np.mean(box, axis=1)
    # At 120 degrees. The wall begins at 6 mm; the hemisphere is 1.5 mm deep (1.75 allowed).
    assert_allclose([np.degrees(np.arctan2(y, x)), z], [120, 2], atol=1.5)
    assert 6.0 < np.hypot(x, y) < 7.5


def test_a_defect_of_an_eccentric_bore_is_at_its_surface(make_tube: MakeTube) -> None:
    values = {"orientation_deg": 0.0, "defect_deg": 0.0, "eccentricity_ratio": 0.4}
    box = voxelise(make_tube(family="eccentric", defect="pit", **values), 0.5, 4).defect_box_mm
    assert box is not None
    # Bore of 6 mm shifted by 0.4 x 2.5 mm; 0.7 of the 1.5 mm of wall left there may go.
    assert_allclose(box[0], [7.0, 8.05], atol=0.3)


def test_bent_middle_and_ends(make_tube: MakeTube) -> None:
    tube = make_tube(family="bent", orientation_deg=90.0, bend_mm=2.0)
    for z, shift in ((0.0, 1.0), (4.99, -1.0)):
        u, v, _ = geometry.own_coordinates(tube, np.array(0.0), np.array(shift), np.array(z))
        assert_allclose([u, v], 0, atol=0.02)  # orientation 90: the bend is along y


@pytest.mark.parametrize(
    ("defect", "values", "before", "after"),
    [
        ("pit", {}, ALUMINIUM, FLUID),
        ("groove", {"groove_kind": "axial"}, ALUMINIUM, FLUID),
        ("crack", {"defect_size_mm": 0.8}, ALUMINIUM, FLUID),
        ("thinning", {"thinning_side": "inner"}, ALUMINIUM, FLUID),
        ("thinning", {"thinning_side": "outer"}, ALUMINIUM, AIR),
        ("inclusion", {}, FLUID, ALUMINIUM),
        ("bubble", {}, FLUID, AIR),
    ],
)
def test_what_a_defect_is_made_of(
    make_tube: MakeTube, defect: str, values: dict[str, Any], before: int, after: int
) -> None:
    tube = make_tube(defect=defect, **values)
    old, new = sampled(tube, has_defect=False), sampled(tube, has_defect=True)
    changed = old != new
    assert set(old[changed]) == {before} and set(new[changed]) == {after}
    assert_allclose(changed.sum() * STEP_MM**3, voxelise(tube, 0.5, 4).defect_volume_mm3, rtol=0.15)


def test_a_defect_below_the_sampling_is_an_error(make_tube: MakeTube) -> None:
    tube = make_tube(defect="crack", defect_size_mm=0.01)
    with pytest.raises(InputError, match="changes no sample point"):
        voxelise(tube, 1.0, 2)


@settings(max_examples=15)
@given(tube=tubes())
def test_nominal_is_the_tube_drawn_without_its_defect(tube: Tube) -> None:
    """On one grid: what is known from the plan tells nothing of the defect."""
    voxels, whole = voxelise(tube, 1.0, 4), voxelise(replace(tube, defect="none"), 1.0, 4)
    nominal = voxels.nominal()
    assert nominal.grid == whole.grid == voxels.grid
    differs = False
    for name in ("fluid", "wall"):
        assert (getattr(nominal, name) == getattr(whole, name)).all()
        differs |= bool((getattr(nominal, name) != getattr(voxels, name)).any())
    assert differs == (tube.defect != "none")
    assert nominal.defect_box_mm is None and nominal.defect_volume_mm3 == 0


def test_labels_are_the_majority(make_tube: MakeTube) -> None:
    voxels = voxelise(make_tube(family="eccentric"), 1.0, 5)
    labels = voxels.labels()
    assert (voxels.fluid[labels == FLUID] >= 1 / 3).all()
    assert (labels[voxels.fluid > 0.5] == FLUID).all()
    assert (labels[voxels.wall > 0.5] == ALUMINIUM).all()
    assert set(np.unique(labels)) == {AIR, FLUID, ALUMINIUM}


def test_same_tube_same_bytes(make_tube: MakeTube, tmp_path: Path) -> None:
    for name in ("a", "b"):
        voxels = voxelise(make_tube(defect="pit"), 1.0, 4)
        io.write_volume(tmp_path / name / "x.nii.gz", Volume(voxels.fluid, voxels.grid))
    files = [(tmp_path / name / "x.nii.gz").read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]
