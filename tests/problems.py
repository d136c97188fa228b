"""Small problems and short cuts that several test files share."""

import pickle

import numpy as np
from sklearn.datasets import load_digits

from sklearn_lsh import LSHMLPClassifier


def digits(n=400):
    """The first n digits, pixels in [0, 1]: half of the entries are zero."""
    X, y = load_digits(return_X_y=True)
    return X[:n] / 16, y[:n]


def multilabel(n=400):
    """Digits with three labels: even, at least five, a multiple of three."""
    X, y = digits(n)
    return X, np.column_stack([y % 2 == 0, y >= 5, y % 3 == 0]).astype(int)


def quick(hidden_layer_sizes=(120,), **params):
    """An estimator with enough nodes to hash, and few epochs."""
    defaults = {"active_fraction": 20, "max_iter": 5, "tol": 0, "random_state": 0}
    return LSHMLPClassifier(hidden_layer_sizes, **{**defaults, **params})


def same_model(a, b):
    """Whether two fitted estimators hold the same bits, wall-clock times aside."""
    return _frozen(a) == _frozen(b)


def _frozen(estimator):
    state = pickle.loads(pickle.dumps(estimator.__getstate__()))
    kept = {k: v for k, v in state.items() if k.endswith("_")}
    return _bits({**kept, **{k: state[k] for k in ("_network", "_progress") if k in state}})


def _bits(value):
    if isinstance(value, dict):
        return {k: _bits(v) for k, v in value.items() if "seconds" not in k}
    if isinstance(value, (list, tuple)):
        return [_bits(v) for v in value]
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return repr(value)
