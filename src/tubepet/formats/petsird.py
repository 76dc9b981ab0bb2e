"""Read and write PETSIRD, the open format of raw PET data: crystals, prompts and delayed pairs.

https://petsird.org, package petsird 0.12. A file holds its scanner: boxes, placed by rigid
transformations, of one type of module or several. Here a box becomes one crystal: its centre and
the face that looks at the others. Time of flight is (t1 - t2) c / 2 in mm by PETSIRD's definition.

Crystals take the efficiencies of detection bins, the calibration factor, and which modules are in
coincidence. The acquisition lasts as long as its blocks of events. All energy windows of a file are
taken together. Refused by name are efficiencies of pairs of crystals, dead time, and a bed or
gantry that moves.
"""

import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import petsird
from numpy.typing import NDArray
from petsird import _binary
from petsird._binary import CodedInputStream

from tubepet import io
from tubepet.bounds import check_mm, check_num_crystals, memory_bytes
from tubepet.constants import MM_PER_NS
from tubepet.errors import InputError, reading
from tubepet.formats.facts import Facts
from tubepet.logs import log
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.types import Listmode

TOF_BIN_MM = 1.0
MAX_BLOCK_MS = 10  # an event has the time of its block; longer blocks tell too little
MS_PER_S = 1e3
DEPTH_MM = 20.0  # of the boxes that are written; crystals have a face and no depth
MEMORY_PER_BYTE = 100  # of a file, in the package's objects: 63 measured for pairs
MAX_VARINT_BYTES = 10  # of 64 bits
MAX_TYPES, MAX_GROUPS = 20, 2000
LEAST_DECISIVE = 0.99  # mean cosine to the axis from which on an edge is the depth of a crystal
LEAST_STEP = 0.1  # between two layers of crystals, in units of their size
RIGID = 1e-3  # tolerance of a rotation, in float32


class BoundedStream(CodedInputStream):
    """The package's stream, which refuses impossible lengths in a file before it takes memory.

    Attributes
    ----------
    num_read : int
        Bytes of the current block: `read_petsird` sets it to 0 after each.
    """

    num_read = 0

    def read_view(self, count: int) -> memoryview:  # noqa: D102
        self.check(count)
        return super().read_view(count)

    def read_bytearray(self, count: int) -> bytearray:  # noqa: D102
        self.check(count)
        return super().read_bytearray(count)

    def read_unsigned_varint(self) -> int:  # noqa: D102
        result = 0
        for i in range(MAX_VARINT_BYTES):
            byte = self.read_byte()
            result |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                return result
        raise ValueError("a number of more than 64 bits")

    def check(self, count: int) -> None:
        """Refuse a length beyond the file."""
        if not 0 <= count <= os.fstat(self._stream.fileno()).st_size:
            raise EOFError(f"a length of {count} bytes")

    def _fill_buffer(self, min_count: int = 0) -> None:
        super()._fill_buffer(min_count)
        self.num_read += self._last_read_count
        if (need := self.num_read * MEMORY_PER_BYTE) > (have := memory_bytes()):
            raise InputError(
                f"{self._stream.name}: got a block of events that needs {need / 1e9:.3g} GB of "
                f"memory, expected at most {have / 1e9:.3g} GB, half of this machine's: shorter "
                "blocks"
            )


_read_elements = _binary.NDArraySerializerBase._read_data


def _read_bounded(self: Any, stream: Any, shape: tuple[int, ...]) -> Any:
    stream.check(math.prod(shape))  # an element has a byte at least
    return _read_elements(self, stream, shape)


# petsird 0.12 trusts every length in a file
_binary.CodedInputStream = BoundedStream
_binary.NDArraySerializerBase._read_data = _read_bounded


@dataclass(frozen=True)
class _Bins:
    """Tables from bin numbers in a file to crystals and times, by type of module.

    Attributes
    ----------
    first : list of int
        First crystal of each type, and the number of all.
    num_energies : list of int
        Energy windows of each type.
    middles_mm : dict of (int, int) to float64 array
        Middles of the bins of time of flight, by two types.
    """

    path: Path
    first: list[int]
    num_energies: list[int]
    middles_mm: dict[tuple[int, int], NDArray[np.float64]]

    def pairs(self, events: Any) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return crystals (n, 2) and time differences (ns) of a block's lists of pairs."""
        found = [np.empty((0, 2), np.int32)]
        times = [np.empty(0)]
        if len(events) not in (0, len(self.num_energies)):
            raise InputError(
                f"{self.path}: got events of {len(events)} types of module, expected "
                f"{len(self.num_energies)}"
            )
        for i, row in enumerate(events):
            for k, pairs in enumerate(row):
                if k > i:
                    raise InputError(f"{self.path}: got events of types {i} and {k}, not in order")
                if not pairs:
                    continue
                bins = np.array([event.detection_bins for event in pairs], np.int64)
                for column, kind in ((0, i), (1, k)):
                    bins[:, column] = self._crystals(kind, bins[:, column])
                found.append(bins.astype(np.int32))
                times.append(self._times_ns(i, k, np.array([e.tof_idx for e in pairs], np.int64)))
        return np.concatenate(found), np.concatenate(times)

    def _crystals(self, kind: int, bins: NDArray[np.int64]) -> NDArray[np.int64]:
        number = bins // self.num_energies[kind]
        num = self.first[kind + 1] - self.first[kind]
        if number.max() >= num:
            raise InputError(f"{self.path}: got crystal {number.max()}, expected 0..{num - 1}")
        return number + self.first[kind]

    def _times_ns(self, i: int, k: int, bins: NDArray[np.int64]) -> NDArray[np.float64]:
        middles = self.middles_mm[i, k]
        if bins.max() >= len(middles):
            raise InputError(
                f"{self.path}: got TOF bin {bins.max()}, expected 0..{len(middles) - 1}"
            )
        return -middles[bins] / MM_PER_NS


def read_petsird(path: str | Path) -> tuple[Crystals, Listmode, Listmode, Facts]:
    """Read scanner, prompts, delayed pairs and facts of a binary PETSIRD file.

    Returns
    -------
    Crystals
        One per detecting element, sorted by type of module, then by module.
    Listmode, Listmode
        Prompts and delayed pairs. Time differences are as fine as the file's bins. Times are
        middles of blocks since the first one; they are unknown if a block is longer than
        `MAX_BLOCK_MS` or there are gaps. Truth is 0.
    Facts
        The duration is that of all blocks of events.

    Raises
    ------
    InputError
        If the file is damaged, needs more memory than there is, declares the impossible, or has
        features that are not modelled here.
    """
    path = Path(path)
    with reading(path, "a whole PETSIRD file"), path.open("rb") as file:
        with petsird.BinaryPETSIRDReader(file) as reader:
            scanner = reader.read_header().scanner
            crystals, bins = _scanner(path, scanner)
            blocks = _Blocks(path, bins)
            for block in reader.read_time_blocks():
                blocks.add(block.value)
                reader._stream.num_read = 0
            prompts, delayed = blocks.listmodes()
            return crystals, prompts, delayed, blocks.facts()


class _Blocks:
    """The sum of all blocks of a file."""

    def __init__(self, path: Path, bins: _Bins) -> None:
        self.path, self.bins = path, bins
        self.spans_ms: list[tuple[int, int]] = []
        self.num_left_out = 0
        self.bed, self.bed_of_events = np.eye(4), np.eye(4)
        self.pairs: dict[str, list[tuple[NDArray[np.int32], NDArray[np.float64]]]] = {
            "prompt_events": [], "delayed_events": [],
        }  # fmt: skip

    def add(self, block: Any) -> None:
        """Add a block, or refuse it."""
        if isinstance(block, petsird.EventTimeBlock):
            self._add_events(block)
        elif isinstance(block, petsird.BedMovementTimeBlock):
            self.bed = _matrices(self.path, [block.transform])[0]
        elif isinstance(block, petsird.GantryMovementTimeBlock):
            places = _matrices(self.path, block.transforms)
            if not np.allclose(places, np.eye(4), atol=RIGID):
                self._refuse("a gantry that moves", "one at rest")
        elif isinstance(block, petsird.DeadTimeTimeBlock):
            alive = block.alive_time_fractions
            parts = [*alive.singles_alive_time_fractions]
            parts += [one for row in alive.module_pair_alive_time_fractions for one in row]
            if not all(_is_one(part) for part in parts):
                self._refuse("dead time (alive time fractions)", "none, or fractions of 1")

    def _refuse(self, what: str, expected: str) -> None:
        raise InputError(f"{self.path}: got {what}, expected {expected}: it is not modelled")

    def _add_events(self, block: Any) -> None:
        start, stop = int(block.time_interval.start), int(block.time_interval.stop)
        last = self.spans_ms[-1][1] if self.spans_ms else 0
        if not last <= start < stop:
            raise InputError(
                f"{self.path}: got a block of events from {start} to {stop} ms after one that ends "
                f"at {last} ms, expected blocks of time in order"
            )
        if self.spans_ms and not np.allclose(self.bed, self.bed_of_events, atol=RIGID):
            self._refuse("a bed that moves", "one position for all events")
        self.bed_of_events = self.bed
        self.spans_ms.append((start, stop))
        self.num_left_out += _num_events(block.triple_events) + _num_events(block.quadruple_events)
        for kind, found in self.pairs.items():
            found.append(self.bins.pairs(getattr(block, kind)))

    def listmodes(self) -> Iterator[Listmode]:
        """Prompts, then delayed pairs."""
        for found in self.pairs.values():
            ids = np.concatenate([np.empty((0, 2), np.int32), *(pairs for pairs, _ in found)])
            times_ns = np.concatenate([np.empty(0), *(times for _, times in found)])
            times_s = self._times_s([len(pairs) for pairs, _ in found])
            yield Listmode(
                ids[:, 0].copy(), ids[:, 1].copy(), times_ns, np.zeros(len(ids), np.uint8), times_s
            )

    def _times_s(self, numbers: list[int]) -> NDArray[np.float64]:
        """Time of every event since the first block (s); none if blocks are long or have gaps."""
        spans_ms = np.array(self.spans_ms, float).reshape(-1, 2)
        is_gap = (spans_ms[1:, 0] > spans_ms[:-1, 1]).any()
        if is_gap or (spans_ms[:, 1] - spans_ms[:, 0] > MAX_BLOCK_MS).any() or not numbers:
            return np.empty(0)
        return np.repeat((spans_ms.mean(axis=1) - spans_ms[0, 0]) / MS_PER_S, numbers)

    def facts(self) -> Facts:
        """Return duration and place of the bed."""
        if self.num_left_out:
            log.warning("%s: %d triples and more left out", self.path, self.num_left_out)
        total_ms = sum(stop - start for start, stop in self.spans_ms)
        duration_s = total_ms / MS_PER_S if total_ms else None
        return Facts(duration_s, bed_mm=float(self.bed_of_events[2, 3]))


def _num_events(part: Any) -> int:
    """Count the events in nested lists."""
    return sum(map(_num_events, part)) if isinstance(part, list) else 1


def _is_one(part: Any) -> bool:
    """Whether all numbers of nested lists or arrays are 1."""
    if isinstance(part, np.ndarray) and part.dtype != object:
        return bool((np.abs(part - 1) < RIGID).all())
    if isinstance(part, list | np.ndarray):
        return all(_is_one(one) for one in part)
    return abs(float(part) - 1) < RIGID


def _scanner(path: Path, scanner: Any) -> tuple[Crystals, _Bins]:
    """Return the crystals of all types of module, and the tables of bins."""
    types = scanner.scanner_geometry.replicated_modules
    if not 1 <= len(types) <= MAX_TYPES:
        raise InputError(f"{path}: got {len(types)} types of module, expected 1 to {MAX_TYPES}")
    shapes = [(len(t.transforms), len(t.object.detecting_elements.transforms)) for t in types]
    numbers = [modules * elements for modules, elements in shapes]
    check_num_crystals(path, sum(numbers))
    num_energies = _num_energies(path, scanner.event_energy_bin_edges, len(types))
    parts = [_crystals(path, one) for one in types]
    crystals = _looking_inwards(path, parts)
    known = scanner.detection_efficiencies
    if known is not None:
        crystals = _efficient(path, crystals, known, numbers, num_energies)
        crystals = _paired(path, crystals, known, shapes)
    edges = {
        (i, k): _middles(path, scanner.tof_bin_edges, i, k)
        for i in range(len(types))
        for k in range(i + 1)
    }
    return crystals, _Bins(path, [0, *itertools.accumulate(numbers)], num_energies, edges)


def _num_energies(path: Path, windows: Any, num_types: int) -> list[int]:
    """Return the number of energy windows of every type of module."""
    if len(windows) != num_types:
        raise InputError(
            f"{path}: got energy windows of {len(windows)} types of module, expected {num_types}"
        )
    found = []
    for one in windows:
        edges = _edges_of_bins(path, "energy windows", one)
        found.append(len(edges) - 1)
        if len(edges) > 2:
            log.info(
                "%s: %d energy windows, %g to %g keV: all are used",
                path, len(edges) - 1, edges[0], edges[-1],
            )  # fmt: skip
    return found


def _middles(path: Path, table: Any, i: int, k: int) -> NDArray[np.float64]:
    if len(table) <= i or len(table[i]) <= k:
        raise InputError(f"{path}: expected bins of time of flight of module types {i} and {k}")
    edges = _edges_of_bins(path, "bins of time of flight", table[i][k])
    return np.asarray((edges[:-1] + edges[1:]) / 2)


def _edges_of_bins(path: Path, what: str, bins: Any) -> NDArray[np.float64]:
    """Return edges, which must rise."""
    edges = np.asarray(bins.edges, np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all():
        raise InputError(f"{path}: {what}: got {edges!s:.40}, expected two edges or more")
    if not (np.diff(edges) > 0).all():
        raise InputError(f"{path}: {what}: got {edges!s:.40}, expected edges that rise")
    return edges


def _efficient(
    path: Path, crystals: Crystals, known: Any, numbers: list[int], num_energies: list[int]
) -> Crystals:
    """Give crystals their efficiencies: the sum over energy windows, times the calibration."""
    efficiency = np.ones(len(crystals))
    lists = known.detection_bin_efficiencies or []
    if lists:
        sizes = [num * windows for num, windows in zip(numbers, num_energies, strict=True)]
        if (got := [len(one) for one in lists]) != sizes:
            raise InputError(f"{path}: got {got} detection bin efficiencies, expected {sizes}")
        parts = [
            np.asarray(one, np.float64).reshape(-1, windows).sum(axis=1)
            for one, windows in zip(lists, num_energies, strict=True)
        ]
        efficiency = np.concatenate(parts)
    factor = float(known.calibration_factor) or 1.0  # 0: not present
    is_sound = np.isfinite(efficiency).all() and (efficiency >= 0).all() and efficiency.any()
    if not is_sound or not (math.isfinite(factor) and factor > 0):
        raise InputError(
            f"{path}: detection efficiencies: expected numbers >= 0 that are not all 0, and a "
            f"calibration factor > 0, got {known.calibration_factor!r:.20}"
        )
    log.info("%s: efficiencies %.3g to %.3g", path, efficiency.min(), efficiency.max())
    return replace(crystals, efficiency=math.sqrt(factor) * efficiency)


def _paired(path: Path, crystals: Crystals, known: Any, shapes: list[tuple[int, int]]) -> Crystals:
    """Set which modules are in coincidence; refuse efficiencies of pairs of crystals."""
    vectors = known.module_pair_efficiencies_vectors or []
    tables = (one.values for row in vectors for vector in row for one in vector)
    if not all(_is_one(values) for values in tables):
        raise InputError(
            f"{path}: got module pair efficiencies, expected none, or 1: efficiencies are those "
            "of detection bins (or a crystal table)"
        )
    lists = known.module_pair_sgidlut or []
    if not lists:
        return crystals
    firsts = [0, *itertools.accumulate(modules for modules, _ in shapes)]
    if firsts[-1] > MAX_GROUPS:
        raise InputError(f"{path}: got {firsts[-1]} modules, expected at most {MAX_GROUPS}")
    is_paired = np.zeros((firsts[-1], firsts[-1]), bool)
    for i, row in enumerate(lists):
        for k, table in enumerate(row[: i + 1]):
            for a, line in enumerate(table):
                for b, group in enumerate(line):
                    if a >= shapes[i][0] or b >= shapes[k][0]:
                        raise InputError(f"{path}: module pairs: got {a}, {b}, expected {shapes}")
                    if i != k or b <= a:
                        is_paired[firsts[i] + a, firsts[k] + b] = group >= 0
    is_paired |= is_paired.T
    sizes = [size for modules, size in shapes for _ in range(modules)]
    return replace(crystals, groups=np.repeat(np.arange(len(sizes)), sizes), is_paired=is_paired)


def write_petsird(
    path: str | Path,
    crystals: Crystals,
    prompts: Listmode,
    delayed: Listmode,
    duration_s: float,
    tof_fwhm_ps: float,
) -> None:
    """Write an acquisition as one block, without efficiencies.

    Crystals become boxes of their area, `DEPTH_MM` deep. Times of flight are binned to
    `TOF_BIN_MM`; `tof_fwhm_ps` is that of a pair.
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


@dataclass(frozen=True)
class _Boxes:
    """The boxes of one type of module.

    Attributes
    ----------
    centres_mm : float64 array, shape (n, 3)
    ways : float64 array, shape (n, 3, 3)
        Unit vectors along the three edges.
    lengths_mm : float64 array, shape (3,)
        Lengths of the edges.
    module : int64 array, shape (n,)
        Module of each box.
    """

    centres_mm: NDArray[np.float64]
    ways: NDArray[np.float64]
    lengths_mm: NDArray[np.float64]
    module: NDArray[np.int64]


def _crystals(path: Path, kind: Any) -> _Boxes:
    elements = kind.object.detecting_elements
    corners = np.array([corner.c for corner in elements.object.shape.corners], np.float64)
    check_mm(path, "corners", corners)
    edges = _edges(corners)
    lengths = np.linalg.norm(edges, axis=1)
    modules, inside = _matrices(path, kind.transforms), _matrices(path, elements.transforms)
    matrices = np.einsum("mij,ejk->meik", modules, inside).reshape(-1, 4, 4)
    centres = matrices[:, :3, :3] @ corners.mean(axis=0) + matrices[:, :3, 3]
    check_mm(path, "crystals", centres)
    ways = np.einsum("nij,kj->nki", matrices[:, :3, :3], edges / lengths[:, None])
    return _Boxes(centres, ways, lengths, np.repeat(np.arange(len(modules)), len(inside)))


def _looking_inwards(path: Path, parts: list[_Boxes]) -> Crystals:
    """Make crystals of boxes: the face of each is the one that looks at the middle of all."""
    points = np.concatenate([one.centres_mm for one in parts])
    middle = points.mean(axis=0)
    normals, areas = [], []
    for boxes in parts:
        rows, depth = np.arange(len(boxes.centres_mm)), _depths(boxes, middle)
        normal = boxes.ways[rows, depth]
        inwards = (normal * (middle - boxes.centres_mm)).sum(axis=1)
        if (np.abs(inwards) < RIGID).any():
            raise InputError(f"{path}: got crystals of which no face looks at the others")
        normals.append(np.sign(inwards)[:, None] * normal)
        areas.append(boxes.lengths_mm.prod() / boxes.lengths_mm[depth])
    return Crystals(points, np.concatenate(normals), np.concatenate(areas), np.ones(len(points)))


def _depths(boxes: _Boxes, middle: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which edge of each box is its depth, shape (n,).

    Boxes of a module with the same orientation are one plate, and have the same edge as depth. It
    is the edge that points to the axis, if one surely does. Else it is the edge along which the
    plate has fewest layers: crystals at the ends of a wide panel have the axis nearly beside them.
    """
    keys = np.column_stack([boxes.module, boxes.ways.reshape(-1, 9).round(3) + 0.0])
    _, plate = np.unique(keys, axis=0, return_inverse=True)
    plate = plate.ravel()
    flat = (middle - boxes.centres_mm) * [1.0, 1.0, 0.0]
    flat /= np.maximum(np.linalg.norm(flat, axis=1), np.finfo(float).tiny)[:, None]
    cosines = np.abs(np.einsum("nki,ni->nk", boxes.ways, flat))
    sums = np.stack([np.bincount(plate, cosines[:, k]) for k in range(3)], axis=1)
    mean = sums / np.bincount(plate)[:, None]
    places = np.einsum("nki,ni->nk", boxes.ways, boxes.centres_mm) / boxes.lengths_mm
    layers = np.stack([_num_layers(plate, places[:, k]) for k in range(3)], axis=1)
    is_fewest = layers == layers.min(axis=1, keepdims=True)
    is_sure = mean.max(axis=1, keepdims=True) >= LEAST_DECISIVE
    depth = np.argmax(np.where(is_sure | is_fewest, mean, -1.0), axis=1)
    return np.asarray(depth[plate])


def _num_layers(plate: NDArray[np.int64], places: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count the different places in each plate along an edge; `places` in units of its length."""
    order = np.lexsort((places, plate))
    is_next = np.diff(places[order]) > LEAST_STEP
    is_next |= np.diff(plate[order]) > 0
    return np.bincount(plate[order], np.concatenate([[1.0], is_next])).astype(np.int64)


def _matrices(path: Path, transforms: list[Any]) -> NDArray[np.float64]:
    """Return rigid transformations, shape (n, 4, 4); refuse others."""
    found = np.zeros((len(transforms), 4, 4))
    found[:, 3, 3] = 1
    if transforms:
        found[:, :3] = np.array([one.matrix for one in transforms], np.float64)
    check_mm(path, "transformations", found)
    turns = found[:, :3, :3]
    products = np.einsum("nij,nkj->nik", turns, turns)
    if not np.allclose(products, np.eye(3), atol=RIGID):
        raise InputError(f"{path}: got a transformation that is not rigid, expected a turn and mm")
    return found


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
