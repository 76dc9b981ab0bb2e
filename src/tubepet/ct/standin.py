"""Write procedural CT slices in DeepLesion's layout, as a stand-in for DeepLesion (stage 04).

A run without `ct.source_dir` uses them, so that it needs none of DeepLesion's 220 GB. Slices run
from the chest (level 0) to the pelvis (level 1) of invented patients. A body of fat and muscle lies
on a table; it has lungs, heart, liver, spleen, kidneys, bowel gas, vessels, spine, ribs and hip
bones. Tissue values are from the literature, noise is correlated. This is no model of anatomy: it
shows the encoder soft shapes at CT contrast. Results made from it say "stand-in".

The stand-in has the difficulties of the original: padding below -1024 HU, missing neighbours, NaN
ages, rows marked as noisy, several kernels.

References
----------
Tissue values: Kalender, Computed Tomography, 3rd ed. (2011), table 1.1 and fig. 1.6.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from tubepet.ct.deeplesion import HU_OFFSET, SliceName
from tubepet.logs import Bar
from tubepet.rng import stream

COLUMNS = (  # DL_info.csv, in its order
    "File_name", "Patient_index", "Study_index", "Series_ID", "Key_slice_index",
    "Measurement_coordinates", "Bounding_boxes", "Lesion_diameters_Pixel_",
    "Normalized_lesion_location", "Coarse_lesion_type", "Possibly_noisy", "Slice_range",
    "Spacing_mm_px_", "Image_size", "DICOM_windows", "Patient_gender", "Patient_age",
    "Train_Val_Test",
)  # fmt: skip

NUM_PIXELS = 256  # side of a stand-in slice; half of a scanner's, four times the default network's
SERIES_PER_PATIENT = 2  # each with its own region and kernel
SPLIT_OF_TEN = (1, 1, 1, 1, 1, 1, 1, 1, 2, 3)  # Train_Val_Test of ten patients in a row
NOISY_EVERY = 10  # every tenth patient has a row marked Possibly_noisy beside its clean one
GAP_EVERY = 4  # of every fourth patient, Slice_range names one slice that is not on disk
SKIN_MM, WALL_MM = 2.5, 14.0  # skin; muscles and ribs around the cavity
PADDING_HU = (-1024, -2048, -3024)  # outside the round field of view, by vendor

AIR_HU, LUNG_HU, FAT_HU, MUSCLE_HU = -1000.0, -830.0, -100.0, 55.0
BLOOD_HU = 140.0  # portal-venous contrast
SKIN_HU, SPONGY_HU, RIB_HU, COMPACT_HU, TABLE_HU = 30.0, 200.0, 450.0, 800.0, -100.0

Array = NDArray[np.float64]
EVERYWHERE = (slice(None), slice(None))


@dataclass(frozen=True)
class Body:
    """The properties of one patient, the same in all slices. Lengths in mm."""

    half_width_mm: float
    half_depth_mm: float
    fat_mm: float
    field_mm: float
    tilt_rad: float
    shifts: Array  # (12, 2) organ offsets in mm
    sizes: Array  # (12,) organ size factors
    vessels: Array  # (40, 4) in 0..1: place across and along, thickness, drift along z
    loops: Array  # (14, 5) in 0..1: place across and along, first level, size, gas
    contrast: float  # 0 native, 1 portal-venous


@dataclass(frozen=True)
class Organ:
    """An organ: centre and half axes as fractions of the cavity's, first and last level, HU."""

    centre: tuple[float, float]
    half: tuple[float, float]
    levels: tuple[float, float]
    native_hu: float
    contrast_hu: float
    bumps: tuple[float, ...]


ORGANS = (  # liver, spleen, stomach, right and left kidney
    Organ((-0.42, -0.15), (0.50, 0.58), (0.28, 0.66), 60.0, 100.0, (0.10, -0.07, 0.05)),
    Organ((0.62, 0.28), (0.22, 0.34), (0.30, 0.58), 48.0, 115.0, (0.12, 0.05)),
    Organ((0.30, -0.38), (0.28, 0.24), (0.34, 0.56), 25.0, 40.0, (0.15, 0.08)),
    Organ((-0.42, 0.42), (0.16, 0.24), (0.46, 0.74), 32.0, 170.0, (0.10,)),
    Organ((0.44, 0.42), (0.16, 0.24), (0.44, 0.72), 32.0, 170.0, (-0.10,)),
)


def draw_body(rng: np.random.Generator) -> Body:
    """Draw a patient: adult outline, fat layer of 8 to 35 mm, field of view with air around it."""
    half_width_mm = rng.uniform(140, 195)
    return Body(
        half_width_mm=half_width_mm,
        half_depth_mm=half_width_mm * rng.uniform(0.62, 0.78),
        fat_mm=rng.uniform(8, 35),
        field_mm=2 * half_width_mm * rng.uniform(1.08, 1.25),
        tilt_rad=rng.normal(0, 0.04),
        shifts=rng.normal(0, 4, (12, 2)),
        sizes=rng.uniform(0.85, 1.15, 12),
        vessels=rng.random((40, 4)),
        loops=rng.random((14, 5)),
        contrast=float(rng.random() < 0.7),
    )


def _ramp(level: float, first: float, last: float, soft: float = 0.06) -> float:
    """Return the size (0 to 1) of an organ that spans first..last and tapers at both ends."""
    rise, fall = (level - first) / soft, (last - level) / soft
    return float(np.sqrt(np.clip(min(rise, fall, 1.0), 0.0, 1.0)))


class _Canvas:
    """A slice that is being painted: HU on a grid of (x, y) in mm, y towards the back."""

    def __init__(self, body: Body, num_pixels: int) -> None:
        self.pixel_mm = body.field_mm / num_pixels
        self.axis_mm = (np.arange(num_pixels) - (num_pixels - 1) / 2) * self.pixel_mm
        x, y = np.meshgrid(self.axis_mm, self.axis_mm)
        self.cos, self.sin = np.cos(body.tilt_rad), np.sin(body.tilt_rad)
        self.x, self.y = self.cos * x - self.sin * y, self.sin * x + self.cos * y
        self.radius = np.hypot(x, y)
        self.hu = np.full(x.shape, AIR_HU)

    def cover(
        self, centre: tuple[float, float], half: tuple[float, float],
        bumps: tuple[float, ...] = (), box: tuple[slice, slice] = EVERYWHERE,
    ) -> Array:  # fmt: skip
        """Return the coverage (0 to 1) of a bumpy ellipse; edges are one pixel wide."""
        u, v = (self.x[box] - centre[0]) / half[0], (self.y[box] - centre[1]) / half[1]
        r = np.hypot(u, v)
        if bumps:
            angle = np.arctan2(v, u)
            r = r * (1 + sum(b * np.cos((k + 2) * angle + 3 * b) for k, b in enumerate(bumps)))
        return np.asarray(np.clip((1 - r) * min(half) / self.pixel_mm + 0.5, 0, 1))

    def paint(
        self, centre: tuple[float, float], half: tuple[float, float], hu: float,
        bumps: tuple[float, ...] = (), within: Array | None = None,
    ) -> None:  # fmt: skip
        """Paint an ellipse of one value, inside the coverage map `within` if it is given."""
        if min(half) < self.pixel_mm / 2:
            return
        reach = 1.5 * max(half) + 2 * self.pixel_mm  # bumps add up to a third
        rows, columns = (
            slice(*np.searchsorted(self.axis_mm, [middle - reach, middle + reach]))
            for middle in self.turned(*centre)
        )
        box = (rows, columns)
        cover = self.cover(centre, half, bumps, box)
        self.blend(cover if within is None else cover * within[box], hu, box)

    def turned(self, x: float, y: float) -> tuple[float, float]:
        """Return the position along rows and columns, in mm, of a point of the patient."""
        return self.cos * y - self.sin * x, self.cos * x + self.sin * y

    def blend(self, cover: Array, hu: float | Array, box: tuple[slice, slice] = EVERYWHERE) -> None:
        """Move the values towards `hu` where there is coverage."""
        self.hu[box] += cover * (hu - self.hu[box])


def _fields(rng: np.random.Generator, num_pixels: int, num: int) -> Array:
    """Return smooth random fields of unit variance, (num, H, W), for the texture of tissue."""
    scale = num_pixels / 32
    white = rng.standard_normal((num, num_pixels, num_pixels))
    smooth = gaussian_filter(white, (0, scale, scale), mode="wrap")
    return np.asarray(smooth / smooth.std((1, 2), keepdims=True))


def _paint_chest(canvas: _Canvas, body: Body, level: float, wall: tuple[float, float]) -> None:
    """Paint lungs with vessels, heart and ribs."""
    w, d = wall
    size, shift, s = _ramp(level, -0.3, 0.42, 0.25), body.shifts, body.sizes
    if size > 0:
        lungs = np.zeros_like(canvas.hu)
        for i, side in enumerate((-1, 1)):
            centre = (side * 0.46 * w + shift[i, 0], 0.02 * d + shift[i, 1])
            half = (0.36 * w * size * s[i], 0.72 * d * size * s[i])
            lungs = np.maximum(lungs, canvas.cover(centre, half, (0.08, -0.06 * side)))
        canvas.blend(lungs, LUNG_HU + 60 * (canvas.y / d))  # denser where the patient lies
        for across, along, thick, drift in body.vessels:
            shift_mm = 50 * (level - 0.2) * (drift - 0.5)
            at = ((1.6 * across - 0.8) * w + shift_mm, (1.3 * along - 0.65) * d + shift_mm)
            mm = 1 + 3 * thick
            canvas.paint(at, (mm, 1.3 * mm), 30.0, within=lungs)
    beat = _ramp(level, 0.08, 0.4, 0.15) * s[2]
    heart = (0.15 * w + shift[2, 0], -0.3 * d + shift[2, 1])
    canvas.paint(heart, (0.36 * w * beat, 0.42 * d * beat), 45 + 75 * body.contrast, (0.05, 0.04))
    for k in range(10):
        angle = 2 * np.pi * (k + 0.5) / 10 + 4 * level
        rib = (0.97 * w * np.cos(angle), 0.97 * d * np.sin(angle))
        mm = 4.5 * _ramp(level, -0.3, 0.6, 0.2)
        canvas.paint(rib, (2.2 * mm, mm), RIB_HU)


def _paint_abdomen(canvas: _Canvas, body: Body, level: float, wall: tuple[float, float]) -> None:
    """Paint liver, spleen, stomach, kidneys and bowel."""
    w, d = wall
    shift, s = body.shifts, body.sizes
    for i, organ in enumerate(ORGANS, start=3):
        size = _ramp(level, *organ.levels, 0.1) * s[i]
        at = (organ.centre[0] * w + shift[i, 0], organ.centre[1] * d + shift[i, 1])
        half = (organ.half[0] * w * size, organ.half[1] * d * size)
        hu = organ.native_hu + body.contrast * (organ.contrast_hu - organ.native_hu)
        canvas.paint(at, half, hu, organ.bumps)
    bubble = _ramp(level, 0.36, 0.5, 0.05) * s[5]
    stomach = (0.27 * w + shift[5, 0], -0.48 * d + shift[5, 1])
    canvas.paint(stomach, (0.15 * w * bubble, 0.09 * d * bubble), AIR_HU)
    for across, along, first, size, gas in body.loops:
        at = ((1.4 * across - 0.7) * w, (0.9 * along - 0.65) * d)
        start = 0.5 + 0.35 * first
        mm = (9 + 8 * size) * _ramp(level, start, start + 0.3, 0.05)
        canvas.paint(at, (mm, 0.9 * mm), 35.0, (0.1,))
        if gas < 0.45:
            canvas.paint((at[0], at[1] - 0.25 * mm), (0.6 * mm, 0.45 * mm), AIR_HU)


def _paint_bones(canvas: _Canvas, body: Body, level: float, wall: tuple[float, float]) -> None:
    """Paint aorta, spine with its canal, and hip bones."""
    w, d = wall
    mm = 11 * body.sizes[8]
    canvas.paint((0.1 * w + body.shifts[8, 0], 0.3 * d), (mm, mm),
                 45 + body.contrast * (BLOOD_HU - 45))  # fmt: skip
    back, mm = 0.58 * d, 17 + 7 * level
    bone = 0.5 + 0.5 * np.cos(2 * np.pi * 12 * level)  # vertebrae and discs alternate along z
    canvas.paint((0, back), (1.25 * mm, mm), 90 + bone * (COMPACT_HU - 300))
    canvas.paint((0, back), (1.05 * mm, 0.8 * mm), 80 + bone * (SPONGY_HU - 80))
    for side in (-1, 1):
        canvas.paint((side * 0.9 * mm, back + 1.5 * mm), (0.7 * mm, 0.3 * mm), 60 + bone * 450)
    canvas.paint((0, back + 1.3 * mm), (0.45 * mm, 0.38 * mm), 25.0)
    canvas.paint((0, back + 2.2 * mm), (0.18 * mm, 0.6 * mm), 60 + bone * 500)
    hip = _ramp(level, 0.78, 1.4, 0.12)
    for side in (-1, 1):
        at, bumps = (side * 0.62 * w, 0.3 * d), (0.2 * side, 0.1)
        canvas.paint(at, (0.13 * w * hip, 0.42 * d * hip), 600.0, bumps)
        canvas.paint(at, (0.08 * w * hip, 0.35 * d * hip), SPONGY_HU, bumps)


def draw_slice(
    body: Body, level: float, noise_hu: float, kernel_pixels: float, padding_hu: int,
    texture: Array, rng: np.random.Generator,
) -> NDArray[np.int32]:  # fmt: skip
    """Paint one slice.

    Parameters
    ----------
    body : Body
        The patient.
    level : float
        0 in the chest, 1 in the pelvis.
    noise_hu : float
        Standard deviation of the noise.
    kernel_pixels : float
        Standard deviation of the Gaussian that smooths image and noise, in pixels.
    padding_hu : int
        Value outside the round field of view.
    texture : float array, shape (2, H, W)
        Two smooth fields. Their mixture turns slowly with the level, so neighbours look alike.
    rng : Generator
        Noise.

    Returns
    -------
    int32 array, shape (H, W)
        HU.
    """
    canvas = _Canvas(body, texture.shape[-1])
    belly = 1 + 0.06 * np.sin(np.pi * level)
    outline = (body.half_width_mm, body.half_depth_mm * belly)
    wall = (outline[0] - body.fat_mm, outline[1] - body.fat_mm)
    cavity = (wall[0] - WALL_MM, wall[1] - WALL_MM)
    table = np.clip(1 - np.abs(canvas.y - 1.0 * outline[1] - 12 + 2e-4 * canvas.x**2) / 5, 0, 1)
    canvas.blend(table, TABLE_HU)
    mixed = np.cos(2 * level) * texture[0] + np.sin(2 * level) * texture[1]
    for half, hu in (
        (outline, SKIN_HU),
        ((outline[0] - SKIN_MM, outline[1] - SKIN_MM), FAT_HU + 8 * mixed),
        (wall, MUSCLE_HU + 10 * mixed),
        (cavity, FAT_HU + 50 + 45 * np.tanh(2 * mixed)),  # fat streaked with bowel wall
    ):
        canvas.blend(canvas.cover((0, 0), half, (0.02, 0.015, 0.03)), hu)
    _paint_chest(canvas, body, level, cavity)
    _paint_abdomen(canvas, body, level, cavity)
    _paint_bones(canvas, body, level, cavity)
    noise = gaussian_filter(rng.standard_normal(canvas.hu.shape), kernel_pixels)
    hu = gaussian_filter(canvas.hu, kernel_pixels) + noise_hu * noise / noise.std()
    hu = np.clip(np.rint(hu), -1024, 3071).astype(np.int32)  # a scanner's 12 bits
    hu[canvas.radius > body.field_mm / 2] = padding_hu
    return hu


def _info_row(
    name: SliceName, last: int, is_noisy: bool, pixel_mm: float, age: str, split: int
) -> dict[str, object]:
    """Return one row of DL_info.csv; the lesion is a placeholder, which tubepet does not read."""
    side = NUM_PIXELS // 2
    box = f"{side - 8}.0, {side - 8}.0, {side + 8}.0, {side + 8}.0"
    return dict(zip(COLUMNS, (
        f"{name.folder}_{name.slice:03d}.png", name.patient, name.study, name.series, name.slice,
        f"{box}, {box}", box, "16.0, 16.0", "0.5, 0.5, 0.5", -1, int(is_noisy), f"1, {last}",
        f"{pixel_mm:.6f}, {pixel_mm:.6f}, 5", f"{NUM_PIXELS}, {NUM_PIXELS}", "-175, 275",
        "MF"[name.patient % 2], age, split,
    ), strict=True))  # fmt: skip


def _write_series(
    folder: Path, first: SliceName, num_slices: int, body: Body, texture: Array,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    series_dir = folder / "Images_png" / first.folder
    series_dir.mkdir(parents=True)
    start, length = rng.uniform(0, 0.55), rng.uniform(0.25, 0.45)
    noise_hu, kernel_pixels = rng.uniform(8, 22), rng.uniform(0.5, 1.0)
    padding_hu = int(rng.choice(PADDING_HU))
    for i in range(1, num_slices + 1):
        level = start + length * (i - 0.5) / num_slices
        hu = draw_slice(body, level, noise_hu, kernel_pixels, padding_hu, texture, rng)
        stored = (hu + HU_OFFSET).astype(np.uint16)
        Image.fromarray(stored).save(series_dir / f"{i:03d}.png", compress_level=1)


def _write_patient(
    folder: Path, patient: int, num_slices: int, seed: int
) -> list[dict[str, object]]:
    """Write all series of a patient and return its rows of DL_info.csv."""
    rng = stream(seed, "ct", "standin", patient)
    body, texture = draw_body(rng), _fields(rng, NUM_PIXELS, 2)
    last = num_slices + (patient % GAP_EVERY == 0)
    age = str(rng.integers(25, 85)) if patient % 7 else "NaN"
    split = SPLIT_OF_TEN[patient % 10]
    rows = []
    for i_series in range(1, SERIES_PER_PATIENT + 1):
        name = SliceName(patient, 1, i_series, (num_slices + 1) // 2)
        _write_series(folder, name, num_slices, body, texture, rng)
        pixel_mm = body.field_mm / NUM_PIXELS
        rows.append(_info_row(name, last, False, pixel_mm, age, split))
        if patient % NOISY_EVERY == 0 and i_series == 1:
            rows.append(_info_row(name, last, True, pixel_mm, age, split))
    return rows


def write_standin(
    folder: str | os.PathLike[str], num_patients: int, num_slices: int, seed: int
) -> dict[str, int]:
    """Write the stand-in data set; the folder appears when it is complete.

    Parameters
    ----------
    folder : path
        Folder to make; it gets Images_png and DL_info.csv.
    num_patients : int
        Patients, numbered from 800001: numbers that DeepLesion does not use.
    num_slices : int
        Slices wanted in all; every series gets an equal share, rounded up.
    seed : int
        The run's seed. It decides a patient together with the patient's number and number of
        slices.

    Returns
    -------
    dict
        num_patients, num_series, num_slices.
    """
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    per_series = -(-num_slices // (num_patients * SERIES_PER_PATIENT))
    with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as part:
        built = Path(part) / target.name
        rows: list[dict[str, object]] = []
        for i in Bar(range(num_patients), desc="CT stand-in", unit="patient"):
            rows += _write_patient(built, 800001 + i, per_series, seed)
        pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(built / "DL_info.csv", index=False)
        num_written = len(list(built.rglob("*.png")))
        if target.is_dir():
            shutil.rmtree(target)
        built.replace(target)
    return {
        "num_patients": num_patients,
        "num_series": num_patients * SERIES_PER_PATIENT,
        "num_slices": num_written,
    }
