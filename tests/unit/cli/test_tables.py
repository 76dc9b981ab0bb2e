"""`tubepet tables check` states the limits of the substitute, and compares official tables."""

from click.testing import CliRunner

from tubepet.cli import main
from tubepet.cli.tables import LIMITS
from tubepet.simulate.geant4 import em_tables


def test_without_official_tables_the_limits_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(em_tables, "_opengate_folder", lambda: tmp_path)
    done = CliRunner().invoke(main, ["tables", "check"])
    assert done.exit_code == 0
    assert LIMITS in done.output and "ESTAR" in LIMITS


def test_official_tables_are_compared_with_the_substitute(tmp_path):
    em_tables.build_substitute(tmp_path)
    (tmp_path / em_tables.MARKER).unlink()  # taken for official
    path = tmp_path / em_tables.DATA_SETS["G4LEDATA"] / "epics2017/rayl/re-cs-13.dat"
    head, count, *pairs = path.read_text().splitlines()
    halved = [f"{p.split()[0]} {0.5 * float(p.split()[1]):.8g}" for p in pairs]
    path.write_text("\n".join([head, count, *halved]) + "\n")
    done = CliRunner().invoke(main, ["tables", "check", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "rayleigh +100.0 % (Al" in done.output
    assert LIMITS not in done.output
