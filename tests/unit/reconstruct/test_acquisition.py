import dataclasses
import logging

import numpy as np
import pytest

from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct import figures
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.algorithms import em
from tubepet.reconstruct.image import reconstruct as reconstructed
from tubepet.reconstruct.problem import Acquisition, Instrument, Measurement, Settings
from tubepet.reconstruct.projection import blur, kernels, parallelproj, sensitivity
from tubepet.reconstruct.projection.lines import Lines, tof_table
from tubepet.reconstruct.scanner import crystals, geometry, lors
from tubepet.types import Grid, Listmode, Volume

MIXTURE = (blur.Gaussian(0.7, 2.0, 4.0), blur.Gaussian(0.3, 6.0, 6.0))


@pytest.fixture(scope="module")
def efficiency(scanner):
    """Return the efficiency of the gap-free detector of `simulate`."""
    width_mm = 2 * np.pi * geometry.detection_radius_mm(scanner) / scanner.num_columns
    ratio = width_mm * scanner.axial_pitch_mm / scanner.crystal_width_mm / scanner.crystal_height_mm
    return np.full((scanner.num_columns // 2 + 1, scanner.num_rings), ratio**2)


@pytest.fixture(scope="module")
def geometric(scanner, grid, efficiency):
    return Volume(sensitivity.geometric_sensitivity(scanner, grid, efficiency), grid)


@pytest.fixture(scope="module")
def events(simulate, cylinder_points):
    rng = np.random.default_rng(7)
    return simulate(cylinder_points(60_000, 6.0, 6.0, rng), rng)


SETTINGS = Settings(num_iterations=10, psf=blur.gaussian(3.0))


def image_of(events, mu, instrument, settings):
    """Return image and trace of two seconds."""
    model = model_acquisition(Measurement(events, mu, 2.0), instrument, settings)
    return reconstructed(model, settings, 0)


@pytest.fixture(scope="module")
def reconstruct(scanner, efficiency, geometric):
    def run(events, mu=None, **settings):
        mu = mu or Volume(np.zeros(geometric.grid.shape), geometric.grid)
        instrument = Instrument(scanner, efficiency, geometric)
        return image_of(events, mu, instrument, dataclasses.replace(SETTINGS, **settings))

    return run


def random_lines(scanner, grid, num, additive, seed=0):
    rng = np.random.default_rng(seed)
    points = geometry.crystal_points_mm(scanner)
    first, second = rng.integers(0, scanner.num_crystals, (2, 20 * num)).astype(np.int32)
    lines = Lines(grid, points, first, second, np.full(len(first), additive))
    return lines.part(np.flatnonzero(lines.forward(np.ones(grid.shape)) > 0)[:num])


@pytest.mark.parametrize("additive", [0.0, 0.3])
@pytest.mark.parametrize("kernel", [(), MIXTURE])
def test_likelihood_never_falls_and_counts_are_kept(scanner, grid, additive, kernel):
    lines = random_lines(scanner, grid, 500, additive)
    sens = np.random.default_rng(1).uniform(0.5, 1.5, grid.shape)
    model = Acquisition(lines, sens, np.ones(grid.shape))
    image, trace = em.iterate(model, Settings(15, psf=kernel))
    rise = np.diff(trace["log_likelihood"])
    # projections are float32
    assert (rise >= -1e-7 * np.abs(trace["log_likelihood"]).max()).all()
    assert (image >= 0).all()
    expected = (blur.blurred(sens, grid, kernel) * image).sum()
    if additive == 0:
        # exact for the MLEM update, but for projections in float32
        assert expected == pytest.approx(len(lines), rel=1e-6)
    else:
        assert expected < len(lines)
    assert list(trace["iteration"]) == list(range(16))


def test_two_rays_through_two_voxels_by_hand():
    """One count along both voxels, a + b, and one across the first, a; s = (2, 1).

    From (1, 1): a = (1/2 + 1/1) / 2 = 0.75, b = 1/2. Then the rays see 1.25 and 0.75:
    a = 0.75 (1/1.25 + 1/0.75) / 2 = 0.8, b = 0.5 / 1.25 = 0.4. Always s x = 2 counts. The maximum
    of log(a + b) + log a - 2 a - b is at (1, 0), where it is -2.
    """
    pair = Grid.centred((1, 1, 2), (1.0, 1.0, 1.0))
    points = np.array([[-5.0, 0, 0], [5, 0, 0], [-0.5, -5, 0], [-0.5, 5, 0]])
    first, second = np.array([0, 2], np.int32), np.array([1, 3], np.int32)
    sens = np.array([[[2.0, 1.0]]])

    def run(num_iterations, additive=(0.0, 0.0)):
        lines = Lines(pair, points, first, second, np.array(additive))
        model = Acquisition(lines, sens, np.ones(pair.shape))
        image, trace = em.iterate(model, Settings(num_iterations))
        return image.ravel(), trace["log_likelihood"].to_numpy()

    # projections are float32
    assert run(1)[0] == pytest.approx([0.75, 0.5], rel=1e-6)
    image, fit = run(2)
    assert image == pytest.approx([0.8, 0.4], rel=1e-6)
    by_hand = [np.log(2) - 3, np.log(1.25 * 0.75) - 2, np.log(1.2 * 0.8) - 2]
    assert fit == pytest.approx(by_hand, rel=1e-6)
    assert run(0)[1] == pytest.approx(by_hand[:1], rel=1e-6)
    # b falls as 1 / iteration: its likelihood is flat at the border
    image, fit = run(2000)
    assert image == pytest.approx([1.0, 0.0], abs=2e-3)
    assert fit[-1] == pytest.approx(-2.0, abs=1e-5)
    # a background of 1 on the second ray: a = (1/2 + 1/2) / 2
    assert run(1, (0.0, 1.0))[0] == pytest.approx([0.5, 0.5], rel=1e-6)


def test_time_of_flight_places_a_point_on_its_lines(scanner, grid):
    """Few lines cannot tell where on them a point is; time of flight of 3 mm can."""
    place_mm, num = np.array([6.0, 0.0, 0.0]), 200
    points = geometry.crystal_points_mm(scanner)
    columns = np.random.default_rng(0).integers(-1, 2, num) % scanner.num_columns  # near +x
    first = columns + scanner.num_columns * (scanner.num_rings // 2)
    second = (columns + scanner.num_columns // 2) % scanner.num_columns
    second = second + scanner.num_columns * (scanner.num_rings // 2)
    middle, way = (points[first] + points[second]) / 2, points[second] - points[first]
    tof_mm = ((place_mm - middle) * way).sum(axis=1) / np.linalg.norm(way, axis=1)
    times = tof_mm.astype(np.float32), tof_table(3.0)
    lines = Lines(grid, points, first, second, np.full(num, 1e-3), *times)
    ones = np.ones(grid.shape)
    image, _ = em.iterate(Acquisition(lines, ones, ones), Settings(10))
    x_mm = grid.axes_mm()[2]
    assert (image.sum(axis=(0, 1)) * x_mm).sum() / image.sum() == pytest.approx(6, abs=1)


def test_point_off_centre_is_found_within_half_a_voxel(simulate, reconstruct, grid):
    place_mm = np.array([5.0, -3.5, 3.0])  # x, y, z
    rng = np.random.default_rng(3)
    # spread over 0.5 mm: crystals would see one exact point through a few lines only
    points = place_mm + rng.uniform(-0.25, 0.25, (8_000, 3))
    image, _ = reconstruct(simulate(points, rng), num_iterations=20)
    weights = image.array / image.array.sum()
    centre = [float((weights * axis).sum()) for axis in np.meshgrid(*grid.axes_mm(), indexing="ij")]
    for got, wanted, voxel_mm in zip(centre, place_mm[::-1], grid.voxel_mm, strict=True):
        assert abs(got - wanted) < voxel_mm / 2


def test_total_activity_is_absolute(reconstruct, events, grid):
    """60,000 decays in 2 s are 30,000 Bq, with no free scale."""
    image, trace = reconstruct(events)
    total_bq = float(image.array.sum()) * grid.voxel_volume_mm3
    # 1.5 % from crystals as points (see test_calibrate), 0.7 % from 2e4 counts
    assert total_bq == pytest.approx(30_000, rel=0.03)
    assert trace["total_bq"].iloc[-1] == pytest.approx(total_bq, rel=1e-5)


def test_attenuated_counts_give_the_same_activity(reconstruct, events, scanner, grid):
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    mu = Volume(np.where((np.hypot(x - 1, y) < 9) & (np.abs(z) < 9), 0.02, 0.0), grid)
    ends = (geometry.crystal_points_mm(scanner), events.crystal1, events.crystal2)
    survival = np.exp(-Lines(grid, *ends).forward(mu.array))
    kept = np.random.default_rng(0).uniform(size=len(events)) < survival
    assert kept.mean() < 0.8
    thinned = Listmode(
        events.crystal1[kept], events.crystal2[kept], np.zeros(kept.sum()), events.truth[kept]
    )
    image, _ = reconstruct(thinned, mu=mu)
    assert image.array.sum() * grid.voxel_volume_mm3 == pytest.approx(30_000, rel=0.03)


def test_scatter_and_randoms_are_explained_and_not_put_into_the_image(
    reconstruct, events, scanner, grid, efficiency
):
    """Add as many counts as the object has, evenly over the LORs' areas."""
    rng = np.random.default_rng(9)
    areas = geometry.lor_areas_mm2(scanner, efficiency)
    exposure = lors.exposures_mm2(scanner, areas)
    counts = rng.poisson(exposure * 2 * len(events) / exposure.sum())
    step, ring1, ring2 = (np.repeat(i.ravel(), counts.ravel()) for i in np.indices(counts.shape))
    column = rng.integers(0, scanner.num_columns, len(step))
    extra1 = ring1 * scanner.num_columns + column
    extra2 = ring2 * scanner.num_columns + (column + step) % scanner.num_columns
    crystals = (
        np.concatenate([own, extra]).astype(np.int32)
        for own, extra in ((events.crystal1, extra1), (events.crystal2, extra2))
    )
    num = len(events) + len(step)
    both = Listmode(*crystals, np.zeros(num), np.zeros(num, np.uint8))
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    # air-like: tells where the object is, and attenuates by less than 1e-4
    mu = Volume(np.where((np.hypot(x, y) < 7) & (np.abs(z) < 7), 1e-6, 0.0), grid)
    image, trace = reconstruct(both, mu=mu)
    inside = (np.hypot(x, y) < 9) & (np.abs(z) < 9)
    inside_bq = float(image.array[inside].sum()) * grid.voxel_volume_mm3
    # 3 % as without background, and about 1 % each from its counts on these lines and its fit
    assert inside_bq == pytest.approx(30_000, rel=0.06)
    assert trace["total_bq"].iloc[-1] < 1.1 * 30_000
    assert (np.diff(trace["log_likelihood"]) > 0).all()


def test_one_and_two_threads_give_the_same_bytes(reconstruct, events):
    images = []
    for num_threads in (1, 2):
        kernels.use_threads(num_threads)
        images.append(reconstruct(events, num_iterations=3, filter_fwhm_mm=1.0)[0].array.tobytes())
    assert images[0] == images[1]


def test_osem_approaches_mlem(reconstruct, events):
    many, _ = reconstruct(events, num_iterations=24)
    fast, trace = reconstruct(events, num_iterations=6, num_subsets=4)
    slow, _ = reconstruct(events, num_iterations=6)

    def difference(image):
        return np.sqrt(np.mean((image.array - many.array) ** 2) / np.mean(many.array**2))

    # 6 x 4 updates are as far as 24 iterations, up to the noise between subsets
    assert difference(fast) < 0.5 * difference(slow)
    assert trace["log_likelihood"].iloc[-1] > trace["log_likelihood"].iloc[0]


@pytest.mark.parametrize("num_subsets", [1, 4])
def test_parallelproj_gives_the_same_image(reconstruct, events, num_subsets):
    try:
        parallelproj.load()
    except InputError as error:
        pytest.skip(str(error))
    (image, trace), (expected, wanted) = (
        reconstruct(events, num_subsets=num_subsets, backend=name)
        for name in ("parallelproj", "numba")
    )
    # lines at the image's rim, where nothing is, are dropped by one and faded out by the other
    difference = np.sqrt(np.mean((image.array - expected.array) ** 2))
    assert difference < 1e-3 * np.sqrt(np.mean(expected.array**2))
    assert np.allclose(trace["total_bq"], wanted["total_bq"], rtol=1e-3)


def test_no_coincidence_gives_a_zero_image_and_a_plain_statement(
    reconstruct, grid, caplog, monkeypatch
):
    monkeypatch.setattr(log, "propagate", True)
    none = np.zeros(0, np.int32)
    with caplog.at_level(logging.WARNING, "tubepet"):
        image, trace = reconstruct(Listmode(none, none, np.zeros(0), np.zeros(0, np.uint8)))
    assert "no coincidence crosses the image" in caplog.text
    assert image.array.shape == grid.shape and not image.array.any()
    figures.draw_convergence(trace, "empty")
    figures.draw_image(image, image, "empty")


def test_five_coincidences_are_enough(reconstruct, events, grid):
    few = Listmode(*(getattr(events, field.name)[:5] for field in dataclasses.fields(events)))
    image, trace = reconstruct(few)
    assert np.isfinite(image.array).all() and image.array.sum() > 0
    assert np.isfinite(trace["log_likelihood"]).all()


def test_filter_keeps_the_total_and_has_its_width(grid):
    rng = np.random.default_rng(0)
    image = rng.uniform(size=grid.shape)
    assert blur.smoothed(image, grid, 6.0).sum() == pytest.approx(image.sum(), rel=1e-12)
    fine = Grid.centred((1, 1, 401), (1.0, 1.0, 0.1))
    point = np.zeros(fine.shape)
    point[0, 0, 200] = 1
    profile = blur.smoothed(point, fine, 4.0)[0, 0]
    assert (profile > profile.max() / 2).sum() * 0.1 == pytest.approx(4.0, abs=0.15)


def test_foreign_crystals_and_impossible_attenuation_are_refused(reconstruct, events, grid):
    foreign = dataclasses.replace(events, crystal2=events.crystal2 + 100_000)
    with pytest.raises(InputError, match=r"got crystal 1\d+, expected 0..479"):
        reconstruct(foreign)
    with pytest.raises(InputError, match="attenuation map: got negative"):
        reconstruct(events, mu=Volume(np.full(grid.shape, -1.0), grid))


@pytest.mark.parametrize(
    ("voxel_mm", "z_mm", "sentence"),
    [
        (10.0, 0.0, "attenuates at the crystals"),
        (1.0, 500.0, "the object and the image do not meet"),
    ],
)
def test_attenuation_of_another_frame_is_refused(reconstruct, events, voxel_mm, z_mm, sentence):
    """A map in cm, or one placed by another origin; `test_sensitivity` has one on a finer grid."""
    own = Grid.centred((10, 24, 24), (2.0, voxel_mm, voxel_mm))
    moved = Grid(own.shape, own.voxel_mm, (own.origin_mm[0] + z_mm, *own.origin_mm[1:]))
    with pytest.raises(InputError, match=f"attenuation map: {sentence}"):
        reconstruct(events, mu=Volume(np.full(moved.shape, 0.01), moved))


@pytest.mark.parametrize(("axis", "row"), [(0, 0), (0, -1), (1, 0), (2, -1)])
def test_attenuation_that_is_cut_within_the_image_is_refused(reconstruct, events, axis, row):
    """The map must hold the whole object, or go on beyond the image; air may be at its ends."""
    small = Grid.centred((8, 20, 20), (2.0, 1.0, 1.0))
    mu = np.full(small.shape, 1.05e-5)  # air
    mu[1:-1, 1:-1, 1:-1] = 0.0096
    reconstruct(events, mu=Volume(mu, small))
    np.moveaxis(mu, axis, 0)[row, 4, 4] = 0.0096
    end = "lower" if row == 0 else "upper"
    message = f"attenuation map: attenuates at its {end} end in {'zyx'[axis]} .* air around it"
    with pytest.raises(InputError, match=message):
        reconstruct(events, mu=Volume(mu, small))
    long = Grid.centred((14, 20, 20), (2.0, 1.0, 1.0))
    through = np.zeros(long.shape)
    through[:, 5:15, 5:15] = 0.0096
    reconstruct(events, mu=Volume(through, long))


def test_pairs_without_efficiency_are_refused_and_forbidden_ones_left_out(
    reconstruct, events, scanner, efficiency, geometric
):
    """The nearest allowed pairs lose their efficiency; then pairs below the distance come in."""
    steps = geometry.column_steps(events, scanner)
    dead = efficiency.copy()
    dead[steps.min()] = 0
    mu = Volume(np.zeros(geometric.grid.shape), geometric.grid)
    with pytest.raises(InputError, match=r"got \d+ on crystal pairs of efficiency 0"):
        image_of(events, mu, Instrument(scanner, dead, geometric), Settings(2))
    near = geometry.is_allowed_step(scanner).argmax() - 1
    extra = events.crystal1 // scanner.num_columns * scanner.num_columns
    column = events.crystal1 % scanner.num_columns
    other = dataclasses.replace(events, crystal2=extra + (column + near) % scanner.num_columns)
    both = Listmode(
        *(np.concatenate([getattr(e, f.name) for e in (events, other)])
          for f in dataclasses.fields(events))
    )  # fmt: skip
    wide = Grid.centred((10, 54, 54), (2.0, 1.0, 1.0))  # such lines pass its corners
    seen = Volume(sensitivity.geometric_sensitivity(scanner, wide, efficiency), wide)
    fixed = mu, Instrument(scanner, efficiency, seen), Settings(2)
    (with_them, _), (without, _) = (image_of(e, *fixed) for e in (both, events))
    np.testing.assert_array_equal(with_them.array, without.array)


def test_line_ends_inside_the_image_and_too_large_an_image_are_refused(events, scanner, efficiency):
    wide = Grid.centred((10, 80, 80), (2.0, 1.0, 1.0))
    seen = Volume(np.ones(wide.shape), wide)
    with pytest.raises(InputError, match="scanner: got 48 line ends inside the image"):
        image_of(events, seen, Instrument(scanner, efficiency, seen), Settings(2))
    huge = Grid.centred((1024, 10**6, 10**6), (1.0, 1.0, 1.0))
    with pytest.raises(InputError, match=r"voxels need about .* GB of this machine"):
        sensitivity.geometric_sensitivity(scanner, huge, efficiency)


def in_air(mu_per_mm, grid):
    """Return the attenuation of a box that ends one voxel within the image."""
    mu = np.zeros(grid.shape)
    mu[1:-1, 1:-1, 1:-1] = mu_per_mm
    return Volume(mu, grid)


def test_a_ring_as_a_table_of_crystals_gives_the_same_image(
    scanner, events, efficiency, geometric, grid
):
    """The symmetric sums against those over pairs, one by one; no background in either."""
    table = crystals.of_scanner(scanner)
    table = dataclasses.replace(table, efficiency=np.full(len(table), np.sqrt(efficiency[5, 0])))
    mu = in_air(0.005, grid)
    nothing = events.at(np.arange(0))
    settings = dataclasses.replace(SETTINGS, sensitivity_stride=1, num_iterations=4)
    images = []
    for known in (efficiency, table):
        plain = Volume(sensitivity.geometric_sensitivity(scanner, grid, known), grid)
        model = model_acquisition(
            Measurement(events, mu, 2.0, nothing), Instrument(scanner, known, plain), settings
        )
        images.append(reconstructed(model, settings, 0)[0].array)
    assert len(model.lines) > 5000
    # rounding decides along which axis lines of exactly 45 degrees are followed; scatter of the
    # ring is interpolated between columns
    assert np.sqrt(np.mean((images[0] - images[1]) ** 2)) < 0.01 * images[0].max()
    assert images[1].sum() == pytest.approx(images[0].sum(), rel=2e-3)


def test_without_delayed_pairs_the_background_of_a_table_stays(
    scanner, events, grid, caplog, monkeypatch
):
    table = crystals.of_scanner(scanner)
    mu = in_air(0.005, grid)
    plain = Volume(sensitivity.geometric_sensitivity(scanner, grid, table), grid)
    measured = Measurement(events.at(np.arange(500)), mu, 2.0)
    monkeypatch.setattr(log, "propagate", True)
    with caplog.at_level(logging.WARNING, "tubepet"):
        model = model_acquisition(measured, Instrument(scanner, table, plain), SETTINGS)
    assert model.background_counts == 0 and not model.lines.additive.any()
    assert "scatter and randoms stay in the image" in caplog.text
