"""Sphinx configuration."""

import sklearn_lsh

project = "sklearn-lsh"
author = "the sklearn-lsh developers"
copyright = f"2026, {author}"
version = release = sklearn_lsh.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]
autosummary_generate = True
numpydoc_show_class_members = False
# Local references only: the documentation builds without a network.
default_role = "literal"
# Docstrings refer to scikit-learn's classes, whose pages are elsewhere.
nitpicky = False

html_theme = "furo"
html_title = f"sklearn-lsh {release}"
