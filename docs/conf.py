"""Settings of Sphinx. Pages under `_generated` are written anew at every build."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import cards  # noqa: E402
import plain_rst  # noqa: E402
import reference  # noqa: E402

project = "ebm-bench"
author = "the ebm-bench authors"
version = release = "0.1.0"
language = "en"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "examples"]
napoleon_use_param = False  # "a, b: text" describes both
napoleon_custom_sections = [("Attributes", "params_style")]  # else attributes are described twice
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
highlight_language = "text"

smartquotes = False  # a prime in a formula is no apostrophe

html_theme = "furo"
html_title = "ebm-bench"
html_static_path = ["_static"]
html_css_files = ["plain.css"]
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False

GENERATED = HERE / "_generated"
cards.write_all(GENERATED)
reference.write_all(GENERATED)


def setup(app):  # noqa: ANN001, ANN201
    """Makes plain docstrings reStructuredText before napoleon (priority 500) sees them; skips what says nothing."""
    app.connect("autodoc-process-docstring", plain_rst.escape_docstring, priority=400)
    app.connect("autodoc-skip-member", plain_rst.skip_tuple_fields)
