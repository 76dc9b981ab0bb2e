"""Writes the page of config keys from the schema when the site is built (mkdocs hook)."""

from pathlib import Path

import yaml
from mkdocs.structure.files import File, Files

from tubepet.report.reference import config_page

SCHEMA = Path(__file__).parent.parent / "workflow/schemas/config.schema.yaml"


def on_files(files: Files, config: object) -> Files:
    """Add config.md."""
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    files.append(File.generated(config, "config.md", content=config_page(schema)))
    return files
