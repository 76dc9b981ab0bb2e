"""Links lead somewhere, references are complete, pages are short and in short sentences."""

import re
from pathlib import Path

import pytest
import yaml
from tests import documents
from tests.conftest import ROOT

from tubepet.cli.reference import commands_page
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


NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
GUIDES = ("Tutorials", "How-to guides")


def pages(*kinds: str) -> list[Path]:
    """Return the pages of kinds of documents, the top entries of the site."""
    entries = [entry for kind in NAV for name, entry in kind.items() if name in kinds]
    named = re.findall(r"[\w/.-]+\.md", str(entries))
    return [ROOT / "docs" / name for name in named if name not in GENERATED]


def test_every_page_has_its_kind():
    kinds = [name for kind in NAV for name in kind]
    assert kinds == ["Start", *GUIDES, "Reference", "Explanation", "Notes"]
    assert sorted(pages(*kinds)) == sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *pages(*GUIDES, "Explanation")], ids=lambda p: p.stem
)
def test_sentences_of_readme_guides_and_explanations_are_short(page):
    """At most 20 words on average."""
    words = [len(sentence) for sentence in documents.sentences(page)]
    assert len(words) > 5
    assert sum(words) / len(words) <= 20, sum(words) / len(words)


def test_sentences_are_told_apart(tmp_path):
    (tmp_path / "page.md").write_text(
        "# A title. Not one.\n\nOne two [three](a.md). Four\nfive 2.5 mm, e.g. six. "
        "`Code` is seven.\n"
        "\n```bash\nmake run. Not this.\n```\n\n- An item\n- **Another.** And more\n\n| a. | B. |\n"
    )
    found = [" ".join(words) for words in documents.sentences(tmp_path / "page.md")]
    assert found == [
        "One two [three].",
        "Four five 2.5 mm, e.g. six.",
        "`Code` is seven.",
        "An item",
        "**Another.",
        "And more",
    ]


def test_no_page_is_long():
    """README 600 words, a page 1,500; a reference or a note may be longer."""
    limits = dict.fromkeys(pages("Start", *GUIDES, "Explanation"), 1500) | {ROOT / "README.md": 600}
    num_words = {page: len(page.read_text(encoding="utf-8").split()) for page in limits}
    too_long = {page.name: n for page, n in num_words.items() if n > limits[page]}
    assert len(limits) > 20
    assert not too_long, too_long


def test_the_glossary_has_thirty_terms():
    page = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^\*\*(.+?)\*\*", page, re.M)
    assert len(terms) == 30 and terms == sorted(terms, key=str.lower)


def test_the_reference_of_commands_is_what_help_prints():
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    assert page == commands_page()  # `make reference`
    assert "--fail-on-defect" in page and "## tubepet turing score" in page


def test_the_public_catalogue_of_workflows_takes_the_repository():
    """What its page "Adding workflows" asks for, standardized usage included."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    assert "snakemake" in readme and "workflow" in readme
    assert (ROOT / "workflow/Snakefile").is_file() and list((ROOT / "workflow/rules").glob("*.smk"))
    whole = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())
    assert whole.keys() == {"usage"}
    settings = whole["usage"]
    assert settings.keys() == {"mandatory-flags", "software-stack-deployment", "report"}
    stack = settings["software-stack-deployment"]
    assert stack.keys() == {"conda", "apptainer", "apptainer+conda", "report"}
    assert {type(value) for value in (*stack.values(), settings["report"])} == {bool}
    assert settings["mandatory-flags"].keys() == {"desc", "flags"}
    assert settings["mandatory-flags"]["flags"] == []
    config = (ROOT / "config/README.md").read_text(encoding="utf-8")
    assert not re.search("^# ", config, re.M)  # it stands below a heading of the catalogue's page
