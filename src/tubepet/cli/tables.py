"""`tubepet tables`: fetch and check Geant4's data."""

from pathlib import Path

import click

LIMITS = (
    "Limits of the substitute: photon totals within 0.1 % of NIST's tables before Geant4's own "
    "Compton fit (1 % off in LYSO at 511 keV, in Compton alone); no anomalous scattering (0.6 % of "
    "LYSO's attenuation at 150 keV); bremsstrahlung within 5 % (Lu at 500 keV: -11 %) of ESTAR, of "
    "which singles feel less than 0.1 %; never compared with the official tables here."
)


@click.group()
def tables() -> None:
    """Fetch the official Geant4 tables, or say which are in use."""


@tables.command(epilog="Then set simulate.g4_data_dir to DIR. Run again to go on after a cut.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--base-url", help="Another place of the archives than that of the Geant4 project.")
def fetch(folder: Path, base_url: str | None) -> None:
    """Fetch the official data sets that the config's physics lists read (0.35 GB)."""
    from tubepet.simulate.geant4 import em_tables, fetch_tables

    wanted = {key: fetch_tables.ARCHIVES[key] for key in em_tables.NEEDED_SETS}
    sets = fetch_tables.fetch(folder, base_url or fetch_tables.BASE_URL, wanted)
    click.echo(f"{', '.join(path.name for path in sets)} are in {folder}")


@tables.command()
@click.argument("folder", metavar="[DIR]", default="")
def check(folder: str) -> None:
    """Say in one sentence which tables a run takes with simulate.g4_data_dir DIR."""
    import tempfile

    from tubepet.simulate.geant4 import em_tables
    from tubepet.validate import official

    click.echo(em_tables.sentence(folder))
    found = em_tables.find_official("auto", folder)
    if found is None:
        click.echo(LIMITS)
        return
    with tempfile.TemporaryDirectory() as scratch:
        click.echo(official.sentence(official.compare(found, Path(scratch))))
