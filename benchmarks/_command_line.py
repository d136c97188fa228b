"""Estimator parameters from the command line."""

from ast import literal_eval


def value(text):
    """A Python literal, or else a string."""
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def parameters(assignments):
    """A dict from texts like ``solver=sgd`` or ``n_jobs=2``."""
    return {k: value(v) for k, v in (text.split("=", 1) for text in assignments)}
