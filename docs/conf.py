"""Sphinx configuration: MyST pages, API pages from docstrings."""

import flops_fit

project = "flops-fit"
author = "The flops-fit developers"
copyright = "2026, the flops-fit developers"
version = release = flops_fit.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
default_role = "code"

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_type_aliases = {"Floats": "numpy.ndarray", "ArrayLike": "ArrayLike"}
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"flops-fit {release}"
html_static_path = ["_static"]
