"""Puts the workflow into the wheel; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("workflow", "config", "envs", "profiles")


class BuildWithWorkflow(build_py):
    """The package, and beside its modules the files that `tubepet.root` looks for."""

    def run(self):
        """Build; an editable install finds them in the repository."""
        super().run()
        if self.editable_mode:
            return
        share = Path(self.build_lib, "tubepet/share")
        shutil.rmtree(share, ignore_errors=True)  # a former build may hold files that are gone
        share.mkdir()
        shutil.copy("Snakefile", share)
        for name in FOLDERS:
            shutil.copytree(name, share / name, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": BuildWithWorkflow})
