"""Look inside a fitted network: which nodes were selected, and were they the right ones?"""

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.utils.validation import check_is_fitted, validate_data

from ._data import as_rows
from ._pace import Pace
from ._prediction import make_workspaces

__all__ = ["active_set_recall", "active_sets"]


def active_sets(estimator, X):
    """Nodes that a fitted estimator selects for the rows of X.

    Parameters
    ----------
    estimator : LSHMLPClassifier
        Fitted; its ``inference`` parameter decides how nodes are selected.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)

    Returns
    -------
    sets : list of csr_matrix of shape (n_samples, n_nodes), bool
        One for each hidden layer, True where a node is active.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_lsh import LSHMLPClassifier
    >>> from sklearn_lsh.inspection import active_sets
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LSHMLPClassifier((200,), active_fraction=10, random_state=0).fit(X, y)
    >>> n_active = active_sets(clf, X)[0].sum(axis=1)
    >>> bool(7 <= n_active.min() <= n_active.max() <= 15)
    True
    """
    network, rows = _prepare(estimator, X)
    workspaces = make_workspaces(network, estimator.inference, 1)
    sets = []
    for index, size in enumerate(network.settings.hidden_layer_sizes):
        indptr, indices, _ = network.engine.hidden(
            rows, np.arange(rows.n_rows, dtype=np.int64), index, "selected", workspaces
        )
        found = csr_matrix(
            (np.ones(len(indices), bool), indices, indptr), shape=(rows.n_rows, size)
        )
        found.sort_indices()
        sets.append(found)
    return sets


def active_set_recall(estimator, X):
    """Share of the exact top nodes that the estimator's selection finds.

    Each layer is judged on the input it is really given, that is, on the outputs of the
    nodes selected below it.

    Parameters
    ----------
    estimator : LSHMLPClassifier
        Fitted; its ``inference`` parameter decides how nodes are selected.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)

    Returns
    -------
    recall : ndarray of shape (n_hidden_layers,)
        Selected nodes that are among those that exact activations would make active, over the
        number of these, of all rows together. A hashed output layer is the last; of it the best
        eighth of the active set counts (at least 16 classes).
    """
    network, rows = _prepare(estimator, X)
    workspaces = make_workspaces(network, estimator.inference, 1)
    found = np.zeros(network.engine.n_hashed)
    wanted = np.zeros_like(found)
    pace, done = Pace(), 0

    def count(start, stop):
        return network.engine.recall(rows, np.arange(start, stop), workspaces)[:2]

    while done < rows.n_rows:
        done, counts = pace.call(count, done, rows.n_rows)
        found += counts[0]
        wanted += counts[1]
    return found / np.maximum(wanted, 1)


def _prepare(estimator, X):
    check_is_fitted(estimator, "_network")
    X = validate_data(
        estimator, X, accept_sparse="csr", dtype=[np.float32, np.float64], order="C", reset=False
    )
    return estimator._network, as_rows(X)
