"""`{public-names}` documents the public names given."""

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

import isoflop


class PublicNames(SphinxDirective):
    has_content = True

    def run(self) -> list[nodes.Node]:
        names = [name for line in self.content for name in line.split()]
        missing = [name for name in names if name not in isoflop.__all__]
        if missing:
            raise self.error(f"isoflop has no public name {', '.join(missing)}")
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(
            StringList([line for name in names for line in _directive(name)], "api"),
            0,
            node,
        )
        return node.children


def _directive(name: str) -> list[str]:
    value = getattr(isoflop, name)
    if not isinstance(value, type):
        return ["```{eval-rst}", f".. autofunction:: isoflop.{name}", "```", ""]
    options = ["   :members:", "   :undoc-members:", "   :show-inheritance:"]
    if issubclass(value, Exception):
        options = ["   :show-inheritance:", "   :no-members:"]
    return ["```{eval-rst}", f".. autoclass:: isoflop.{name}", *options, "```", ""]


def setup(app):
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True}
