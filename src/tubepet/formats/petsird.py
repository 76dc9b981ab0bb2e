"""PETSIRD, the open format of raw PET data: crystals, prompts and delayed pairs, read and written.

https://petsird.org, package petsird 0.12. A file holds its scanner: boxes, placed by rigid
transformations. Here a box becomes one crystal: its centre, the face that looks at the scanner's
axis, efficiency 1. Time of flight is (t1 - t2) c / 2 in mm by PETSIRD's definition.

Simplified: one type of module; energies, and efficiencies stored in the file, are not used (for
efficiencies make a crystal table).
"""

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import petsird
from numpy.typing import NDArray
from petsird import _binary
from petsird._binary import CodedInputStream

from tubepet import io
from tubepet.constants import MM_PER_NS
from tubepet.errors import InputError, reading
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.types import Listmode

TOF_BIN_MM = 1.0
MAX_BLOCK_MS = 10  # events know their time by their block; longer blocks tell too little
DEPTH_MM = 20.0  # of the boxes that are written; crystals have a face and no depth


class BoundedStream(CodedInputStream):
    """The package's stream, which refuses lengths beyond the file before it takes memory."""

    def read_view(self, count: int) -> memoryview:  # noqa: D102
        self._check(count)
        return super().read_view(count)

    def read_bytearray(self, count: int) -> bytearray:  # noqa: D102
        self._check(count)
        return super().read_bytearray(count)

    def _check(self, count: int) -> None:
        if count > os.fstat(self._stream.fileno()).st_size:
            raise EOFError(f"a length of {count} bytes")


_binary.CodedInputStream = BoundedStream  # petsird 0.12 believes every length


def read_petsird(path: str | Path) -> tuple[Crystals, Listmode, Listmode]:
    """Read scanner, prompts and delayed pairs of a binary PETSIRD file.

    Returns
    -------
    Crystals
        One per detecting element, modules one after the other.
    Listmode, Listmode
        Prompts and delayed; time differences are only as good as the file's bins, times are the
        middle of a block (unknown where a block is longer than `MAX_BLOCK_MS`), truth 0.

    Raises
    ------
    InputError
        If the file is damaged, has several types of module, or a bin that is no crystal's.
    """
    with reading(path, "a whole PETSIRD file"):
        with Path(path).open("rb") as file, petsird.BinaryPETSIRDReader(file) as reader:
            scanner = reader.read_header().scanner
            blocks = [
                block.value
                for block in reader.read_time_blocks()
                if isinstance(block, petsird.TimeBlock.EventTimeBlock)
            ]
        return _acquisition(path, scanner, blocks)


def _acquisition(
    path: str | Path, scanner: Any, blocks: list[Any]
) -> tuple[Crystals, Listmode, Listmode]:
    modules = scanner.scanner_geometry.replicated_modules
    if len(modules) != 1:
        raise InputError(f"{path}: got {len(modules)} types of module, expected 1")
    crystals = _crystals(modules[0])
    edges = np.asarray(scanner.tof_bin_edges[0][0].edges, np.float64)
    num_energies = max(len(scanner.event_energy_bin_edges[0].edges) - 1, 1)
    found = []
    for kind in ("prompt_events", "delayed_events"):
        lists = [part[0][0] if (part := getattr(block, kind)) else [] for block in blocks]
        events = list(itertools.chain(*lists))
        times_s = _times_s(blocks, [len(part) for part in lists])
        found.append(_listmode(path, events, times_s, edges, num_energies, len(crystals)))
    return crystals, found[0], found[1]


def write_petsird(
    path: str | Path,
    crystals: Crystals,
    prompts: Listmode,
    delayed: Listmode,
    duration_s: float,
    tof_fwhm_ps: float,
) -> None:
    """Write an acquisition as one block; efficiencies are left out.

    Crystals become boxes of their area, `DEPTH_MM` deep; times are binned to `TOF_BIN_MM`.
    `tof_fwhm_ps` is a pair's.
    """
    half_mm = [DEPTH_MM / 2] + [np.sqrt(float(crystals.areas_mm2[0])) / 2] * 2
    if not np.allclose(crystals.areas_mm2, crystals.areas_mm2[0], rtol=1e-6):
        raise InputError("crystals: got faces of several areas, expected one for PETSIRD")
    corners = [
        petsird.Coordinate(c=np.array(signs, np.float32) * np.array(half_mm, np.float32))
        for signs in itertools.product((-1, 1), repeat=3)
    ]
    box = petsird.BoxSolidVolume(shape=petsird.BoxShape(corners=corners), material_id=1)
    placed = petsird.ReplicatedBoxSolidVolume(
        object=box, transforms=[petsird.RigidTransformation(matrix=m) for m in _places(crystals)]
    )
    whole = petsird.RigidTransformation(matrix=np.eye(3, 4, dtype=np.float32))
    module = petsird.DetectorModule(detecting_elements=placed)
    geometry = petsird.ScannerGeometry(
        replicated_modules=[petsird.ReplicatedDetectorModule(object=module, transforms=[whole])]
    )
    times = np.concatenate([prompts.time_difference_ns, delayed.time_difference_ns])
    reach = int(np.ceil(np.abs(times).max(initial=0) * MM_PER_NS / TOF_BIN_MM)) + 1
    edges = (np.arange(-reach, reach + 1) * TOF_BIN_MM).astype(np.float32)
    scanner = petsird.ScannerInformation(
        model_name="tubepet",
        scanner_geometry=geometry,
        tof_bin_edges=[[petsird.BinEdges(edges=edges)]],
        tof_resolution=[[tof_fwhm_ps * 1e-3 * MM_PER_NS]],
        event_energy_bin_edges=[petsird.BinEdges(edges=np.array([0, 1000], np.float32))],
        energy_resolution_at_511=[0.15],
        prompt_event_policy=petsird.CoincidencePolicy.MULTIPLES_AS_ALL_COINCIDENCES,
        delayed_event_policy=petsird.CoincidencePolicy.MULTIPLES_AS_ALL_COINCIDENCES,
    )
    block = petsird.EventTimeBlock(
        time_interval=petsird.TimeInterval(start=0, stop=round(duration_s * 1000)),
        prompt_events=[[_events(prompts, reach)]],
        delayed_events=[[_events(delayed, reach)]],
    )
    with io.atomic(Path(path)) as part, petsird.BinaryPETSIRDWriter(str(part)) as writer:
        writer.write_header(petsird.Header(scanner=scanner))
        writer.write_time_blocks([petsird.TimeBlock.EventTimeBlock(block)])


def _crystals(module: Any) -> Crystals:
    elements = module.object.detecting_elements
    corners = np.array([corner.c for corner in elements.object.shape.corners], np.float64)
    edges = _edges(corners)
    matrices = np.array(
        [_square(m) @ _square(e) for m in module.transforms for e in elements.transforms]
    )
    points = matrices[:, :3, :3] @ corners.mean(axis=0) + matrices[:, :3, 3]
    ways = np.einsum("nij,kj->nki", matrices[:, :3, :3], edges)
    lengths = np.linalg.norm(ways, axis=2)
    inwards = -points * [1.0, 1.0, 0.0]
    cosines = np.einsum("nki,ni->nk", ways / lengths[:, :, None], inwards)
    depth = np.argmax(np.abs(cosines), axis=1)
    rows = np.arange(len(points))
    normals = ways[rows, depth] / lengths[rows, depth, None]
    normals *= np.sign(cosines[rows, depth])[:, None]
    areas = lengths.prod(axis=1) / lengths[rows, depth]
    return Crystals(points, normals, areas, np.ones(len(points)))


def _edges(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Three edges of a cuboid from its first corner, whatever the order of the corners."""
    ways = corners[1:] - corners[0]
    far = ways[np.argmax(np.linalg.norm(ways, axis=1))]
    for three in itertools.combinations(ways, 3):
        edges = np.array(three)
        products = edges @ edges.T
        scale = np.abs(products).max()
        is_right = np.abs(products - np.diag(np.diag(products))).max() < 1e-4 * scale
        if is_right and np.allclose(edges.sum(axis=0), far, atol=1e-3):
            return edges
    raise InputError("PETSIRD: got a detecting element that is no cuboid, expected boxes")


def _square(transform: Any) -> NDArray[np.float64]:
    return np.vstack([np.asarray(transform.matrix, np.float64), [0.0, 0.0, 0.0, 1.0]])


def _places(crystals: Crystals) -> NDArray[np.float32]:
    """Return transformations that turn the box's first axis into the normal, shape (n, 3, 4)."""
    normals = crystals.normals
    other = np.where(np.abs(normals[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    across = np.cross(other, normals)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    up = np.cross(normals, across)
    columns = np.stack([normals, across, up, crystals.points_mm], axis=2)
    return columns.astype(np.float32)


def _events(listmode: Listmode, reach: int) -> list[Any]:
    """Events in PETSIRD's order: the larger bin first."""
    is_swapped = listmode.crystal1 < listmode.crystal2
    first = np.where(is_swapped, listmode.crystal2, listmode.crystal1)
    second = np.where(is_swapped, listmode.crystal1, listmode.crystal2)
    earlier_ns = -np.where(is_swapped, -1, 1) * listmode.time_difference_ns  # t1 - t2
    bins = np.floor(earlier_ns * MM_PER_NS / TOF_BIN_MM).astype(np.int64) + reach
    return [
        petsird.CoincidenceEvent(detection_bins=[int(a), int(b)], tof_idx=int(t))
        for a, b, t in zip(first, second, bins, strict=True)
    ]


def _listmode(
    path: str | Path,
    events: list[Any],
    times_s: NDArray[np.float64],
    edges: NDArray[np.float64],
    num_energies: int,
    num: int,
) -> Listmode:
    pairs = np.array([event.detection_bins for event in events], np.int64).reshape(-1, 2)
    pairs //= num_energies
    if pairs.size and pairs.max() >= num:
        raise InputError(f"{path}: got crystal {pairs.max()}, expected 0..{num - 1}")
    bins = np.array([event.tof_idx for event in events], np.int64)
    if bins.size and bins.max() >= len(edges) - 1:
        raise InputError(f"{path}: got TOF bin {bins.max()}, expected 0..{len(edges) - 2}")
    middles = (edges[:-1] + edges[1:]) / 2
    times = -middles[bins] / MM_PER_NS if len(bins) else np.zeros(0)
    ids = pairs.astype(np.int32)
    return Listmode(ids[:, 0], ids[:, 1], times, np.zeros(len(ids), np.uint8), times_s)


def _times_s(blocks: list[Any], numbers: list[int]) -> NDArray[np.float64]:
    """Time of every event, from the number of events in each block; none if blocks are long."""
    spans_ms = np.array([(b.time_interval.start, b.time_interval.stop) for b in blocks], float)
    spans_ms = spans_ms.reshape(-1, 2)
    if (spans_ms[:, 1] - spans_ms[:, 0] > MAX_BLOCK_MS).any():
        return np.empty(0)
    return np.repeat(spans_ms.mean(axis=1) * 1e-3, numbers)
