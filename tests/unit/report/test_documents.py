"""Every link of the documents leads somewhere, every config key is in the reference."""

import re
from pathlib import Path

import pytest
import yaml
from tests.conftest import ROOT

from tubepet.report.reference import config_page

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md"), *(ROOT / "config").glob("*.md")]
GENERATED = {"config.md"}  # by docs/hooks.py


def dead_links(path: Path) -> list[str]:
    """Return the links of a page to files or headings of the repository that do not exist."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or Path(file).name in GENERATED:
            continue
        linked = path.parent / file if file else path
        headings = []
        if anchor and linked.is_file():
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.M)
        slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
        if not linked.exists() or (anchor and anchor not in slugs):
            dead.append(f"{path.relative_to(ROOT)}: {target}")
    return dead


def test_no_link_within_the_repository_is_dead():
    offenders = [link for path in PAGES for link in dead_links(path)]
    assert len(PAGES) > 15
    assert not offenders, "\n".join(offenders)


def keys(section: dict[str, object], prefix: str = "") -> list[str]:
    names = []
    for name, value in section.items():
        is_section = isinstance(value, dict) and value and name not in ("tubes", "variants")
        names += keys(value, f"{prefix}{name}.") if is_section else [prefix + name]
    return names


def test_the_reference_is_written_from_the_schema_and_names_every_default():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    page = config_page(schema)
    assert page == (ROOT / "config/README.md").read_text(encoding="utf-8")  # `make reference`
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    missing = [key for key in keys(config) if f"`{key}`" not in page]
    assert len(keys(config)) > 100
    assert [key for key in missing if f"`{key.rpartition('.')[0]}`" not in page] == []
    assert "| `seed` |  | `2020` | >= 0, &lt;= 4294967295 |" in page


def test_the_site_is_built_without_a_warning(tmp_path):
    build = pytest.importorskip("mkdocs.commands.build", reason="mkdocs is not installed")
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    build.build(config)
    assert "phantom.num_tubes" in (tmp_path / "site/config/index.html").read_text()
