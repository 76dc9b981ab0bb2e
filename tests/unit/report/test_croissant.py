import json
from dataclasses import asdict

import numpy as np
import pytest
import yaml
from tests.conftest import ROOT

import tubepet
from tubepet import checksums, io
from tubepet.dataset import collect, drawing
from tubepet.phantom.spec import draw_tube
from tubepet.report import croissant
from tubepet.types import Grid, Volume

PHANTOM = yaml.safe_load((ROOT / "config/config.yaml").read_text())["phantom"]
SHARES = {"train": 0.5, "val": 0.0, "test": 0.5}
SLICES = drawing.SliceGrid(16, 2.0, 2.0, 4.0, 2.0)
MADE = {"engine": "fast", "activity_bq": 600, "per": "mm3", "duration_s": 0.1, "num_parts": 0}


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """Collect and label the slices of two tubes as the workflow does, and describe them."""
    folder = tmp_path_factory.mktemp("reconstruct")
    paths = {name: folder / name for name in croissant.FILES}
    tubes = {f"tube_{i:04d}": draw_tube(f"tube_{i:04d}", PHANTOM, {}, 1) for i in range(2)}
    truths = [
        {
            "tube": name, "family": tube.family, "defect": tube.defect, "defects": [],
            "length_mm": tube.length_mm,
        }
        for name, tube in tubes.items()
    ]  # fmt: skip
    grid = Grid.centred((14, 16, 16), (2.0, 2.0, 2.0))
    images = (Volume(np.ones(grid.shape, np.float32), grid) for _ in tubes)
    table, info = collect.collect_slices(
        paths["slices.npy"], images, truths, SHARES, 1.0, 0.999, np.random.default_rng(0)
    )
    drawn = {name: paths[f"{name}.npy"] for name in ("fluid", "expected", "defect")}
    labels = drawing.draw_dataset(drawn, table, tubes, SLICES)
    io.write_table(paths["slices.parquet"], table)
    io.write_table(paths["labels.parquet"], labels)
    io.write_json(paths["slices.json"], info)
    io.write_json(paths["population.json"], asdict(drawing.Population(PHANTOM, SLICES, 14, 1.0)))
    croissant.write(folder / "croissant.json", paths.values(), MADE)
    return folder


def read(folder):
    return json.loads((folder / "croissant.json").read_text())


def test_every_file_is_named_as_it_is(described):
    files = {one["contentUrl"]: one for one in read(described)["distribution"]}
    assert files.keys() == {path.name for path in described.iterdir()} - {"croissant.json"}
    for name, one in files.items():
        path = described / name
        assert one["sha256"] == checksums.of_file(path)
        assert one["contentSize"] == f"{path.stat().st_size} B"
    shape = io.read_array(described / "defect.npy").shape
    assert files["defect.npy"]["description"].startswith(f"uint8 array of shape {shape}: ")


@pytest.mark.parametrize("name", ["slices", "labels"])
def test_every_column_of_the_tables_is_a_field(described, name):
    (records,) = (one for one in read(described)["recordSet"] if one["@id"] == name)
    table = io.read_table(described / f"{name}.parquet")
    assert [field["source"]["extract"]["column"] for field in records["field"]] == [*table]
    types = {field["name"]: field["dataType"] for field in records["field"]}
    expected = {"i_slice": "Integer", "tube": "Text", "has_defect": "Boolean", "z_mm": "Float"}
    expected |= {"is_cut": "Boolean", "x_low_px": "Integer", "end_mm": "Float"}
    found = {column: types[column] for column in expected if column in types}
    assert len(found) >= 4
    assert found == {column: f"sc:{expected[column]}" for column in found}


def test_the_splits_are_those_of_the_data(described):
    (splits,) = (one for one in read(described)["recordSet"] if one["@id"] == "splits")
    assert [one["splits/name"] for one in splits["data"]] == [*collect.SPLITS]


def test_the_description_says_what_was_simulated(described):
    text = read(described)["description"]
    num = len(io.read_table(described / "slices.parquet"))
    assert f"cut into {num} slices" in text and "2 closed metal tubes" in text
    assert "600 Bq per mm3" in text and "for 0.1 s" in text and "engine fast" in text
    assert "elliptical" in text and "groove" in text


def test_the_citation_is_that_of_the_repository(described):
    whole, cited = read(described), yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["title"] in whole["citeAs"]
    assert cited["authors"][0]["name"] in whole["citeAs"]
    assert whole["version"] == cited["version"] == tubepet.__version__


@pytest.mark.filterwarnings("ignore")  # of a package that is not ours
def test_mlcroissant_finds_no_fault_and_reads_every_record(described):
    mlcroissant = pytest.importorskip("mlcroissant", reason="pip install mlcroissant pyarrow")
    whole = mlcroissant.Dataset(jsonld=described / "croissant.json")
    issues = whole.metadata.ctx.issues
    assert not issues.errors and not issues.warnings
    for name in ("slices", "labels"):
        table = io.read_table(described / f"{name}.parquet")
        records = list(whole.records(name))
        assert len(records) == len(table) > 10
        for column in table:
            values = [record[f"{name}/{column}"] for record in records]
            values = [one.decode() if isinstance(one, bytes) else one for one in values]
            assert values == table[column].tolist()
