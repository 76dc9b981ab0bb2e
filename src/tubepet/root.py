"""Where the files of the workflow are (standard library only)."""

from pathlib import Path

PACKAGE_DIR = Path(__file__).parent
SHARE = PACKAGE_DIR / "share"  # setup.py puts it into the wheel

# Folder with `Snakefile`, `workflow`, `config`, `envs`, `profiles`: of an installed wheel, or else
# of the repository that holds this module.
ROOT = SHARE if SHARE.is_dir() else PACKAGE_DIR.parents[1]
