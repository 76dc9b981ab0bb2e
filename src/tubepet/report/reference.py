"""The reference of the config keys, from the schema."""

from collections.abc import Iterator, Mapping
from typing import Any

START = """# Config

Every key, as the schema has it. Where a default comes from is in `config/README.md` of the
repository. A key that is misspelt or impossible stops the run with one sentence before the first
job.

"""


def config_page(schema: Mapping[str, Any]) -> str:
    """Return the page of all config keys, as Markdown.

    Parameters
    ----------
    schema : mapping
        `config.schema.yaml`.
    """
    parts = [START]
    for name, section in schema["properties"].items():
        rows = list(_rows(name, section))
        parts.append(f"## {name}\n\n{section.get('description', '')}\n\n")
        parts.append("| key | type | bounds | default | meaning |\n|---|---|---|---|---|\n")
        parts += [f"| {' | '.join(_escaped(cell) for cell in row)} |\n" for row in rows]
        parts.append("\n")
    return "".join(parts)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _rows(key: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield key, type, bounds, default and meaning of a key and of all below it."""
    for name, inner in schema.get("properties", {}).items():
        yield from _rows(f"{key}.{name}", inner)
    if "properties" in schema:
        return
    kind = schema.get("type", "")
    default = f"`{schema['default']}`" if "default" in schema else ""
    yield (
        f"`{key}`",
        "/".join(kind) if isinstance(kind, list) else kind,
        _bounds(schema.get("items", schema) if kind == "array" else schema),
        default,
        schema.get("description", ""),
    )


def _bounds(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    words = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    return ", ".join(f"{sign} {schema[name]}" for name, sign in words.items() if name in schema)
