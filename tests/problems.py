"""Small problems and short cuts that several test files share."""

import pickle

import numpy as np
from scipy.sparse import csr_array
from sklearn.datasets import load_digits

from sklearn_lsh import LSHMLPClassifier

# Of documents.
N_CLASSES, N_FEATURES = 300, 1200


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


def documents(n=1500, seed=0, n_classes=N_CLASSES, n_features=N_FEATURES):
    """Sparse rows of a few words each, some of which belong to the row's class."""
    rng = np.random.default_rng(seed)
    own = np.random.default_rng(1).integers(n_features, size=(n_classes, 6))
    y = rng.integers(n_classes, size=n)
    y[:n_classes] = np.arange(n_classes)[:n]  # none is missing
    words = np.column_stack([own[y][:, :4], rng.integers(n_features, size=(n, 4))])
    X = csr_array(
        (np.ones(words.size, np.float32), words.ravel(), np.arange(n + 1) * 8),
        shape=(n, n_features),
    )
    X.sum_duplicates()
    X.data[:] = 0.35
    return X, y


def indicator(y, seed=0):
    """A second label beside each class."""
    other = np.random.default_rng(seed).integers(N_CLASSES, size=len(y))
    rows = np.repeat(np.arange(len(y)), 2)
    Y = csr_array(
        (np.ones(2 * len(y)), (rows, np.column_stack([y, other]).ravel())),
        shape=(len(y), N_CLASSES),
    )
    Y.sum_duplicates()
    Y.data[:] = 1
    return Y


def wide(**params):
    """A narrow dense layer below many classes."""
    defaults = {
        "hidden_layer_sizes": (32,), "active_fraction": 1.0, "output_active": 40, "max_iter": 3,
        "tol": 0, "random_state": 0,
    }
    return LSHMLPClassifier(**{**defaults, **params})


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
