"""Adds the reference of the config keys to the site (mkdocs hook)."""

from pathlib import Path

from mkdocs.structure.files import File, Files

README = Path(__file__).parent.parent / "config/README.md"


def on_files(files: Files, config: object) -> Files:
    """Add config.md."""
    files.append(File.generated(config, "config.md", content=README.read_text(encoding="utf-8")))
    return files
