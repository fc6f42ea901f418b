"""Formulas as MathML, which browsers show without a script and without a network."""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def _inline(writer, node):
    writer.body.append(tex2mathml(node.astext(), as_block=False))


def _block(writer, node):
    # A class of its own lets a long formula scroll on a narrow screen.
    formula = tex2mathml(node.astext(), as_block=True)
    writer.body.append(f'<div class="formula">{formula}</div>\n')


def _skipping(write):
    """The visitor, for nodes whose text it has written itself."""

    def visit(writer, node):
        write(writer, node)
        raise nodes.SkipNode

    return visit


def setup(app):
    inline, block = _skipping(_inline), _skipping(_block)
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
