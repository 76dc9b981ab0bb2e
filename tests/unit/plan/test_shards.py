"""Shards: every tube is in one, and the digest changes with every relevant input."""

import hashlib

import pytest

from tubepet.errors import InputError
from tubepet.plan import shards

TUBES = [f"tube_{i:04d}" for i in range(8)]


def test_one_tube_per_job_needs_no_shards():
    assert shards.cut(TUBES, 1) == {}


def test_the_first_tube_is_alone_and_every_other_in_one_shard():
    cut = shards.cut(TUBES, 3)
    assert list(cut) == ["tubes_0001-0003", "tubes_0004-0006", "tubes_0007-0007"]
    assert [tube for part in cut.values() for tube in part] == TUBES[1:]


def test_more_tubes_leave_the_full_shards_as_they_are():
    few, many = shards.cut(TUBES, 3), shards.cut([*TUBES, "tube_0008", "tube_0009"], 3)
    assert {name: many[name] for name in list(few)[:2]} == {k: few[k] for k in list(few)[:2]}


def test_digest_moves_with_params_and_scripts(tmp_path):
    script = tmp_path / "make.py"
    script.write_text("a = 1")
    first = shards.digest({"b": [1, 2], "a": "x"}, [script])
    assert first == shards.digest({"a": "x", "b": [1, 2]}, [script])
    assert first != shards.digest({"a": "x", "b": [1, 3]}, [script])
    script.write_text("a = 2")
    assert first != shards.digest({"a": "x", "b": [1, 2]}, [script])


def test_checksums_are_sha256(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert shards.checksums([str(path)]) == {str(path): hashlib.sha256(b"abc").hexdigest()}


def test_what_failed_inside_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shards.sys, "executable", "/bin/false")
    made = tmp_path / "made"
    made.touch()
    with pytest.raises(InputError, match=r"^lost: not made, 1 of 2 files"):
        shards.run([str(made), "lost"], ["make_phantom"], "config.json", 1)
