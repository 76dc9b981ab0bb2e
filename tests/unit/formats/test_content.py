"""The format of a file is told by its content: every format under every name."""

import gzip

import numpy as np
import pytest
from tests.unit.formats.test_gate import GATE10, write

from tubepet.errors import InputError
from tubepet.formats import castor, petsird, tables
from tubepet.formats.content import kind_of
from tubepet.reconstruct.scanner import crystals


@pytest.fixture(scope="module")
def files(tmp_path_factory, scanner, events, centres_mm):
    folder, ring = tmp_path_factory.mktemp("kinds"), crystals.of_scanner(scanner)
    ends, times = (centres_mm[events.crystal1], centres_mm[events.crystal2]), np.zeros(len(events))
    write(folder / "root", GATE10, *ends, times, times)
    castor.write_castor(folder / "castor.cdh", events, "ring", 1.0, 300.0)
    petsird.write_petsird(folder / "petsird", ring, events, events.at(slice(0)), 1.0, 300.0)
    for suffix in ("csv", "parquet"):
        tables.write_lines(folder / f"table.{suffix}", np.stack(ends, axis=1))
    (folder / "packed").write_bytes(gzip.compress((folder / "table.csv").read_bytes()))
    return folder


@pytest.mark.parametrize("name", ["x", "x.root", "x.csv", "x.cdh", "x.petsird", "x.parquet"])
@pytest.mark.parametrize(
    ("made", "kind"),
    [
        ("root", "root"),
        ("castor.cdh", "castor"),
        ("petsird", "petsird"),
        ("table.parquet", "table"),
    ],
)
def test_names_do_not_matter(files, tmp_path, made, kind, name):
    (tmp_path / name).write_bytes((files / made).read_bytes())
    assert kind_of(tmp_path / name) == kind


@pytest.mark.parametrize("made", ["table.csv", "packed"])
def test_text_is_a_table(files, made):
    assert kind_of(files / made) == "table"


def test_scanner_tables_are_told_from_configs(files, tmp_path, scanner):
    tables.write_crystals(tmp_path / "c.csv", crystals.of_scanner(scanner))
    (tmp_path / "c.txt").write_bytes(b"# crystals\n" + (tmp_path / "c.csv").read_bytes())
    (tmp_path / "config.txt").write_text("scanner:\n  max_mm: 3\n")
    assert tables.is_crystals(tmp_path / "c.txt") and not tables.is_crystals(
        tmp_path / "config.txt"
    )


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(b"", "got an empty file"), (b"\0\1\2", "got a binary file of no known kind"),
     (b"\x1f\x8b cut", "gzip can unpack, got a damaged")],
)  # fmt: skip
def test_other_files(tmp_path, data, sentence):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(InputError, match=sentence):
        kind_of(tmp_path / "x")


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="expected a regular file"):
        kind_of(tmp_path / "pipe")
