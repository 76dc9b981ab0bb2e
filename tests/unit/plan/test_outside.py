"""Changes of files that no rule makes are detected: new, removed, changed."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tubepet.errors import InputError
from tubepet.plan import outside


def test_geant4_tables_are_named_unless_the_substitute_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "G4EMLOW8.8").mkdir()
    wish = {"g4_data": "auto", "g4_data_dir": str(tmp_path)}
    assert outside.official_tables(wish) == [str(tmp_path), ["G4EMLOW8.8"]]
    assert outside.official_tables(wish | {"g4_data": "substitute"}) == []
    assert outside.official_tables(wish | {"g4_data_dir": str(tmp_path / "gone")}) == []


def test_ct_is_watched_by_its_index_and_its_listing(tmp_path: Path) -> None:
    ct = {"source_dir": str(tmp_path), "format": "deeplesion"}
    assert outside.ct_index(ct) == []
    (tmp_path / "DL_info.csv").touch()
    assert outside.ct_index(ct) == [str(tmp_path / "DL_info.csv")]
    assert outside.ct_index(ct | {"format": "dicom"}) == []
    assert outside.ct_listing(ct | {"source_dir": ""}) == ""  # a rule makes the stand-in


@pytest.mark.parametrize("format_", ["deeplesion", "dicom"])
def test_a_slice_that_changed_on_disk_is_noticed(tmp_path: Path, format_: str) -> None:
    ct = {"source_dir": str(tmp_path), "format": format_}
    path = tmp_path / "a" / "001.png"
    path.parent.mkdir()
    path.write_bytes(b"12")
    seen = [outside.ct_listing(ct)]
    path.write_bytes(b"123")
    seen.append(outside.ct_listing(ct))
    os.utime(path, ns=(1, 1))
    seen.append(outside.ct_listing(ct))
    path.rename(tmp_path / "a" / "002.png")
    seen.append(outside.ct_listing(ct))
    (tmp_path / "loop").symlink_to(tmp_path)  # never ends, if it is followed
    (tmp_path / "nowhere").symlink_to("nowhere")
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb"):  # no text
        pass
    seen.append(outside.ct_listing(ct))
    assert len(set(seen)) == 5 and outside.ct_listing(ct) == seen[-1]


def test_a_start_of_snakemake_does_not_walk_the_folder(tmp_path: Path) -> None:
    dicom = {"source_dir": str(tmp_path), "format": "dicom"}
    param = outside.at_planning(outside.ct_listing, dicom)
    (tmp_path / "one.dcm").write_bytes(b"1")  # after the start, before the job is planned
    assert param(None) == outside.ct_listing(dicom)


@pytest.mark.parametrize(
    ("attenuation", "of_tube", "of_literal"),
    [
        (
            "nominal",
            "results/phantom/tube_0003/mu_nominal.nii.gz",
            "results/phantom/literal/mu_nom",
        ),
        ("truth", "results/phantom/tube_0003/mu.nii.gz", "results/phantom/literal/mu.nii.gz"),
        ("maps/{tube}/ct.nii", "maps/tube_0003/ct.nii", "maps/tube_0000/ct.nii"),
        ("one.nii.gz", "one.nii.gz", "one.nii.gz"),
    ],
)
def test_each_tube_has_its_attenuation_map(attenuation, of_tube, of_literal) -> None:
    path = outside.attenuation_map(attenuation, "tube_0000")
    assert path(SimpleNamespace(tube="tube_0003")) == of_tube
    assert path(SimpleNamespace(tube="literal")).startswith(of_literal)


def test_without_a_folder_the_stand_in_is_read_as_deeplesion() -> None:
    source = outside.ct_source({"source_dir": "", "format": "dicom"})
    assert source["file_format"] == "deeplesion" and source["standin_dir"] == "results/ct/standin"


def test_results_of_a_former_version_are_not_built_upon(tmp_path: Path) -> None:
    outside.check_former_results(tmp_path)
    (tmp_path / "gan").mkdir()
    with pytest.raises(InputError, match=r"gan: .* expected results/generate: move or delete"):
        outside.check_former_results(tmp_path)


def test_the_hash_of_efficiencies_follows_the_file(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("crystal,efficiency\n0,0.5\n")
    look = outside.at_planning(outside.efficiencies, {"efficiencies": str(path)})
    first = look(None)
    path.write_text("crystal,efficiency\n0,0.6\n")
    assert len(first) == 64 and look(None) != first
    assert outside.efficiencies({"efficiencies": ""}) == ""
