"""Compiled rooms: no scikit-learn, no validation, no GIL inside a pass. See doc/internals."""
