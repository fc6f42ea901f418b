"""Docstrings are plain text, as they read in an editor; this gives Sphinx the markup that it wants.

A line `name: what it is` (or `name, other: ...`) with the lines up to the next one becomes an entry
of a definition list.
"""

import re
from collections.abc import Iterator

ENTRY = re.compile(r"^([a-z_]\w*(?:, [a-z_]\w*)*): (.+)$")


def setup(app):
    app.connect(
        "autodoc-process-docstring",
        lambda app, what, name, obj, options, lines: rewrite(lines),
    )
    return {"parallel_read_safe": True}


def rewrite(lines: list[str]) -> None:
    """Change the lines of a docstring in place."""
    lines[:] = _escaped(_with_lists(lines))


def _with_lists(lines: list[str]) -> Iterator[str]:
    in_list = False
    for number, line in enumerate(lines):
        entry = ENTRY.match(line)
        # A sentence may hold a colon too: an entry begins a paragraph, or follows another entry.
        if entry and (in_list or number == 0 or not lines[number - 1].strip()):
            if not in_list:
                yield ""
            in_list = True
            yield ", ".join(f"``{name}``" for name in entry[1].split(", "))
            yield f"    {entry[2]}"
        elif in_list and line.strip():
            yield f"    {line.strip()}"
        else:
            in_list = False
            yield line


def _escaped(lines: Iterator[str]) -> Iterator[str]:
    """`->` and `*` in prose are no markup."""
    for line in lines:
        if line.lstrip().startswith(">>>") or "``" in line:
            yield line
        else:
            yield re.sub(
                r"(?<![`\w*])\*(?!\*)|\*\*(?=\w)",
                lambda found: "\\*" * len(found[0]),
                line,
            )
