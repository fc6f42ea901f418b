"""Formulas as MathML, which browsers show without a script and without a network."""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

log = logging.getLogger(__name__)

# MathML sizes brackets itself.
SIZES = re.compile(r"\\[bB]igg?[lrm]?(?![a-zA-Z])")


def formula(node, *, as_block):
    try:
        return tex2mathml(SIZES.sub("", node.astext()), as_block=as_block)
    except MathError as error:
        log.warning("%s", error, location=node)
        return f"<code>{node.astext()}</code>"


def visit_inline(writer, node):
    writer.body.append(formula(node, as_block=False))
    raise nodes.SkipNode


def visit_block(writer, node):
    # In a box of its own a long formula can scroll on a narrow screen.
    writer.body.append(f'<div class="formula">{formula(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
