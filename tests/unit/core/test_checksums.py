"""One flipped bit anywhere in an artefact is named; other programs read sealed files."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tubepet import checksums, io
from tubepet.errors import InputError
from tubepet.simulate.coincidences import BRANCH_TYPES, branches, read_branches, write_empty
from tubepet.types import Grid, Volume

DATA = np.arange(60, dtype=np.float32).reshape(3, 4, 5)


def write_tensors(path):
    with io.atomic(path) as part:
        save_file({"a": DATA, "b": DATA[0]}, part)


def write_root(path):
    with io.atomic(path) as part, uproot.recreate(part, compression=None) as file:
        names = [name for key in BRANCH_TYPES for name in branches(key)]
        file["Coincidences"] = {name: np.arange(9.0) for name in names}


READERS = {
    "a.json": (lambda p: io.write_json(p, {"x": [1, 2.5], "y": "z"}), io.read_json),
    "a.csv": (
        lambda p: io.write_table(p, pd.DataFrame({"a": DATA.ravel()})),
        lambda p: io.read_table(p).to_dict(),
    ),
    "a.npy": (lambda p: io.write_array(p, DATA), lambda p: np.array(io.read_array(p)).tolist()),
    "a.nii.gz": (
        lambda p: io.write_volume(p, Volume(DATA, Grid.centred(DATA.shape, (1.0,) * 3))),
        lambda p: io.read_volume(p).array.tolist(),
    ),
    "a.parquet": (
        lambda p: io.write_table(p, pd.DataFrame({"a": DATA.ravel()})),
        lambda p: io.read_table(p).to_dict(),
    ),
    "a.safetensors": (
        write_tensors,
        lambda p: {name: array.tolist() for name, array in load_file(io.checked(p)).items()},
    ),
    "a.root": (
        write_root,
        lambda p: read_branches(p, branches("GlobalTime"))["GlobalTime1"].tolist(),
    ),
}


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artefacts")
    for name, (write, _) in READERS.items():
        write(folder / name)
    return folder


def put(data: bytes, artefact: Path, folder: Path) -> Path:
    """Write damaged data as a disk would leave it: what lies beside the file is whole."""
    damaged = folder / artefact.name
    damaged.write_bytes(data)
    if checksums.beside(artefact).is_file():
        shutil.copy(checksums.beside(artefact), folder)
    return damaged


@given(name=st.sampled_from(sorted(READERS)), where=st.floats(0, 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_named_or_changes_nothing(artefacts, tmp_path_factory, name, where, bit):
    """Some bits do not count: padding, the seal's own name, times in headers."""
    data = bytearray((artefacts / name).read_bytes())
    data[round(where * (len(data) - 1))] ^= 1 << bit
    damaged = put(bytes(data), artefacts / name, tmp_path_factory.mktemp("damaged"))
    read = READERS[name][1]
    try:
        got = read(damaged)
    except InputError as error:
        assert str(damaged) in str(error)
    else:
        whole = read(artefacts / name)
        if isinstance(got, dict) and name == "a.json":  # the seal's key itself was hit
            got = {key: got.get(key) for key in whole}
        assert got == whole


@pytest.mark.parametrize("name", READERS)
def test_a_cut_file_is_named(artefacts, tmp_path, name):
    damaged = put((artefacts / name).read_bytes()[:-100], artefacts / name, tmp_path)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        READERS[name][1](damaged)


def test_other_programs_read_sealed_files(artefacts):
    np.testing.assert_array_equal(np.load(artefacts / "a.npy"), DATA)
    np.testing.assert_array_equal(np.load(artefacts / "a.npy", mmap_mode="r"), DATA)
    np.testing.assert_array_equal(load_file(artefacts / "a.safetensors")["a"], DATA)
    assert pd.read_csv(artefacts / "a.csv")["a"].tolist() == DATA.ravel().tolist()
    command = ["sha256sum", "--check", ".a.csv.sha256"]
    subprocess.run(command, cwd=artefacts, check=True, stdout=subprocess.DEVNULL)
    assert pd.read_parquet(artefacts / "a.parquet")["a"].tolist() == DATA.ravel().tolist()
    assert json.loads((artefacts / "a.json").read_text())["x"] == [1, 2.5]
    with uproot.open(artefacts / "a.root") as file:
        assert file["Coincidences"].num_entries == 9


def test_a_file_from_elsewhere_is_read_as_it_is(tmp_path):
    np.save(tmp_path / "a.npy", DATA)
    np.testing.assert_array_equal(io.read_array(tmp_path / "a.npy"), DATA)
    (tmp_path / "a.json").write_text('{"x": 1}')
    assert io.read_json(tmp_path / "a.json") == {"x": 1}
    save_file({"a": DATA}, tmp_path / "a.safetensors")
    assert list(load_file(io.checked(tmp_path / "a.safetensors"))) == ["a"]
    write_empty(tmp_path / "a.root")
    checksums.check(tmp_path / "a.root")


def test_an_empty_record_has_no_seal(tmp_path):
    io.write_json(tmp_path / "a.json", {})
    assert io.read_json(Path(tmp_path) / "a.json") == {}


def test_what_to_delete_is_said_of_our_own_files_only(tmp_path):
    own, users, cache = (tmp_path / name / "a.json" for name in ("results", "mine", "cache"))
    for path in (own, users, cache):
        io.write_json(path, {"x": 1})
        path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    (tmp_path / "results/b.json").symlink_to(cache)
    todo = {
        own: " (delete it to have it made again)",
        users: "",
        tmp_path / "results/b.json": f" (it comes from a cache: delete {cache} to have it "
        "made again)",
    }
    for path, sentence in todo.items():
        with pytest.raises(InputError) as caught:
            io.read_json(path)
        assert str(caught.value).endswith(f"the SHA-256 written with it{sentence}")


def test_a_damaged_map_of_the_user_is_not_to_be_deleted(tmp_path):
    for folder, is_own in (("results", True), ("mine", False)):
        path = tmp_path / folder / "mu.nii.gz"
        io.write_volume(path, Volume(DATA, Grid.centred(DATA.shape, (1.0,) * 3)))
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(InputError, match=r"mu\.nii\.gz: .*damaged") as caught:
            io.read_volume(path)
        assert ("delete it" in str(caught.value)) == is_own


def test_other_metadata_of_safetensors_stays(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": DATA}, path, metadata={"licence": "MIT"})
    checksums.seal(path)
    with safe_open(path, "np") as file:
        assert file.metadata()["licence"] == "MIT"
    checksums.check(path)
