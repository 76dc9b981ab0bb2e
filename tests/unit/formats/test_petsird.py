import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tubepet.errors import InputError
from tubepet.formats import petsird
from tubepet.reconstruct.scanner import crystals
from tubepet.types import Listmode


def listmode(rng, num, num_crystals):
    first, second = rng.integers(0, num_crystals, (2, num)).astype(np.int32)
    return Listmode(first, second, rng.normal(0, 1, num), np.zeros(num, np.uint8))


@pytest.fixture(scope="module")
def ring(scanner):
    return crystals.of_scanner(scanner)


@pytest.fixture(scope="module")
def whole(ring, tmp_path_factory):
    path = tmp_path_factory.mktemp("petsird") / "a.petsird"
    rng = np.random.default_rng(0)
    petsird.write_petsird(path, ring, *(listmode(rng, n, len(ring)) for n in (200, 30)), 0.1, 300.0)
    return path


def test_round_trip(ring, whole):
    rng = np.random.default_rng(0)
    written = [listmode(rng, num, len(ring)) for num in (200, 30)]
    got, *events, facts = petsird.read_petsird(whole)
    assert facts.duration_s == 0.1
    # the file is float32
    np.testing.assert_allclose(got.points_mm, ring.points_mm, atol=1e-4)
    np.testing.assert_allclose(got.normals, ring.normals, atol=1e-6)
    np.testing.assert_allclose(got.areas_mm2, ring.areas_mm2, rtol=1e-5)
    for one, other in zip(written, events, strict=True):
        is_swapped = one.crystal1 < one.crystal2
        assert (other.crystal1 == np.maximum(one.crystal1, one.crystal2)).all()
        assert (other.crystal2 == np.minimum(one.crystal1, one.crystal2)).all()
        times = np.where(is_swapped, -1, 1) * one.time_difference_ns
        # half a bin of 1 mm
        assert np.abs(other.time_difference_ns - times).max() <= 0.501 / petsird.MM_PER_NS


def test_time_of_flight_has_petsirds_sign(ring, tmp_path):
    """A photon that reaches the first crystal later came from the second one's side."""
    events = Listmode(
        np.array([5], np.int32), np.array([2], np.int32), np.array([-1.0]), np.zeros(1, np.uint8)
    )
    petsird.write_petsird(tmp_path / "a.petsird", ring, events, events, 1.0, 300.0)
    import petsird as package

    with package.BinaryPETSIRDReader(str(tmp_path / "a.petsird")) as reader:
        header = reader.read_header().scanner
        edges = header.tof_bin_edges[0][0].edges
        (block,) = list(reader.read_time_blocks())
    event = block.value.prompt_events[0][0][0]
    # t1 - t2 = +1 ns: 149.9 mm
    assert edges[event.tof_idx] <= 149.9 <= edges[event.tof_idx + 1]
    # 300 ps of a pair, before binning: 300e-3 x 149.9 mm, as float32
    assert header.tof_resolution[0][0] == pytest.approx(44.97, abs=0.01)


def test_times_are_those_of_short_blocks(ring, tmp_path):
    event = np.array([5], np.int32), np.array([2], np.int32), np.zeros(1), np.zeros(1, np.uint8)
    for duration_s, expected in ((0.01, [0.005]), (1.0, [])):
        petsird.write_petsird(
            tmp_path / "a.petsird", ring, Listmode(*event), Listmode(*event), duration_s, 300.0
        )
        for part in petsird.read_petsird(tmp_path / "a.petsird")[1:3]:
            np.testing.assert_allclose(part.time_s, expected)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_cut_files_are_refused(whole, tmp_path, share):
    data = whole.read_bytes()
    cut = tmp_path / "cut.petsird"
    cut.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match="expected a whole PETSIRD file"):
        petsird.read_petsird(cut)


def test_corners_may_come_in_any_order():
    corners = np.array([[x, y, z] for x in (-10, 10) for y in (-2, 2) for z in (-1, 1)], float)
    for seed in range(10):
        edges = petsird._edges(np.random.default_rng(seed).permutation(corners))
        assert sorted(np.linalg.norm(edges, axis=1)) == [2, 4, 20]
    with pytest.raises(InputError, match="no cuboid"):
        petsird._edges(corners * np.linspace(1, 2, 8)[:, None])
