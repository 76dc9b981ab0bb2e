"""Write the reference of config keys, config/README.md, from the schema (`make reference`)."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tubepet.root import ROOT

# The Snakemake workflow catalogue shows this page below a heading of its own.
START = """## Workflow overview

tubepet is a [Snakemake](https://snakemake.readthedocs.io) workflow that inspects metal tubes with
positron emitters (PET), from simulated or own data:

1. Draw tubes with defects, or take own parts.
2. Simulate a PET scanner, by GATE or by a fast engine that every run compares with it.
3. Reconstruct images in Bq/mm³ by list-mode MLEM.
4. Learn from CT slices (VAE) and describe the positron slices (PCA, PCANet).
5. Train generators: the paper's model and its rivals.
6. Compare generated slices with those of held-out tubes.
7. Make long images of short ones.
8. Give a verdict on every tube, from its events and its drawing.
9. Report all of it on one page.

## Running the workflow

### Input data

None is needed: tubes and scanner are simulated, and the CT is a stand-in. Yours go in by these
keys:

| data | key |
| --- | --- |
| CT, as DeepLesion or DICOM | `ct.source_dir`, `ct.format` |
| parts, as meshes or label volumes | `phantom.parts` |
| the official Geant4 tables | `simulate.g4_data_dir` |

### Parameters

`config.yaml` is the complete default run. The other files here list only what differs; so can
yours: `snakemake --cores 4 --configfile my.yaml`. A `config/config.yaml` in the folder of the run
(`--directory`) takes the place of the one here, and may list only what differs too. A key that is
misspelt, mistyped or impossible beside another stops the run with one sentence before the first
job.

The tables below have every key. *Source* says where a default comes from: the paper, a publication,
a measurement, or our choice. They are written from `workflow/schemas/config.schema.yaml` by
`make reference`.
"""
COLUMNS = ("key", "unit", "default", "allowed", "effect", "source of the default")
SIGNS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def config_page(schema: Mapping[str, Any]) -> str:
    """Return the page of all config keys, as Markdown.

    Parameters
    ----------
    schema : mapping
        `config.schema.yaml`.
    """
    parts = [START]
    for name, section in schema["properties"].items():
        title = section["description"] + "\n\n" if "properties" in section else ""
        rows = [COLUMNS, ("---",) * len(COLUMNS), *_rows(name, section)]
        lines = [f"| {' | '.join(map(_escaped, row))} |\n" for row in rows]
        parts.append(f"\n#### {name}\n\n{title}{''.join(lines)}")
    return "".join(parts)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _rows(key: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the row of a key, or those of all keys below it; `NAME` stands for any name."""
    for name, inner in schema.get("properties", {}).items():
        yield from _rows(f"{key}.{name}", inner)
    if isinstance(each := schema.get("additionalProperties"), dict):
        yield from _rows(f"{key}.NAME", each)
    if "properties" in (each := schema.get("items", {})):
        yield from _rows(f"{key}[]", each)
    if "properties" in schema:
        return
    default = f"`{schema['default']}`" if "default" in schema else ""
    texts = (schema.get(name, "") for name in ("description", "source"))
    yield (f"`{key}`", schema.get("unit", ""), default, _allowed(schema), *texts)


def _allowed(schema: Mapping[str, Any]) -> str:
    if "items" in schema:
        return _allowed(schema["items"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    return ", ".join(f"{sign} {schema[name]}" for name, sign in SIGNS.items() if name in schema)


def main() -> None:
    """Write config/README.md."""
    path = ROOT / "workflow/schemas/config.schema.yaml"
    page = config_page(yaml.safe_load(path.read_text(encoding="utf-8")))
    (ROOT / "config/README.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
