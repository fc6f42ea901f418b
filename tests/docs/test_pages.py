"""What the pages refer to exists: pages, files, headings, programs, names, and the sentences that they quote."""

import ast
import re
from pathlib import Path

import pytest

import isoflop
from isoflop.notes.note import KINDS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = [*PAGES, *sorted(ROOT.glob("*.md"))]
named = pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))


def prose(text):
    """A page without its code."""
    return re.sub(r"^(`{3,}|:{3,}).*?^\1\s*$", "", text, flags=re.DOTALL | re.MULTILINE)


def links(page):
    """Targets of the links of a page that do not leave the repository."""
    found = re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)", page.read_text())
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text()), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@named
def test_links_lead_to_files_and_headings_that_exist(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


@named
def test_included_and_listed_files_exist(page):
    text = page.read_text()
    for path in re.findall(r"^```\{(?:include|literalinclude)\} (\S+)$", text, flags=re.MULTILINE):
        assert (page.parent / path).exists(), path
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for name in filter(None, (line.strip() for line in block.splitlines())):
            assert name.startswith(":") or (page.parent / f"{name}.md").exists(), name


@named
def test_images_exist(page):
    text = page.read_text()
    for path in re.findall(r"(?:src|srcset)=\"([^\"]+)\"|\{image\} (\S+)", text):
        assert (page.parent / "".join(path)).exists(), path


@pytest.mark.parametrize("paper", ["light", "dark"])
def test_the_picture_of_the_demo_shows_the_answer_that_is_printed_below_it(paper):
    """`make picture` draws it; Matplotlib notes each text that it draws as a comment."""
    svg = (ROOT / f"docs/_static/demo-{paper}.svg").read_text()
    readme = (ROOT / "README.md").read_text()
    printed = re.findall(r"^  (?:params|bytes) +(\S+) +\S+ to ", readme, flags=re.MULTILINE)
    assert len(printed) == 2
    assert all(f"<!-- {value} -->" in svg for value in printed)
    assert len(svg) < 150_000


@named
def test_files_that_are_named_by_their_path_exist(page):
    for path in re.findall(
        r"`((?:src|docs|tests|examples|benchmarks)/[\w./]*\w)/?`", page.read_text()
    ):
        generated = path.startswith("docs/_build")
        assert generated or (ROOT / path).exists(), path


@named
def test_names_of_isoflop_that_are_used_are_public(page):
    for name in re.findall(r"\bisoflop\.([A-Za-z_]\w*)\(", page.read_text()):
        assert name in isoflop.__all__, name


def test_the_reference_documents_every_public_name_once():
    text = (ROOT / "docs" / "api.md").read_text()
    blocks = re.findall(r"^```\{public-names\}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert sorted(" ".join(blocks).split()) == sorted(isoflop.__all__)


def test_every_page_is_in_a_table_of_contents():
    listed = {"index"}
    for page in PAGES:
        folder = page.parent.relative_to(ROOT / "docs")
        for block in re.findall(
            r"^```\{toctree\}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE
        ):
            listed |= {str(folder / line.strip()) for line in block.splitlines() if line.strip()}
    assert {str(page.relative_to(ROOT / "docs").with_suffix("")) for page in PAGES} <= listed


def sentences():
    """Every text in the source, with … for what is filled in."""
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    part.value if isinstance(part, ast.Constant) else "…" for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_the_registry_quotes_notes_that_isoflop_gives():
    source = list(sentences())
    quoted = [note for kind in KINDS.values() for note in kind.text.split("; ")]
    assert not [note for note in quoted if not any(quotes(note, text) for text in source)]


def test_the_questions_by_symptom_quote_messages_that_isoflop_gives():
    source = list(sentences())
    quoted = re.findall(r'^\*\*"(.+)"\*\*$', (ROOT / "docs/faq.md").read_text(), re.MULTILINE)
    assert len(quoted) >= 2
    parts = [re.sub(r"^\.\.\.|\.\.\.$", "", message).strip() for message in quoted]
    assert not [part for part in parts if not any(part in text for text in source)]


def quotes(note, text):
    """True where a text holds a note as a page quotes it, with … for what varies."""
    return all(piece.strip("*(), ") in text for piece in note.split("…"))
