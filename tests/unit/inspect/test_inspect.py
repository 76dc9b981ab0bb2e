"""The score test: Gaussian blobs by hand and against voxels, and inspections of tubes."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.optimize import minimize_scalar
from scipy.spatial import cKDTree

from tubepet import io
from tubepet.inspect import figures, judge, kernels, limit, shapes, verdict
from tubepet.inspect.fit import POSE, PRIOR, Nuisance, beside, extended, fit, some_rows
from tubepet.inspect.part import Part, as_made, of_voxels, onto_image
from tubepet.inspect.score import Candidates, expected_z, shares
from tubepet.phantom import geometry, maps, spec
from tubepet.reconstruct.problem import Instrument, Measurement
from tubepet.reconstruct.projection import blur, sensitivity
from tubepet.reconstruct.projection.line_blur import (
    EDGES,
    LINES_ADD,
    NUM_CLASSES,
    LineBlur,
    amid_zeros,
)
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.projection.response import Response, blur_of
from tubepet.reconstruct.scanner import geometry as geometry_of_lines
from tubepet.simulate.water_phantoms import Engine, Phantom, acquire
from tubepet.types import Grid, Listmode, Scanner, Volume

PSF = (blur.Gaussian(0.9, 2.4, 3.2), blur.Gaussian(0.1, 9.0, 9.0))
# wider along the axis the steeper lines are, as of crystals 20 mm deep
STRIDE = 16
RESPONSE = Response(
    [(PSF[0]._replace(axial_mm=width), PSF[1]) for width in (2.3, 2.9, 4.0, 5.2, 6.5, 7.6)],
    1.006,
    STRIDE,
)
CONCENTRATION, DURATION_S = 600.0, 0.1


@pytest.fixture(scope="module")
def config(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "config" / "config.yaml").read_text())


@pytest.fixture(scope="module")
def instrument(config: dict[str, Any]) -> Instrument:
    scanner, grid = Scanner(**config["scanner"]), Grid.centred((32, 32, 32), (1.0, 1.0, 1.0))
    # as the calibration finds it near the axis, which is all that a tube needs
    efficiency = np.full((scanner.num_columns // 2 + 1, scanner.num_rings), 0.12)
    plain = sensitivity.geometric_sensitivity(scanner, grid, efficiency)
    return Instrument(scanner, efficiency, Volume(plain, grid))


def draw(config: dict[str, Any], **fixed: Any) -> geometry.Voxels:
    fixed = {"family": "round", "length_mm": 24.0, "bore_radius_mm": 8.0, "wall_mm": 3.0} | fixed
    tube = spec.draw_tube("tube_0000", config["phantom"], fixed, 1)
    return geometry.voxelise(tube, 0.5, 4)


def acquired(instrument: Instrument, voxels: geometry.Voxels, bq_mm3: float) -> Measurement:
    activity = maps.activity_bq_mm3(voxels, bq_mm3)
    phantom = Phantom(
        *(Volume(a, voxels.grid) for a in (voxels.labels(), activity, maps.mu_per_mm(voxels)))
    )
    engine = Engine(instrument.scanner, 500.0, 5, 2)
    events, delayed = acquire(engine, "inspected", phantom, DURATION_S)
    return Measurement(events, of_voxels(voxels).mu, DURATION_S, delayed)


def look(
    config: dict[str, Any], instrument: Instrument, voxels: geometry.Voxels, bq_mm3: float
) -> verdict.Inspection:
    part, measured = of_voxels(voxels), acquired(instrument, voxels, bq_mm3)
    ranges = {"bubble": [3.0, 6.0], "pit": [2.0, 4.0], "groove": [1.5, 3.0]}
    return verdict.inspect(measured, part, ranges, instrument, RESPONSE, 0.01, 1)


def alike(psf: blur.Kernel, lines: Lines) -> LineBlur:
    """Blur all lines alike."""
    num, flat = len(lines), np.ones(lines.grid.shape)
    kind, counted = np.zeros(num, np.int64), np.ones((num, 2))
    return LineBlur((psf,), lines, lines, kind, counted, flat, flat)


def one_line(grid: Grid, y_mm: float) -> Lines:
    ends = np.array([[-100.0, y_mm, 0.0], [100.0, y_mm, 0.0]])
    return Lines(grid, ends, np.array([0]), np.array([1]))


def test_a_blob_on_a_line_by_hand() -> None:
    """A ball of the moments of a Gaussian, seen at a distance: V exp(-d^2 / 2 s^2) / (2 pi s^2)."""
    lines = one_line(Grid.centred((4, 4, 4), (1.0, 1.0, 1.0)), 1.5)
    bank = shapes.voids(np.array([[7.0, 0.5, 0.0]]), 4.0)
    variance = 4.0**2 / 20
    volume = np.pi / 6 * 4.0**3
    expected = -2 * volume * np.exp(-1 / (2 * variance)) / (2 * np.pi * variance)
    sharp = alike((blur.Gaussian(1.0, 0.0, 0.0),), lines)
    got = kernels.blob_sums(sharp, np.array([0]), np.array([2.0]), bank.blobs, bank.owner)
    # the table of exponentials is good to 2e-6, float32 to some 1e-6
    assert got == pytest.approx(np.array([[expected]]), rel=2e-5)


def test_a_blob_is_the_same_as_its_voxels_after_the_blur() -> None:
    grid = Grid.centred((48, 80, 80), (0.5, 0.5, 0.5))
    angles = np.linspace(0.1, 3.0, 12)
    ends = 120 * np.stack([np.cos(angles), np.sin(angles), 0.1 * np.sin(3 * angles)], axis=1)
    ends = np.concatenate([ends, -ends + [0.0, 2.0, 1.0]])
    lines = Lines(grid, ends, np.arange(12), np.arange(12) + 12)
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    ball = ((z - 1) ** 2 + (y - 1) ** 2 + (x + 2) ** 2 < 1.5**2).astype(float)
    bank = shapes.voids(np.array([[-2.0, 1.0, 1.0]]), 3.0)
    content = -ball.sum() * grid.voxel_volume_mm3 / bank.blobs[0, 0]
    of_lines = alike(PSF[:1], lines)
    got = kernels.blob_sums(of_lines, np.arange(12), np.ones(12), bank.blobs, bank.owner)
    expected = lines.forward(blur.blurred(-ball, grid, (PSF[0]._replace(share=0.9),)))
    # a ball is no Gaussian; after a blur of 2.4 mm the two differ by up to 8 % of the peak
    limit = 0.09 * np.abs(expected).max()
    assert got[:, 0] * content == pytest.approx(expected, abs=limit)
    assert np.abs(expected).max() > 0.5


def test_the_mean_over_a_blob_is_that_over_its_voxels_after_the_blur() -> None:
    grid = Grid.centred((24, 40, 40), (1.0, 0.5, 0.5))
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    image = blur.smoothed(np.random.default_rng(3).normal(size=grid.shape), grid, 4.0)
    bank = shapes.voids(np.array([[-1.25, 0.75, 1.5]]), 4.0)
    variance = 4.0**2 / 20
    square = (z - 1.5) ** 2 + (y - 0.75) ** 2 + (x + 1.25) ** 2
    blob = np.exp(-square / (2 * variance)) / (2 * np.pi * variance) ** 1.5
    # of the blur, line integrals have put a sixth of a squared voxel into the image already
    less = 8 * np.log(2) * LINES_ADD * np.array([0.25, 1.0])
    psf = (blur.Gaussian(1.0, *np.sqrt(np.square(PSF[0][1:]) - less)),)
    expected = bank.blobs[0, 0] * float((blur.blurred(blob, grid, psf) * image).sum())
    of_lines = alike(PSF[:1], one_line(grid, 0.0))
    got = kernels.blob_means(image, bank.blobs, of_lines)
    # a blob of 0.9 mm sampled on voxels of 1 mm, before it is blurred: some per mille
    assert got == pytest.approx([expected], rel=0.01)
    flat = kernels.blob_means(np.ones_like(image), bank.blobs, of_lines)
    content = bank.blobs[0, 0] / grid.voxel_volume_mm3
    assert flat == pytest.approx([content], rel=2e-3)  # cut at 4.5 standard deviations


def made_up(num: int, slope: float) -> tuple[Candidates, np.ndarray]:
    """One candidate that three in ten lines see, and a fit that knows nothing of it."""
    candidates = Candidates.__new__(Candidates)
    shares = np.where(np.arange(num) % 10 < 3, 0.5, 0.0).astype(np.float32)[:, None]
    candidates.weight, candidates.slopes = 1.0, np.array([slope])
    candidates.blocks, candidates.shares = [slice(0, num)], [shares]
    return candidates, shares[:, 0].astype(np.float64)


@pytest.mark.parametrize("slope", [12.0, 25.0])
def test_a_large_score_is_the_root_of_the_likelihood_ratio(slope: float) -> None:
    candidates, share = made_up(400, slope)
    nothing = Nuisance(np.zeros((1, 400)), np.zeros(1), np.eye(1))
    got = candidates.score(nothing, 0, np.random.default_rng(1)).z[0]

    def loss(a: float) -> float:
        return -(a * slope + float((np.log1p(a * share) - a * share).sum()))

    best = minimize_scalar(loss, bounds=(0, 20), method="bounded")
    # four steps of Newton's method in single precision
    assert got == pytest.approx(np.sqrt(-2 * best.fun), rel=1e-3)
    # the score over the root of its information, which the defect's own events make larger
    assert got > 1.02 * slope / np.sqrt((share**2).sum())


def test_what_is_fitted_is_taken_out_of_the_score() -> None:
    """A direction that looks as the candidate does leaves it no information."""
    candidates, share = made_up(400, 12.0)
    same = Nuisance(share[None], np.array([12.0]), np.array([[1 / (share @ share)]]))
    scores = candidates.score(same, 4, np.random.default_rng(1))
    assert abs(scores.z[0]) < 1 and scores.expected_z[0] < 0.1
    # and a second direction, added to one that has nothing to do with it, takes the same
    other = Nuisance(np.where(share > 0, 0.0, 1.0)[None], np.zeros(1), np.eye(1) / 280)
    both = extended(other, share, 12.0, 1.0)
    # 0.1 % more, for what is found twice in one place has an inverse too
    assert np.linalg.inv(both.inverse) == pytest.approx(np.diag([280.0, share @ share]), rel=2e-3)
    twice = extended(both, share, 12.0, 1.0)
    assert np.isfinite(twice.inverse).all()
    # of 30, what 0.1 % leaves
    left = candidates.score(both, 0, np.random.default_rng(1)).expected_z[0]
    assert left == pytest.approx(np.sqrt(30 * 0.001), rel=0.01)


def test_some_rows_stand_for_all() -> None:
    assert some_rows(10, 20)[0].tolist() == list(range(10)) and some_rows(10, 20)[1] == 1
    rows, weight = some_rows(10, 4)
    assert rows.tolist() == [0, 3, 6, 9] and weight == 2.5
    assert some_rows(0, 4)[1] == 0


def test_candidates_lie_where_they_can(config: dict[str, Any]) -> None:
    part = of_voxels(draw(config, defect="none"))
    bank = shapes.bank(part, {"bubble": [3.0, 6.0], "pit": [2.0, 4.0]})
    table = bank.table
    radius_mm = np.hypot(table["x_mm"], table["y_mm"])
    voids = table["kind"] == "void"
    # balls fit into the bore within a voxel; pits are cut into the wall from its surface
    assert (radius_mm[voids] + table["size_mm"][voids] / 2 < 8.0 + 0.8).all()
    assert ((radius_mm[~voids] > 7.8) & (radius_mm[~voids] < 8.0 + 2.1)).all()
    assert (bank.blobs[voids.to_numpy()[bank.owner], 0] < 0).all()
    is_kept = np.arange(len(bank)) % 3 == 0
    some = bank.part(is_kept)
    assert np.array_equal(some.blobs, bank.blobs[is_kept[bank.owner]])
    assert np.array_equal(np.unique(some.owner), np.arange(is_kept.sum()))


def test_points_are_spread_evenly_over_a_surface(config: dict[str, Any]) -> None:
    """Where the first points of the cells of a lattice stand for more surface, or for less."""
    whole = shapes.surface(of_voxels(draw(config, defect="none")))
    some = whole.spread(2.0)
    assert {tuple(p) for p in some.points_mm} <= {tuple(p) for p in whole.points_mm}
    _, first = np.unique(np.floor(whole.points_mm / 2.0), axis=0, return_index=True)
    assert 0.9 * len(first) < len(some.points_mm) <= len(first)
    away, before = (
        cKDTree(one).query(whole.points_mm) for one in (some.points_mm, whole.points_mm[first])
    )
    assert (away[0] ** 2).mean() < 0.9 * (before[0] ** 2).mean()
    assert away[0].max() < 1.8 < before[0].max()  # mm
    assert np.bincount(away[1]).std() < 0.8 * np.bincount(before[1]).std()


def some_lines(instrument: Instrument, num: int) -> tuple[Lines, np.ndarray]:
    """Draw lines near the axis; return them and what each counts without attenuation."""
    scanner, known, random = instrument.scanner, instrument.efficiency, np.random.default_rng(6)
    columns, rings, steps = scanner.num_columns, scanner.num_rings, 14
    step = columns // 2 + random.integers(-steps, steps + 1, num)
    first, ring1, ring2 = (random.integers(n, size=num) for n in (columns, rings, rings))
    pairs = ring1 * columns + first, ring2 * columns + (first + step) % columns
    points = geometry_of_lines.crystal_points_mm(scanner)
    areas_mm2 = geometry_of_lines.lor_areas_mm2(scanner, known)
    counted = areas_mm2[np.minimum(step, columns - step), np.abs(ring1 - ring2)]
    return Lines(instrument.grid, points, *pairs, np.zeros(num)), counted


def seen_by(lines: Lines, part: Part, instrument: Instrument, response: Response) -> LineBlur:
    drawn = Volume(part.on_image(instrument.grid), instrument.grid)
    return blur_of(lines, drawn, part.mu, 1.0, instrument, response)


def test_lines_and_voxels_count_the_same(config: dict[str, Any], instrument: Instrument) -> None:
    """Of what is counted without attenuation, lines and voxels of each class lose the same."""
    part, (lines, in_air) = of_voxels(draw(config)), some_lines(instrument, 400_000)
    by_step = np.linspace(2.0, 0.9, instrument.scanner.num_columns // 2 + 1)
    factors = np.linspace(0.8, 1.2, NUM_CLASSES)[:, None] * by_step
    response = RESPONSE._replace(line_factors=factors)
    left = np.exp(-replace(lines, grid=part.mu.grid).forward(part.mu.array))
    found, fluid = seen_by(lines, part, instrument, response), part.on_image(instrument.grid)
    images = found.blurred(fluid)
    of_lines = [lines.forward(fluid), left * found.forward(images, np.arange(len(lines)))]
    by_slope = sensitivity.by_slope(
        instrument, instrument.efficiency, found.grid, EDGES, RESPONSE.stretch, STRIDE
    )
    wide = amid_zeros(Volume(fluid, instrument.grid)).array
    by_class = by_slope * wide, found.expected * images
    for k in range(NUM_CLASSES):
        before, after = ((in_air * one)[found.kind == k].sum() for one in of_lines)
        seen, counted = (one[k].sum() for one in by_class)
        # lines that are drawn hit voxels by chance, which is worth 0.4 %; with one survival for all
        # classes steep lines would have 2 % too few
        assert RESPONSE.stretch * after / before == pytest.approx(counted / seen, rel=0.006), k


def test_both_sums_of_the_score_are_of_the_same_change(config, instrument: Instrument) -> None:
    """T comes from voxels and F from lines. Any weights of lines must give the same sums."""
    psf = (
        blur.Gaussian(0.8, 2.4, 3.0),
        blur.Gaussian(0.15, 6.0, 7.0),
        blur.Gaussian(0.05, 11.0, 13.0),
    )
    part, (lines, _) = of_voxels(draw(config)), some_lines(instrument, 20_000)
    found = seen_by(lines, part, instrument, Response([psf] * NUM_CLASSES, 1.0, STRIDE))
    bank = shapes.bank(part, {"bubble": [4.0, 4.0], "pit": [4.0, 4.0]})
    weights = np.random.default_rng(7).standard_normal(len(lines))
    image = found.gathered_but_shared(found.back(weights))
    by_voxels = kernels.blob_means(image, bank.blobs, found)
    of_lines = kernels.blob_sums(found, np.arange(len(lines)), weights, bank.blobs, bank.owner)
    slope = np.polyfit(of_lines.sum(axis=0), by_voxels, 1)[0]
    # voxels of 1 mm sample a core of 2.4 mm; with a tail of the variance of both it is 1.022
    assert slope == pytest.approx(1.0, abs=0.01)


def on_a_wall(reach_mm: np.ndarray) -> shapes.Surface:
    """Return a point on the wall of a wide tube."""
    x, z = np.array([[1.0, 0, 0]]), np.array([[0.0, 0, 1.0]])
    return shapes.Surface(40 * x, x, z, np.array([4.0]), reach_mm)


def test_a_crack_ends_where_the_part_does() -> None:
    """Of 8 mm, 4 mm backwards are in the part and 1 mm forwards: 5 mm, 1.5 mm back."""
    whole, cut = (shapes.cut(on_a_wall(np.array([[20.0, mm]])), "crack", 1.0) for mm in (20.0, 1.0))
    assert cut.table["volume_mm3"][0] == pytest.approx(5 / 8 * whole.table["volume_mm3"][0])
    assert cut.blobs[0, 3] == pytest.approx(-1.5) and whole.blobs[0, 3] == pytest.approx(0.0)
    assert cut.blobs[0, 9] == pytest.approx(5.0**2 / 12)
    assert cut.table["z_mm"][0] == 0.0  # it is named by its point on the wall


@pytest.mark.parametrize("kind", ["pit", "groove", "crack", "thinning"])
def test_what_is_cut_into_a_flat_wall_has_the_volume_of_the_drawing(kind: str) -> None:
    """Against the shapes of `phantom.geometry` on a wide tube, where the wall is nearly flat."""
    size_mm = 2.0 if kind != "crack" else 1.0
    tube = spec.Tube(
        family="round", defect=kind, length_mm=40.0, bore_radius_mm=40.0, wall_mm=4.0,
        orientation_deg=0.0, ellipse_ratio=0.5, corner_radius_ratio=0.3, eccentricity_ratio=0.3,
        step_ratio=0.5, bend_mm=1.0, defect_size_mm=size_mm, defect_z_mm=0.0, defect_deg=0.0,
        defect_radius_ratio=0.5, groove_kind="axial", thinning_side="inner",
    )  # fmt: skip
    step = 0.05
    x, y, z = np.meshgrid(
        np.arange(40, 43.2, step), np.arange(-2, 2, step), np.arange(-5, 5, step), indexing="ij"
    )
    made, drawn = geometry.materials(tube, x + step / 2, y + step / 2, z + step / 2)
    volume_mm3 = float((made != drawn).sum() * step**3)
    at = on_a_wall(np.array([[20.0, 20.0]]))
    # the curvature of a bore of 40 mm and the sampling of 0.05 mm are worth a few per cent
    assert shapes.cut(at, kind, size_mm).table["volume_mm3"][0] == pytest.approx(
        volume_mm3, rel=0.06
    )


def test_a_large_bubble_is_called_where_it_is(config: dict[str, Any], instrument) -> None:
    voxels = draw(config, defect="bubble", defect_size_mm=6.0, defect_z_mm=-3.0)
    found = look(config, instrument, voxels, CONCENTRATION)
    assert found.verdict == verdict.DEFECT and found.indications[0].kind == "void"
    row = judge.judged([found.as_json()], [truth(voxels)]).iloc[0]
    assert row["is_right_place"] and row["size_mm"] == pytest.approx(6.0, abs=1.5)
    assert found.p_value < 1e-3
    peak = verdict.score_map(found)
    z, y, x = (axis[i] for axis, i in zip(peak.grid.axes_mm(), at_peak(peak.array), strict=True))
    box = np.array(voxels.defect_box_mm)
    assert (np.array([x, y, z]) > box[:, 0]).all() and (np.array([x, y, z]) < box[:, 1]).all()


def test_a_defect_of_another_shape_than_the_candidates_is_one_indication(
    config: dict[str, Any], instrument
) -> None:
    """What the likeliest pit leaves over is found again in its place, and is no further defect."""
    voxels = draw(
        config, family="rounded_square", defect="pit", defect_size_mm=7.5, defect_z_mm=5.0,
        wall_mm=3.5,
    )  # fmt: skip
    part, measured = of_voxels(voxels), acquired(instrument, voxels, CONCENTRATION)
    ranges = config["phantom"]["defect_size_mm"]
    found = verdict.inspect(measured, part, ranges, instrument, RESPONSE, 0.01, 1)
    assert found.verdict == verdict.DEFECT, found.reason
    assert found.largest_z > 2 * found.threshold_z  # so much that something is left over
    assert len(found.indications) == 1
    assert judge.judged([found.as_json()], [truth(voxels)]).iloc[0]["is_right_place"]


def at_peak(array: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(array)), array.shape))


def truth(voxels: geometry.Voxels) -> dict[str, Any]:
    defect = {"size_mm": 6.0, "box_mm": voxels.defect_box_mm}
    return {"tube": "a", "family": "round", "defect": "bubble", "defects": [defect]}


def test_z_of_a_known_defect_is_as_expected_with_it_and_zero_without(config, instrument) -> None:
    """A bubble of a known place, beside the bank's balls of its size near it."""
    voxels = draw(config, defect="bubble", defect_size_mm=6.0, defect_z_mm=-3.0)
    drawn, made = of_voxels(voxels), as_made(voxels)
    measured = acquired(instrument, voxels, CONCENTRATION)
    fitted = fit(measured, drawn, instrument, RESPONSE)
    z, mean = limit.known_z(fitted, measured, drawn, made, instrument, STRIDE)
    assert mean > 4 and z == pytest.approx(mean, abs=3)  # three standard deviations
    bank = shapes.voids(np.mean(voxels.defect_box_mm, axis=1)[None], 6.0)
    # a bubble lets photons through, which hides a part of it
    assert 0.6 < mean / expected_z(fitted, bank)[0] < 1.0
    clean = acquired(instrument, draw(config, defect="none"), CONCENTRATION)
    fitted = fit(clean, drawn, instrument, RESPONSE)
    assert abs(limit.known_z(fitted, clean, drawn, made, instrument, STRIDE)[0]) < 3


def test_activity_is_fitted_beside_a_known_defect(config, instrument) -> None:
    """Without the void the fit takes it for less activity."""
    voxels = draw(config, defect="bubble", defect_size_mm=8.0, defect_z_mm=0.0)
    drawn, made, clean = of_voxels(voxels), as_made(voxels), draw(config, defect="none")
    fits = [
        fit(acquired(instrument, one, 5 * CONCENTRATION), drawn, instrument, RESPONSE)
        for one in (clean, voxels)
    ]
    of_clean, alone = (one.activity_bq_mm3 for one in fits)
    found = fits[1]
    seen = limit.weakened(found, DURATION_S, drawn, made, instrument, STRIDE)
    for _ in range(limit.NUM_ROUNDS):
        change, counts = limit.effect(found, drawn, made, seen)
        share = change / found.rates
        found = beside(found, drawn, share[found.rows], float(share.sum()) - counts)
    off, left = abs(alone - of_clean), abs(found.activity_bq_mm3 - of_clean)
    assert off > 0.02 * of_clean and left < off / 2


@pytest.mark.parametrize("defect", ["inclusion", "bubble", "pit"])
def test_attenuation_of_a_known_defect_takes_as_many_events_as_counts(
    config: dict[str, Any], instrument, defect: str
) -> None:
    """Otherwise a clean part has a z for it: -1.5 for inclusions at 0.1 s, before this held."""
    made = as_made(draw(config, defect=defect, defect_size_mm=6.0, defect_z_mm=-3.0))
    clean = draw(config, defect="none")
    drawn, measured = of_voxels(clean), acquired(instrument, clean, CONCENTRATION)
    fitted = fit(measured, drawn, instrument, RESPONSE)

    def effect(part: Part) -> tuple[np.ndarray, float]:
        seen = limit.weakened(fitted, measured.duration_s, drawn, part, instrument, STRIDE)
        return limit.effect(fitted, drawn, part, seen)

    def of_events(change: np.ndarray) -> float:
        return float((change / fitted.rates).sum())

    whole, counts = effect(made)
    of_activity, lost_with_it = effect(replace(made, mu=drawn.mu))
    expected = counts - lost_with_it
    assert np.sign(expected) == (-1 if defect == "inclusion" else 1)
    # events differ by their noise, 1 to 2 %
    assert of_events(whole - of_activity) == pytest.approx(expected, rel=0.04)


def test_what_calibrations_do_not_know_is_fitted(config, instrument) -> None:
    """More blur widens a picture by its variance; hats along the axis add up to activity."""
    drawn = of_voxels(draw(config, defect="none"))
    measured = acquired(instrument, draw(config, defect="none"), CONCENTRATION)
    fitted = fit(measured, drawn, instrument, RESPONSE)
    still = replace(fitted, pose=dict.fromkeys(POSE, 0.0))
    before, (z, _, x) = still.image_of(drawn), still.grid.axes_mm()

    def after(**pose: float) -> np.ndarray:
        return replace(still, pose=still.pose | pose).image_of(drawn)

    def variance_mm2(image: np.ndarray, axis: int, at_mm: np.ndarray) -> float:
        profile = image.sum(axis=tuple({0, 1, 2} - {axis}))
        return float(profile @ at_mm**2 / profile.sum())

    for name, axis, at_mm in (("blurred_along_mm2", 0, z), ("blurred_across_mm2", 2, x)):
        more = variance_mm2(after(**{name: 0.5}), axis, at_mm) - variance_mm2(before, axis, at_mm)
        assert more == pytest.approx(0.5, rel=0.01)  # voxels of 1 mm at the ends
    even = after(**{name: 0.1 for name in POSE if re.fullmatch(r"uneven_\d", name)})
    assert even == pytest.approx(1.1 * before, rel=1e-5, abs=1e-5 * float(before.max()))
    # fitted: the likelihood has no slope left in any direction, within a tenth of its error
    nuisance = fitted.nuisance
    assert (np.abs(nuisance.inverse @ nuisance.gradient)[1:] < 0.1 * PRIOR).all()
    assert abs(fitted.pose["background"]) < 3 * fitted.errors["background"]


def test_the_fit_ends_at_many_counts(config: dict[str, Any], instrument) -> None:
    """Then the model is far from the events, in standard deviations, and Newton steps too long."""
    drawn = of_voxels(draw(config, defect="none"))
    once = acquired(instrument, draw(config, defect="none"), CONCENTRATION)

    def often(events: Listmode) -> Listmode:
        return events.at(np.tile(np.arange(len(events)), 60))

    measured = Measurement(often(once.events), once.mu, 60 * once.duration_s, often(once.delayed))
    fitted = fit(measured, drawn, instrument, RESPONSE)
    # the same events, so nearly the same fit: only what is expected before counts less
    few = fit(once, drawn, instrument, RESPONSE)
    assert fitted.activity_bq_mm3 == pytest.approx(few.activity_bq_mm3, rel=0.02)
    assert fitted.pose["x_mm"] == pytest.approx(few.pose["x_mm"], abs=few.errors["x_mm"])


def test_z_that_is_large_everywhere_is_noise() -> None:
    random, many, few = np.random.default_rng(1), 10**7, 20_000
    none = random.standard_normal((200, 4000))
    large, small = 1.7 * random.standard_normal(4000), 0.8 * random.standard_normal(4000)
    # quantiles of 4,000 numbers are known to 1.5 %
    assert verdict.noise_of(large, none, many) == pytest.approx(1.7, rel=0.05)
    assert verdict.noise_of(small, none, many) == 1.0
    with_defect = random.standard_normal(4000)
    with_defect[:200] += 9.0  # one place of twenty
    assert verdict.noise_of(with_defect, none, many) < 1.1
    # where all candidates are one, z says nothing: its variance is 1 + 20,000 / MODEL_COUNTS
    alike = np.repeat(random.standard_normal((200, 1)), 4000, axis=1)
    assert verdict.noise_of(1.5 * np.ones(4000), alike, few) == pytest.approx(1.01, abs=0.005)


def test_a_map_that_is_too_noisy_everywhere_is_divided_by_its_noise(config, instrument) -> None:
    """Ten times the same events: chance, and what the constant efficiency has wrong, stand out."""
    once = acquired(instrument, draw(config, defect="none"), CONCENTRATION)

    def often(events: Listmode) -> Listmode:
        return events.at(np.tile(np.arange(len(events)), 10))

    measured = Measurement(often(once.events), once.mu, 10 * DURATION_S, often(once.delayed))
    part = of_voxels(draw(config, defect="none"))
    ranges = {"bubble": [3.0, 6.0], "pit": [2.0, 4.0]}
    found = verdict.inspect(measured, part, ranges, instrument, RESPONSE, 0.01, 1)
    # chance alone gives sqrt(10)
    assert found.noise == pytest.approx(10**0.5, rel=0.2)
    assert found.as_json()["noise"] == pytest.approx(found.noise, abs=1e-3)
    plain = Candidates(found.fitted, found.bank).score(
        found.fitted.nuisance, 0, np.random.default_rng(1)
    )
    np.testing.assert_allclose(found.scores.z, plain.z / found.noise)
    assert found.largest_z == found.scores.z.max()


def test_no_defect_of_a_clean_part_is_called(config: dict[str, Any], instrument) -> None:
    """One acquisition of fixed seed; docs/notes/2026-11-inspection.md has the rate over many."""
    found = look(config, instrument, draw(config, defect="none"), CONCENTRATION)
    assert found.verdict == verdict.CLEAN and not found.indications
    # fitted to 1 % at 30,000 events, times what the constant efficiency is off
    assert abs(found.fitted.pose["x_mm"]) < 0.2 and abs(found.fitted.pose["y_mm"]) < 0.2
    assert found.found["void"]["6.00"] > 0.9 > found.found["pit"]["2.00"]


def test_too_few_counts_are_no_clean_part(config: dict[str, Any], instrument) -> None:
    found = look(config, instrument, draw(config, defect="none"), CONCENTRATION / 4000)
    assert found.verdict == verdict.UNKNOWN
    assert found.as_json()["verdict"] == "cannot tell"


def test_what_few_events_tell_is_nothing(config: dict[str, Any], instrument) -> None:
    """An event where hardly any rate is expected makes F of all candidates near its line."""
    part = of_voxels(draw(config, defect="none"))
    whole = acquired(instrument, draw(config, defect="none"), CONCENTRATION)
    fitted = fit(whole, part, instrument, RESPONSE)
    rates = fitted.rates.copy()
    rates[fitted.rows[:2]] *= 1e-4
    bank = shapes.bank(part, {"pit": [3.0, 3.0], "bubble": [5.0, 5.0]})
    seen = expected_z(replace(fitted, rates=rates, rows=fitted.rows[:300]), bank)
    of_two = shares(replace(fitted, rates=rates), bank, fitted.rows[:2])
    stands_out = (of_two**2).max(axis=0) > 1e4  # others have an F below 100
    assert stands_out.any() and not seen[stands_out].any()
    assert (expected_z(fitted, bank) > 1).any()


def test_no_counts_are_no_clean_part(config: dict[str, Any], instrument, tmp_path) -> None:
    whole = np.empty(0, np.int32)
    events = Listmode(whole, whole, np.empty(0), np.empty(0, np.uint8))
    part = of_voxels(draw(config, defect="none"))
    measured = Measurement(events, part.mu, DURATION_S, events)
    ranges = {"bubble": [3.0, 6.0], "crack": [0.6, 1.2]}
    found = verdict.inspect(measured, part, ranges, instrument, RESPONSE, 0.01, 1)
    assert found.verdict == verdict.UNKNOWN and "0 coincidences" in found.reason
    score_map = verdict.score_map(found)
    assert not score_map.array.any()
    io.write_json(tmp_path / "verdict.json", found.as_json())
    content = io.read_json(tmp_path / "verdict.json")
    assert content["threshold_z"] is None
    clean = {"tube": "a", "family": "round", "defect": "none", "defects": []}
    table = judge.judged([content], [clean])
    assert not table["is_called"].any()
    # the pictures of nothing can be drawn, too
    figures.draw_verdict(found, score_map, part, "a")
    figures.draw_verdicts(table)


def test_a_shift_of_the_part_is_fitted(config: dict[str, Any], instrument) -> None:
    voxels = draw(config, defect="none")
    origin_mm = voxels.grid.origin_mm
    moved = Grid(voxels.grid.shape, voxels.grid.voxel_mm, (*origin_mm[:2], origin_mm[2] + 0.5))
    part = of_voxels(voxels)
    phantom = Phantom(
        *(
            Volume(a, moved)
            for a in (
                voxels.labels(),
                maps.activity_bq_mm3(voxels, CONCENTRATION),
                maps.mu_per_mm(voxels),
            )
        )
    )
    engine = Engine(instrument.scanner, 500.0, 5, 2)
    events, delayed = acquire(engine, "moved", phantom, DURATION_S)
    fitted = fit(Measurement(events, part.mu, DURATION_S, delayed), part, instrument, RESPONSE)
    # five standard deviations
    assert fitted.pose["x_mm"] == pytest.approx(0.5, abs=5 * fitted.errors["x_mm"])
    assert fitted.errors["x_mm"] < 0.1
    assert fitted.moved(np.zeros((1, 3)))[0, 0] == pytest.approx(fitted.pose["x_mm"])


def test_a_part_without_fluid_has_no_surface() -> None:
    grid = Grid.centred((6, 6, 6), (1.0, 1.0, 1.0))
    empty = Volume(np.zeros(grid.shape, np.float32), grid)
    nothing = shapes.surface(Part(empty, empty, empty, empty, geometry.TUBE))
    assert len(nothing.points_mm) == len(nothing.spread(1.0).points_mm) == 0


def test_planes_half_way_between_slices_go_each_to_its_own() -> None:
    """Centres at -1, 0, 1 mm between slices at -1.5, -0.5, 0.5, 1.5 mm."""
    fine, coarse = Grid.centred((3, 1, 1), (1.0,) * 3), Grid.centred((4, 1, 1), (1.0,) * 3)
    got = onto_image(Volume(np.ones(fine.shape), fine), coarse)
    assert got.ravel().tolist() == [0.0, 1.0, 1.0, 1.0]
