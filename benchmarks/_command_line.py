"""Estimator parameters from the command line."""

import sys
from ast import literal_eval


def value(text):
    """A Python literal, or else a string."""
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def assigned(texts):
    """A dict of texts from those like ``solver=sgd``; ends the program for others."""
    for text in texts:
        if "=" not in text:
            sys.exit(f"expected NAME=VALUE, got {text!r}")
    return dict(text.split("=", 1) for text in texts)


def parameters(texts):
    """A dict from texts like ``solver=sgd`` or ``n_jobs=2``."""
    return {name: value(text) for name, text in assigned(texts).items()}
