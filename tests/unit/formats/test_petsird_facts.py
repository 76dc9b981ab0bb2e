"""PETSIRD files of other programs: what their header and blocks say, and what is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import petsird as package
import pytest
from petsird import _binary

from tubepet.errors import InputError
from tubepet.formats import petsird
from tubepet.formats.content import kind_of
from tubepet.reconstruct.scanner.crystals import is_coincidence

WALL = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)  # depth along y
CASES = Path(__file__).parents[4] / "shared/cases/events/petsird"


def rigid(turn: np.ndarray, place: list[float]) -> package.RigidTransformation:
    matrix = np.column_stack([turn, place]).astype(np.float32)
    return package.RigidTransformation(matrix=matrix)


def box(depth: float, width: float, height: float) -> package.BoxSolidVolume:
    corners = [
        package.Coordinate(c=np.array([x, y, z], np.float32) / 2)
        for x in (-depth, depth)
        for y in (-width, width)
        for z in (-height, height)
    ]
    return package.BoxSolidVolume(shape=package.BoxShape(corners=corners), material_id=1)


def module(shape, elements, places) -> package.ReplicatedDetectorModule:
    """Boxes at places in a module, and the module at places."""
    boxes = package.ReplicatedBoxSolidVolume(object=shape, transforms=elements)
    one = package.DetectorModule(detecting_elements=boxes)
    return package.ReplicatedDetectorModule(object=one, transforms=places)


def plates(half_mm: float, num: int, turn: np.ndarray = WALL) -> package.ReplicatedDetectorModule:
    """Return two plates of one module each, at y = -60 and 60, `num` x 3 crystals 8 mm wide."""
    x_mm = np.linspace(-half_mm, half_mm, num)
    elements = [rigid(turn, [x, 0, z]) for x in x_mm for z in (-5, 0, 5)]
    return module(box(10, 4, 4), elements, [rigid(np.eye(3), [0, y, 0]) for y in (-60, 60)])


def scanner(types, windows=((0, 1000),), efficiencies=None) -> package.ScannerInformation:
    edges = package.BinEdges(edges=np.array([-100, 0, 100], np.float32))
    bins = [package.BinEdges(edges=np.array(one, np.float32)) for one in windows]
    return package.ScannerInformation(
        scanner_geometry=package.ScannerGeometry(replicated_modules=types),
        tof_bin_edges=[[edges] * (i + 1) for i in range(len(types))],
        tof_resolution=[[10.0] * (i + 1) for i in range(len(types))],
        event_energy_bin_edges=bins * (len(types) if len(bins) == 1 else 1),
        energy_resolution_at_511=[0.1] * len(types),
        prompt_event_policy=package.CoincidencePolicy.REJECT_HIGHER_MULTIPLES,
        detection_efficiencies=efficiencies or package.DetectionEfficiencies(),
    )


def pair(a: int, b: int) -> package.CoincidenceEvent:
    return package.CoincidenceEvent(detection_bins=[a, b], tof_idx=0)


def span(start: int, stop: int) -> package.TimeInterval:
    return package.TimeInterval(start=start, stop=stop)


def block(start: int, stop: int, events) -> package.TimeBlock:
    return package.TimeBlock.EventTimeBlock(
        package.EventTimeBlock(time_interval=span(start, stop), prompt_events=events)
    )


def bed(z_mm: float) -> package.TimeBlock:
    moved = rigid(np.eye(3), [0, 0, z_mm])
    return package.TimeBlock.BedMovementTimeBlock(
        package.BedMovementTimeBlock(time_interval=span(0, 1), transform=moved)
    )


def read(folder: Path, info: package.ScannerInformation, *blocks: package.TimeBlock):
    path = folder / "a.petsird"
    with package.BinaryPETSIRDWriter(str(path)) as writer:
        writer.write_header(package.Header(scanner=info))
        writer.write_time_blocks(list(blocks))
    return petsird.read_petsird(path)


def test_efficiencies_of_windows_add_up_and_the_calibration_is_shared(tmp_path) -> None:
    """Two windows and a factor of 4: a pair's efficiency is 4 (0.1 + 0.2) (0.3 + 0.4)."""
    types = [plates(20, 3)]
    values = np.zeros((18, 2))
    values[0], values[1] = (0.1, 0.2), (0.3, 0.4)
    known = package.DetectionEfficiencies(
        calibration_factor=4.0, detection_bin_efficiencies=[values.ravel().tolist()]
    )
    found = read(tmp_path, scanner(types, ((350, 500, 650),), known), block(0, 5, [[[pair(3, 1)]]]))
    crystals, prompts, _, _ = found
    assert crystals.efficiency[0] * crystals.efficiency[1] == pytest.approx(4 * 0.3 * 0.7)
    # numbers count windows first: bins 3 and 1 are crystals 1 and 0
    assert (prompts.crystal1.tolist(), prompts.crystal2.tolist()) == ([1], [0])


@pytest.mark.parametrize("half_mm", [20, 118, 600])
def test_crystals_of_plates_look_across(tmp_path, half_mm) -> None:
    """However wide a plate is: at 600 mm the axis is beside nearly all of its crystals."""
    crystals, *_ = read(tmp_path, scanner([plates(half_mm, 61)]))
    np.testing.assert_allclose(crystals.normals[:183], [[0, 1, 0]] * 183, atol=1e-6)
    np.testing.assert_allclose(crystals.normals[183:], [[0, -1, 0]] * 183, atol=1e-6)
    np.testing.assert_allclose(crystals.areas_mm2, 16)


def test_crystals_at_the_ends_of_a_scanner_look_along_the_axis(tmp_path) -> None:
    turn = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.float32)  # depth along z
    elements = [rigid(turn, [x, y, 0]) for x in (-20, 0, 20) for y in (-15, 0, 15)]
    ends = module(box(4, 10, 10), elements, [rigid(np.eye(3), [0, 0, z]) for z in (-50, 50)])
    crystals, *_ = read(tmp_path, scanner([ends]))
    np.testing.assert_allclose(crystals.normals[[0, 17]], [[0, 0, 1], [0, 0, -1]], atol=1e-6)


def test_a_ring_of_several_layers_looks_at_the_axis(tmp_path) -> None:
    """One crystal around, two along the axis, four behind each other, per module."""
    elements = [rigid(np.eye(3), [x, 0, z]) for x in (0, 10, 20, 30) for z in (-2, 2)]
    angles = np.radians(np.arange(0, 360, 20))
    places = [
        rigid(
            np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]),
            [100 * np.cos(a), 100 * np.sin(a), 0],
        )
        for a in angles
    ]
    crystals, *_ = read(tmp_path, scanner([module(box(4, 10, 4), elements, places)]))
    flat = crystals.points_mm[:, :2]
    inwards = -flat / np.linalg.norm(flat, axis=1)[:, None]
    np.testing.assert_allclose(crystals.normals[:, :2], inwards, atol=1e-6)


def test_two_types_of_module(tmp_path) -> None:
    """Crystals of the second type follow those of the first; pairs are by both types."""
    first = plates(20, 3)
    wide = [rigid(WALL, [x, 0, 0]) for x in (-10, 10)]
    second = module(box(20, 9, 9), wide, [rigid(np.eye(3), [0, y, 0]) for y in (-80, 80)])
    events = [[[pair(9, 2)]], [[pair(0, 17)], [pair(3, 1)]]]
    crystals, prompts, *_ = read(tmp_path, scanner([first, second]), block(0, 5, events))
    assert len(crystals) == 18 + 4
    assert crystals.areas_mm2[[0, 17, 18, 21]].tolist() == [16, 16, 81, 81]
    ids = np.stack([prompts.crystal1, prompts.crystal2], axis=1)
    assert ids.tolist() == [[9, 2], [18, 17], [21, 19]]
    np.testing.assert_allclose(crystals.points_mm[18], [-10, -80, 0])
    with pytest.raises(InputError, match=r"got crystal 4, expected 0\.\.3"):
        read(tmp_path, scanner([first, second]), block(0, 5, [[[]], [[], [pair(4, 0)]]]))
    with pytest.raises(InputError, match="got events of 1 types of module, expected 2"):
        read(tmp_path, scanner([first, second]), block(0, 5, [[[pair(4, 0)]]]))


def test_blocks_add_up_to_the_duration(tmp_path) -> None:
    """Blocks from 100 ms on: times count from there; with a gap they are not known."""
    info, one = scanner([plates(20, 3)]), [[[pair(9, 2)]]]
    _, prompts, _, facts = read(tmp_path, info, block(100, 110, one), block(110, 116, one))
    assert facts.duration_s == pytest.approx(0.016)
    np.testing.assert_allclose(prompts.time_s, [0.005, 0.013])
    _, prompts, _, facts = read(tmp_path, info, block(100, 110, one), block(120, 130, one))
    assert facts.duration_s == pytest.approx(0.020)
    assert len(prompts) == 2 and len(prompts.time_s) == 0


def test_modules_that_are_in_no_coincidence(tmp_path) -> None:
    known = package.DetectionEfficiencies(module_pair_sgidlut=[[[[-1], [0, -1]]]])
    crystals, *_ = read(tmp_path, scanner([plates(20, 3)], efficiencies=known))
    first, second = np.array([0, 0, 9, 17]), np.array([9, 1, 17, 0])
    assert is_coincidence(crystals, first, second).tolist() == [True, False, False, True]


def test_one_place_of_the_bed_is_told(tmp_path) -> None:
    info, one = scanner([plates(20, 3)]), [[[pair(9, 2)]]]
    *_, facts = read(tmp_path, info, bed(30), block(0, 5, one), block(5, 9, one), bed(0))
    assert facts.bed_mm == 30


ALIVE = package.TimeBlock.DeadTimeTimeBlock(
    package.DeadTimeTimeBlock(
        time_interval=span(0, 5),
        alive_time_fractions=package.AliveTimeFractions(
            singles_alive_time_fractions=[np.full(18, 0.9, np.float32)]
        ),
    )
)
GANTRY = package.TimeBlock.GantryMovementTimeBlock(
    package.GantryMovementTimeBlock(
        time_interval=span(0, 5), transforms=[rigid(np.eye(3), [0, 0, 9])]
    )
)
PAIRS = package.DetectionEfficiencies(
    module_pair_efficiencies_vectors=[
        [[package.ModulePairEfficiencies(values=[[1.0, 0.5], [1.0, 1.0]], sgid=0)]]
    ]
)
EVENT = [[[pair(9, 2)]]]
REFUSED = {
    "a bed that moves": ({}, (block(0, 5, EVENT), bed(30), block(5, 9, EVENT))),
    "dead time": ({}, (ALIVE, block(0, 5, EVENT))),
    "a gantry that moves": ({}, (GANTRY, block(0, 5, EVENT))),
    "module pair efficiencies": ({"efficiencies": PAIRS}, ()),
    "detection bin efficiencies, expected [18]": (
        {"efficiencies": package.DetectionEfficiencies(detection_bin_efficiencies=[[1.0] * 17])},
        (),
    ),
    "that are not all 0": (
        {"efficiencies": package.DetectionEfficiencies(detection_bin_efficiencies=[[0.0] * 18])},
        (),
    ),
    "calibration factor > 0, got -1": (
        {"efficiencies": package.DetectionEfficiencies(calibration_factor=-1.0)},
        (),
    ),
    "expected edges that rise": ({"windows": ((400, 300),)}, ()),
    "energy windows of 2 types of module, expected 1": ({"windows": ((0, 9), (0, 9))}, ()),
    "from 3 to 9 ms after one that ends at 5 ms": ({}, (block(0, 5, EVENT), block(3, 9, EVENT))),
    "from 5 to 5 ms": ({}, (block(5, 5, EVENT),)),
    "got TOF bin 7, expected 0..1": (
        {},
        (block(0, 5, [[[package.CoincidenceEvent(detection_bins=[9, 2], tof_idx=7)]]]),),
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_modelled_is_refused_by_name(tmp_path, reason) -> None:
    changes, blocks = REFUSED[reason]
    with pytest.raises(InputError) as error:
        read(tmp_path, scanner([plates(20, 3)], **changes), *blocks)
    assert reason in str(error.value) and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("turn", "place", "reason"),
    [
        (2 * np.eye(3), [0, 0, 0], "not rigid"),
        (np.eye(3), [np.nan, 0, 0], "finite numbers"),
        (np.eye(3), [1e6, 0, 0], "at most 100000 mm"),
    ],
)
def test_transformations_are_turns_and_mm(tmp_path, turn, place, reason) -> None:
    kind = module(box(10, 4, 4), [rigid(turn, place)], [rigid(np.eye(3), [0, 60, 0])])
    with pytest.raises(InputError, match=reason):
        read(tmp_path, scanner([kind]))


def test_few_bytes_cannot_declare_many_crystals(tmp_path) -> None:
    """1001 modules of 1000 crystals, 48 bytes each."""
    here = rigid(np.eye(3), [0, 0, 0])
    kind = module(box(10, 4, 4), [here] * 1000, [here] * 1001)
    with pytest.raises(InputError, match=r"got 1\.001e\+06 crystals, expected 1 to 1000000"):
        read(tmp_path, scanner([kind]))


def test_declared_lengths_are_checked_first(tmp_path) -> None:
    texts = _binary.NDArraySerializer(_binary.string_serializer, 2)
    numbers = _binary.NDArraySerializer(_binary.float32_serializer, 2)
    cases = (
        # 2^42 texts in a file of 8 bytes; 2^124 numbers; a number that does not end
        (texts.read, b"\x80\x80\x80\x01" * 2, EOFError, "a length of 4398046511104 bytes"),
        (numbers.read, (b"\x80" * 8 + b"\x40") * 2, EOFError, "a length of"),
        (petsird.BoundedStream.read_unsigned_varint, b"\xff" * 1000, ValueError, "64 bits"),
    )
    for read_one, content, kind, reason in cases:
        (tmp_path / "a").write_bytes(content)
        with (tmp_path / "a").open("rb") as file, pytest.raises(kind, match=reason):
            read_one(petsird.BoundedStream(file))


def test_a_block_larger_than_memory_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(petsird, "memory_bytes", lambda: 1e6)
    many = [[[pair(9, 2)] * 50_000]]
    with pytest.raises(InputError, match=r"a\.petsird: got a block of events that needs"):
        read(tmp_path, scanner([plates(20, 3)]), block(0, 5, many))


def test_triples_are_counted_and_left_out(tmp_path, caplog) -> None:
    triple = package.TripleEvent(detection_bins=[9, 2, 1], tof_indices=[0, 0])
    made = block(0, 5, EVENT)
    made.value.triple_events = [[[[triple, triple]]]]
    _, prompts, *_ = read(tmp_path, scanner([plates(20, 3)]), made)
    assert len(prompts) == 1 and "2 triples and more left out" in caplog.text


def test_the_kind_is_in_the_first_bytes(tmp_path) -> None:
    read(tmp_path, scanner([plates(20, 3)]))
    (tmp_path / "a.petsird").rename(tmp_path / "a.bin")
    (tmp_path / "b.bin").write_bytes(b"root")
    assert [kind_of(tmp_path / f"{n}.bin") for n in "ab"] == ["petsird", "root"]


def test_the_shared_panels(tmp_path) -> None:
    """Two plates at y = -60 and 60, 236 mm wide, in one module."""
    if not CASES.is_dir():
        pytest.skip(f"no shared cases at {CASES}")
    crystals, prompts, _, facts = petsird.read_petsird(CASES / "p_panel.petsird")
    assert (np.sign(crystals.normals[:, 1]) == -np.sign(crystals.points_mm[:, 1])).all()
    assert (np.abs(crystals.normals[:, 1]) > 0.999).all()
    assert (len(prompts), facts.duration_s) == (5000, 0.01)
    efficient, *_ = petsird.read_petsird(CASES / "p_eff.petsird")
    assert np.unique(efficient.efficiency).round(6).tolist() == [0.3, 1.0]
    assert dataclasses.is_dataclass(facts)
