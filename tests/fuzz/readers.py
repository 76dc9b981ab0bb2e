"""All readers of files from elsewhere, each with small whole files that fuzzing starts from.

A reader may raise `InputError` only. Numbers that it accepts are finite, and lengths are at most
1e5 mm. The project's own writers make the files.
"""

import gzip
import io as streams
import json
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pydicom
import SimpleITK as sitk
import torch
import uproot
import yaml
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian
from safetensors.torch import save_file

from tubepet import bounds, checksums, io
from tubepet.cli.reconstruct import read_scanner
from tubepet.ct import deeplesion, dicom
from tubepet.enhance import trained as enhancer
from tubepet.enhance.network import Enhancer
from tubepet.formats import castor, castor_scanner, dicom_pet, gate, measured, petsird, tables
from tubepet.generate import trained
from tubepet.generate.models import catalogue
from tubepet.inspect import part_file
from tubepet.plan.config import checked_config
from tubepet.pretrain import vae
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import crystals, fingerprint
from tubepet.report import turing
from tubepet.simulate import coincidences
from tubepet.simulate.coincidences import SCATTER_PROCESSES
from tubepet.training import checkpoint
from tubepet.types import Grid, Listmode, Scanner, Volume

ROOT = Path(__file__).parents[2]
SCANNER = Scanner(
    num_rings=4, num_columns=16, inner_radius_mm=40.0, crystal_depth_mm=20.0,
    crystal_width_mm=4.0, crystal_height_mm=4.0, axial_pitch_mm=4.2, energy_resolution=0.15,
    time_resolution_ps=300.0, energy_window_kev=(350.0, 650.0), coincidence_window_ns=10.0,
    min_transaxial_distance_mm=50.0,
)  # fmt: skip
RING = crystals.of_scanner(SCANNER)
GRID = Grid.centred((3, 4, 4), (2.0, 1.0, 1.0))
LIMITS = ("most_axial_mm",)
VAE = {"image_size": 8, "latent_size": 2, "channels": 8}
EVENTS = Listmode(
    np.array([0, 1, 17], np.int32), np.array([8, 25, 40], np.int32), np.array([0.1, -0.2, 0.3]),
    np.zeros(3, np.uint8),
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes
    ----------
    name : str
        File name of what is read, relative to a folder; files beside it belong to it.
    write : callable
        Write whole files into a folder.
    read : callable
        Read the file of this name in a folder.
    pack, unpack : callable
        From what is changed to the file and back, where a format has a checksum of its own.
    """

    name: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    pack: Callable[[bytes], bytes] = bytes
    unpack: Callable[[bytes], bytes] = bytes

    def seed(self, folder: Path) -> bytes:
        """Write whole files into a folder; return the content to change, without its seal.

        It is read once: kernels are compiled and decoders started before anything is watched.
        """
        with mock.patch.object(checksums, "seal"):  # it would stop every change at the door
            self.write(folder)
        self.read(folder / self.name)
        return self.unpack((folder / self.name).read_bytes())


def check_numbers(made: Any, name: str = "") -> None:
    """Raise if what was read holds a number that is not finite, or a length (`_mm`) that is none.

    Data frames may lack values, and a limit may be infinite: they are not looked at.
    """
    if name in LIMITS:
        return
    if is_dataclass(made):
        made = {field.name: getattr(made, field.name) for field in fields(made)}
    if isinstance(made, torch.nn.Module):
        made = made.state_dict()
    if isinstance(made, Mapping):
        for key, value in made.items():
            check_numbers(value, str(key))
    elif isinstance(made, list | tuple):
        for value in made:
            check_numbers(value, name)
    elif isinstance(made, float | np.ndarray | torch.Tensor):
        values = np.asarray(made)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise AssertionError(f"a number that is not finite was taken: {name}")
        if name.endswith("_mm") and not (np.abs(values) <= bounds.MAX_MM).all():
            raise AssertionError(f"a length of more than {bounds.MAX_MM} mm was taken: {name}")
        if name == "voxel_mm" and not (values > 0).all():
            raise AssertionError(f"voxels without a size were taken: {values}")


def _followed(points_mm: NDArray[np.float64], first: Any, second: Any) -> NDArray[np.float64]:
    """Follow lines through an image: what was read goes on to compiled code."""
    lines = Lines(GRID, points_mm, np.asarray(first), np.asarray(second))
    return lines.forward(np.ones(GRID.shape))


def _read_crystals(path: Path) -> Any:
    table = tables.read_crystals(path)
    others = np.arange(1, len(table))
    return table, _followed(table.points_mm, np.zeros_like(others), others)


def _read_lines(path: Path) -> Any:
    ends_mm, time_s = tables.read_lines(path)
    first = np.arange(0, 2 * len(ends_mm), 2)
    return ends_mm, time_s, _followed(ends_mm.reshape(-1, 3), first, first + 1)


def _png(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.arange(64).reshape(8, 8) * 500 + 30000).astype(np.uint16)).save(path)


def _deeplesion(folder: Path) -> None:
    for number in (1, 2, 3):
        _png(folder / f"Images_png/000001_01_01/{number:03d}.png")
    (folder / "DL_info.csv").write_text(
        "File_name,Possibly_noisy,Slice_range,Train_Val_Test\n"
        '000001_01_01_002.png,0,"1, 3",1\n000001_01_01_001.png,1,"1, 2",1\n'
    )


def _dicom(folder: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("a.dcm", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = CTImageStorage, "1.2.3", "CT"
    data.ImageType, data.PatientID = ["ORIGINAL", "PRIMARY", "AXIAL"], "p1"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2", "1.2.1"
    data.Rows, data.Columns, data.SamplesPerPixel = 4, 4, 1
    # Numbers as long as the words that take their places: a value's length is written before it.
    data.ImageOrientationPatient = ["1.000000", *["0.000000"] * 3, "1.000000", "0.000000"]
    data.ImagePositionPatient = ["0.000000", "0.000000", "5.000000"]
    data.RescaleSlope, data.RescaleIntercept, data.PixelPaddingValue = "1.00000", "-1024.00", 0
    data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelData = np.arange(16, dtype=np.uint16).tobytes()
    data.save_as(folder / "a.dcm")


def _read_dicom(path: Path) -> Any:
    return dicom.index_slices(path.parent), dicom.read_hu(path)


def _enhanced(folder: Path) -> None:
    """Frames of one file, coded as ITK codes them."""
    _dicom(folder)
    data = pydicom.dcmread(folder / "a.dcm")
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(folder / "a.dcm"))
    writer.Execute(sitk.GetImageFromArray(np.arange(16, dtype=np.uint16).reshape(4, 4)))
    coded = pydicom.dcmread(folder / "a.dcm")
    frame = get_frame(coded.PixelData, 0, number_of_frames=1)
    data.file_meta.TransferSyntaxUID = coded.file_meta.TransferSyntaxUID
    data.PixelData, data.NumberOfFrames = encapsulate([frame, frame]), 2
    data["PixelData"].is_undefined_length = True
    groups = []
    for z_mm in (0, 5):
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, z_mm]
        group.PlanePositionSequence = [place]
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = groups
    data.save_as(folder / "a.dcm")


def _read_enhanced(path: Path) -> Any:
    with mock.patch.object(tempfile, "tempdir", str(path.parent)):  # where it may write
        frames = dicom.index_slices(path.parent)[0]["frame"]
        return [dicom.read_hu(path, frame) for frame in frames]


def _root(folder: Path) -> None:
    radius_mm = SCANNER.inner_radius_mm + SCANNER.crystal_depth_mm / 2
    points = RING.points_mm / np.linalg.norm(RING.points_mm[:, :2], axis=1)[:, None] * radius_mm
    points[:, 2] = RING.points_mm[:, 2]
    branches: dict[str, Any] = {f"EventID{i}": np.arange(3, dtype=np.int32) for i in (1, 2)}
    for i, ids in ((1, EVENTS.crystal1), (2, EVENTS.crystal2)):
        for axis, values in zip("XYZ", points[ids].T, strict=True):
            branches[f"PostPosition{i}_{axis}"] = values
            branches[f"EventPosition{i}_{axis}"] = np.zeros(3)
        branches[f"GlobalTime{i}"] = np.arange(3.0)
        for process in SCATTER_PROCESSES:
            branches[f"n_{process}{i}"] = np.zeros(3, np.int32)
    with uproot.recreate(folder / "c.root") as file:
        for tree in ("Coincidences", "Delayed"):
            file.mktree(tree, {key: values.dtype for key, values in branches.items()})
            file[tree].extend(branches)


def _castor(folder: Path) -> None:
    castor.write_castor(folder / "c.cdh", EVENTS, "tubepet", 1.0, 300.0)
    RING.points_mm.astype("<f4").repeat(2, axis=1)[:4].tofile(folder / "c.lut")
    lines = {
        "number of elements": 24, "scanner radius": 50, "number of rsectors": 4,
        "number of crystals transaxial": 3, "number of crystals axial": 2, "rsectors nbZShift": 1,
        "rsectors ZShift": 1, "min angle difference": 20, "mean depth of interaction": 3,
        "crystals size depth": 10, "crystals size transaxial": 4, "crystals size axial": 5,
    }  # fmt: skip
    text = "".join(f"{key}: {value}\n" for key, value in lines.items())
    (folder / "c.geom").write_text(text)


def _petsird(folder: Path) -> None:
    parts = RING.points_mm, RING.normals, RING.areas_mm2, RING.efficiency
    few = crystals.Crystals(*(part[:6] for part in parts))
    events = EVENTS.at(np.array([0, 1]))
    events.crystal1[:], events.crystal2[:] = [0, 1], [4, 5]
    delayed = events.at(np.array([0]))
    petsird.write_petsird(folder / "c.petsird", few, events, delayed, 0.002, 300.0)


def _config(folder: Path) -> None:
    for name in ("smoke", "literal"):
        (folder / f"{name}.yaml").write_bytes((ROOT / f"config/{name}.yaml").read_bytes())
    whole = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    base = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(base | whole))


def _read_config(path: Path) -> Any:
    try:  # Snakemake reads the file, and says so itself if it is no YAML
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return checked_config(content, ROOT) if isinstance(content, dict) else None


def _scanner(folder: Path) -> None:
    values = asdict(SCANNER) | {"energy_window_kev": [350.0, 650.0]}
    (folder / "s.yaml").write_text(yaml.safe_dump({"scanner": values}))


def _checkpoint(folder: Path) -> None:
    state = {"step": 3, "weights": {"a": torch.arange(4.0)}, "queue": [torch.arange(2)]}
    checkpoint.save_checkpoint(folder / "c.pt", state, "digest")


def _read_checkpoint(path: Path) -> None:
    """Its numbers are the run's own, and what a training made of them may be anything."""
    checkpoint.load_checkpoint(path, "digest")


def _vae(folder: Path) -> None:
    torch.manual_seed(0)
    with io.atomic(folder / "vae.safetensors") as part:
        save_file(vae.ConvVAE(**VAE).state_dict(), part)


def _generator(folder: Path) -> None:
    torch.manual_seed(0)
    arguments = {**VAE, "output": "activity", "filter_px": 0.8}
    network = catalogue.MODELS["vae"].make_generator(arguments)
    with io.atomic(folder / "generator.safetensors") as part:
        save_file(network.state_dict(), part)
    facts = {"format": 1, "model": "vae", "arguments": arguments, "scale_bq_mm3": 5.0}
    io.write_json(folder / "generator.json", facts | {"pixel_mm": 1.0, "slice_mm": 2.0})


def _enhancer(folder: Path) -> None:
    torch.manual_seed(0)
    arguments = {"channels": 4, "use_memory": False}
    with io.atomic(folder / "network.safetensors") as part:
        save_file(Enhancer(**arguments).state_dict(), part)
    table = pd.DataFrame({"split": ["train"], "family": ["round"]})
    told = enhancer.trained_on(
        table,
        {"scale_bq_mm3": 600.0, "pixel_mm": 1.0, "slice_mm": 2.0},
        asdict(SCANNER),
        {"activity_bq": 600, "per": "mm3", "duration_s": 0.1, "reference_duration_s": 1.0},
        {"num_pixels": 8, "num_iterations": 5},
    )
    facts = {"format": enhancer.FORMAT, "network": "plain", "arguments": arguments}
    io.write_json(folder / "network.json", facts | {"trained_on": told})


def _pet(folder: Path) -> None:
    image = Volume(np.arange(48.0).reshape(GRID.shape), GRID, "Bq/mm3")
    dicom_pet.write_series(folder / "s", image, dicom_pet.Component("a"), {"duration_s": 1})
    dicom_pet.write_multiframe(folder / "m.dcm", image, dicom_pet.Component("a"), {})


def _part(folder: Path) -> None:
    part = {"family": "bent", "length_mm": 4.0, "bore_radius_mm": 2.0, "wall_mm": 1.0}
    (folder / "p.yaml").write_text(yaml.safe_dump(part | {"bend_mm": 0.5}))
    io.write_json(folder / "p.json", part | {"bend_mm": 0.5})


def _read_part(path: Path) -> Any:
    return part_file.tube_of(str(path), part_file.content(path))


def _turing(folder: Path) -> None:
    content = {
        "format": turing.FORMAT, "page": "p", "reader": "r", "session": "s", "started": "t",
        "sources": ["real", "vae"], "trials": [[0, 0, 900], [1, 1, 800]],
    }  # fmt: skip
    text = json.dumps(list(content.values()), separators=(",", ":"))
    content["checksum"] = zlib.crc32(text.encode())
    (folder / "r.json").write_text(json.dumps(content))


def _turing_packed(data: bytes) -> bytes:
    """Write the right checksum into a reader's file, if it is one."""
    try:
        content = json.loads(data)
        signed = list(content.values())[:-1]
        text = json.dumps(signed, separators=(",", ":"), ensure_ascii=False)
        return json.dumps(content | {"checksum": zlib.crc32(text.encode())}).encode()
    except (ValueError, AttributeError, TypeError, RecursionError):
        return data


def _read_turing(path: Path) -> None:
    turing.score(turing.pool({path: turing.read_answers(path)}, None), 0)


def _table(name: str) -> Callable[[Path], None]:
    frame = pd.DataFrame({"tube": ["tube_0000", "tube_0001"], "split": ["train", "test"]})
    return lambda folder: io.write_table(folder / name, frame)


def _calibration(folder: Path) -> None:
    content = {"scanner": fingerprint.scanner_hash(SCANNER), "by_step": [0.5] * 9}
    io.write_json(folder / "calibration.json", content | {"by_difference": [1.0] * 4})


def _read_calibration(path: Path) -> Any:
    content = io.read_json(path)
    fingerprint.check_calibration(str(path), content, SCANNER)
    return content


def _png_packed(data: bytes) -> bytes:
    """Write the right CRC behind each chunk of a PNG, as far as its lengths make sense."""
    whole, start = bytearray(data), 8
    while start + 12 <= len(whole):
        end = start + 8 + int.from_bytes(whole[start : start + 4], "big")
        whole[end : end + 4] = zlib.crc32(whole[start + 4 : end]).to_bytes(4, "big")
        start = end + 4
    return bytes(whole)


def _checkpoint_packed(data: bytes) -> bytes:
    """Put a pickle where PyTorch's zip file has it."""
    file = streams.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("c/data.pkl", data)
        archive.writestr("c/byteorder", "little")
        archive.writestr("c/version", "3\n")
        for name, size in (("0", 16), ("1", 16)):
            archive.writestr(f"c/data/{name}", bytes(size))
    return file.getvalue()


def _checkpoint_unpacked(data: bytes) -> bytes:
    with zipfile.ZipFile(streams.BytesIO(data)) as archive:
        return archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))


def _lines(folder: Path) -> None:
    ends_mm = RING.points_mm[[EVENTS.crystal1, EVENTS.crystal2]].transpose(1, 0, 2)
    tables.write_lines(folder / "l.csv", ends_mm)
    (folder / "l.csv").rename(folder / "l.txt")


def _packed_lines(folder: Path) -> None:
    _lines(folder)
    (folder / "l.csv.gz").write_bytes(gzip.compress((folder / "l.txt").read_bytes()))


def _volume(name: str) -> Callable[[Path], None]:
    image = sitk.GetImageFromArray(np.ones(GRID.shape, np.int16))
    return lambda folder: sitk.WriteImage(image, str(folder / name))


READERS = {
    "deeplesion_csv": Reader(
        "DL_info.csv", _deeplesion, lambda path: deeplesion.index_slices(path.parent, True)
    ),
    "deeplesion_png": Reader(
        "1.png", lambda folder: _png(folder / "1.png"), deeplesion.read_hu, pack=_png_packed
    ),
    "dicom": Reader("a.dcm", _dicom, _read_dicom),
    "dicom_enhanced": Reader("a.dcm", _enhanced, _read_enhanced),
    "root": Reader("c.root", _root, lambda p: coincidences.read_coincidences(p, SCANNER)),
    "root_gate": Reader("c.root", _root, lambda p: gate.read_gate(p, RING)),
    "castor_header": Reader(
        "c.cdh", _castor, lambda p: (castor.read_facts(p), castor.read_castor(p, len(RING)))
    ),
    "castor_events": Reader(
        "c.cdf", _castor, lambda p: castor.read_castor(p.with_suffix(".cdh"), len(RING))
    ),
    "castor_lut": Reader("c.lut", _castor, castor_scanner.read_scanner),
    "castor_geom": Reader("c.geom", _castor, castor_scanner.read_scanner),
    "petsird": Reader("c.petsird", _petsird, petsird.read_petsird),
    "lines_csv": Reader(
        "l.csv", lambda f: tables.write_lines(f / "l.csv", RING.points_mm[:4].round()), _read_lines
    ),
    "lines_packed": Reader(
        "l.csv.gz",
        _packed_lines,
        _read_lines,
        lambda data: gzip.compress(data, 1),
        gzip.decompress,
    ),
    "lines_measured": Reader("l.txt", _lines, lambda path: measured.read_measured(path, SCANNER)),
    "crystals_csv": Reader(
        "c.csv", lambda f: tables.write_crystals(f / "c.csv", RING), _read_crystals
    ),
    "crystals_parquet": Reader(
        "c.parquet", lambda f: tables.write_crystals(f / "c.parquet", RING), _read_crystals
    ),
    "config": Reader("config.yaml", _config, _read_config),
    "scanner": Reader("s.yaml", _scanner, read_scanner),
    "checkpoint": Reader("c.pt", _checkpoint, _read_checkpoint),
    "checkpoint_pickle": Reader(
        "c.pt",
        _checkpoint,
        _read_checkpoint,
        _checkpoint_packed,
        _checkpoint_unpacked,
    ),
    "vae_weights": Reader("vae.safetensors", _vae, lambda path: vae.load_vae(path, VAE)),
    "generator_weights": Reader(
        "generator.safetensors", _generator, lambda path: trained.read_generator(path.parent)
    ),
    "generator_json": Reader(
        "generator.json", _generator, lambda path: trained.read_generator(path.parent)
    ),
    "enhancer_json": Reader(
        "network.json", _enhancer, lambda path: enhancer.read_trained(path.parent)
    ),
    "enhancer_weights": Reader(
        "network.safetensors", _enhancer, lambda path: enhancer.read_trained(path.parent)
    ),
    "dicom_pet_slice": Reader(
        "s/slice_0001.dcm", _pet, lambda path: dicom_pet.read_image(path.parent)
    ),
    "dicom_pet_frames": Reader("m.dcm", _pet, dicom_pet.read_image),
    "part_yaml": Reader("p.yaml", _part, _read_part),
    "part_json": Reader("p.json", _part, _read_part),
    "turing": Reader("r.json", _turing, _read_turing, _turing_packed),
    "table_csv": Reader("t.csv", _table("t.csv"), io.read_table),
    "table_parquet": Reader("t.parquet", _table("t.parquet"), io.read_table),
    "array": Reader(
        "a.npy",
        lambda f: io.write_array(f / "a.npy", np.arange(12.0).reshape(3, 4)),
        lambda path: io.read_array(path).shape,  # it is mapped, not read; the run sealed it
    ),
    "volume": Reader(
        "v.nii.gz",
        lambda f: io.write_volume(
            f / "v.nii.gz", Volume(np.ones(GRID.shape, np.float32), GRID, "Bq/mm3")
        ),
        io.read_volume,
        lambda data: gzip.compress(data, 1),
        gzip.decompress,
    ),
    "volume_plain": Reader("v.nii", _volume("v.nii"), lambda p: io.read_volume(p, is_ours=False)),
    "volume_metaimage": Reader("v.mha", _volume("v.mha"), io.read_volume),
    "calibration": Reader("calibration.json", _calibration, _read_calibration),
}
