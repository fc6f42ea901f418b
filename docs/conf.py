"""How the documentation is built: `make docs`. Every example in it runs during the build."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

import isoflop  # noqa: E402

# Kernels inherit the command line of this environment, one thread per run, plain text, no colours.
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
)
os.environ.update(
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    COLUMNS="88",
    TERM="dumb",
    NO_COLOR="1",
    ISOFLOP_DOCS=str(DOCS),
    # Libraries that would draw bars in a notebook say so when widgets are not installed.
    PYTHONWARNINGS="ignore:IProgress not found",
)

# A profile of its own: no start-up file of a user runs in the examples, and kernels do not report
# their transport.
profile = Path(tempfile.mkdtemp(prefix="isoflop-docs-")) / "profile_default"
profile.mkdir()
(profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n")
os.environ["IPYTHONDIR"] = str(profile.parent)
atexit.register(shutil.rmtree, profile.parent, ignore_errors=True)

project = "isoflop"
author = "the isoflop contributors"
copyright = author
version = release = isoflop.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "mathml",
    "plain_docstrings",
    "public_names",
]
exclude_patterns = ["_build", "programs"]
default_role = "code"  # docstrings write names in single backticks
nitpicky = True
# Types in signatures are written for type checkers; not each of them has a page.
nitpick_ignore_regex = [("py:(class|obj|data|exc|meth)", r".*")]
suppress_warnings = ["mystnb.unknown_mime_type"]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Markdown that a cell displays may hold tables.
nb_render_markdown_format = "myst"
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_render_text_lexer = "none"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "isoflop"
html_static_path = ["_static"]
html_css_files = ["isoflop.css"]
# Pages without neighbours need no list of them.
html_sidebars = {"quickstart": [], "gallery": []}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "isoflop"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
