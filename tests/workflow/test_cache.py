"""`--cache`: working copies share slow results, and readers of a changed entry name it."""

import re
import shutil
from pathlib import Path

import pytest

from tests.workflow.conftest import snakemake
from tubepet import io
from tubepet.errors import InputError
from tubepet.simulate.geant4 import em_tables

FACTS, TABLES = Path("results/simulate/g4data.json"), Path("results/simulate/g4data")


def is_made(folder: Path, *options: str) -> bool:
    """Ask for the Geant4 tables in a working copy; False if they came from the cache."""
    done = snakemake(folder, str(FACTS), "--cache", *options, cores=1)
    assert done.returncode == 0, done.stdout
    assert (folder / FACTS).is_symlink()
    return "Moving output file" in done.stdout


def test_copies_share_one_cache_and_a_poisoned_entry_is_named(tmp_path, monkeypatch) -> None:
    cache, first, second = (tmp_path / name for name in ("cache", "first", "second"))
    cache.mkdir()
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(cache))
    assert is_made(first) and not is_made(second)
    assert (first / FACTS).resolve() == (second / FACTS).resolve()
    assert is_made(tmp_path / "third", "--config", "simulate={g4_data: substitute}")  # another key

    monkeypatch.chdir(second)
    facts = io.read_json(FACTS)
    em_tables.check(facts, "G4EmStandardPhysics")
    entry = (TABLES / "G4EMLOW8.8").resolve().parent
    next(entry.rglob("pe-cs-13.dat")).write_text("1 2 3\n")
    message = re.escape(f"(delete {TABLES} and {entry} to have them made again)")
    with pytest.raises(InputError, match=f"{TABLES}: got damaged tables, .*{message}"):
        em_tables.check(facts, "G4EmStandardPhysics")

    shared = FACTS.resolve()
    shared.write_text(shared.read_text().replace("substitute", "official"))
    message = f"g4data.json: got a damaged file, .* from a cache: delete {shared} to have it made"
    with pytest.raises(InputError, match=message):
        io.read_json(FACTS)

    for advised in (TABLES, entry):
        shutil.rmtree(advised)
    shared.unlink()
    assert is_made(second)
    em_tables.check(io.read_json(FACTS), "G4EmStandardPhysics")
