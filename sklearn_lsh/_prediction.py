"""Prediction: rows in, probabilities out; validated or not."""

import numpy as np
from scipy.sparse import issparse
from scipy.sparse import vstack as vstack_sparse

from ._data import as_rows
from ._memory import require
from ._pace import Pace
from .core.answers import Best, Probabilities

# Rows that a thread predicts at a time, so that weights in the cache serve all of them; fewer
# where layers are so wide that their outputs would take more numbers than this.
TOGETHER = 32
OUTPUTS_TOGETHER = 2**20


def make_workspaces(network, inference, n_threads, n_rows=TOGETHER):
    """Workspaces for predicting so many rows on at most so many threads."""
    widest = max(n_out for n_out, _ in network.settings.shapes)
    together = int(np.clip(OUTPUTS_TOGETHER // widest, 1, TOGETHER))
    return network.engine.workspaces(
        max(1, min(n_threads, n_rows)), int(np.clip(n_rows, 1, together)), inference=inference
    )


def outputs(network, rows, workspaces, start=0, stop=None):
    """What the output layer says of some rows: ndarray of shape (n_rows, n_outputs).

    Outputs that a hashed layer does not find are 0. ``rows`` are those from start to stop.
    """
    stop = rows.n_rows if stop is None else stop
    shape = (stop - start, network.settings.n_outputs)
    require(
        8 * shape[0] * shape[1], f"the probabilities of {shape[1]} classes for {shape[0]} rows"
    )
    found = np.empty(shape)
    _in_parts(network.engine, rows, (start, stop), Probabilities(found, start), workspaces)
    return found


def best(network, rows, k, workspaces):
    """The k best outputs of each row, best first.

    Returns
    -------
    ids : ndarray of shape (n_rows, k), int32
        -1 where a hashed output layer finds fewer.
    p : ndarray of shape (n_rows, k), float64
    """
    shape = (rows.n_rows, k)
    require(12 * shape[0] * shape[1], f"the best {k} classes of {shape[0]} rows")
    ids, p = np.empty(shape, np.int32), np.empty(shape)
    _in_parts(network.engine, rows, (0, rows.n_rows), Best(ids, p), workspaces)
    return ids, p


def _in_parts(engine, rows, span, answers, workspaces):
    """Predict a span of rows in calls between which Ctrl-C is heard."""
    done, stop = span
    pace = Pace(TOGETHER)

    def predict(begin, end):
        return engine.predict(rows, begin, end, answers, workspaces)

    while done < stop:
        begin = done
        done, overflown = pace.call(predict, begin, stop)
        if overflown:
            which = f"{overflown} of rows {begin} to {done - 1}"
            if done - begin == 1:
                which = f"row {begin}"
            raise ValueError(
                f"the outputs of {which} overflow float32, or the input is not finite. Scale the "
                "features as in training."
            )


def decisions(network, labels, rows, inference, n_threads=1):
    """Predicted classes or label indicators, in memory for them and not for all probabilities."""
    settings = network.settings
    workspaces, loss = make_workspaces(network, inference, n_threads, rows.n_rows), settings.loss
    if not labels.multilabel and not labels.binary:
        return labels.decide_best(*best(network, rows, 1, workspaces), loss)
    if settings.finds_outputs(inference):
        return labels.decide_best(*best(network, rows, settings.n_active[-1], workspaces), loss)
    step = max(TOGETHER, OUTPUTS_TOGETHER // settings.n_outputs)
    parts = [
        labels.decide(
            outputs(network, rows, workspaces, start, min(rows.n_rows, start + step)), loss
        )
        for start in range(0, rows.n_rows, step)
    ]
    return vstack_sparse(parts, format="csr") if issparse(parts[0]) else np.concatenate(parts)


class Predictor:
    """Probabilities of rows, without scikit-learn's validation.

    Made by ``LSHMLPClassifier.predictor``. It keeps its workspace from call to call, so threads
    need one each.

    Parameters
    ----------
    network : Network
    labels : Labels
    inference : str
        The estimator's.
    """

    def __init__(self, network, labels, inference):
        self.network, self.labels = network, labels
        self.workspaces = make_workspaces(network, inference, 1)

    def __call__(self, X):
        """The estimator's ``predict_proba``, bit for bit.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features), float32 or float64
            C-contiguous. Values are not looked at: where one that is not finite reaches an
            output, an error is raised.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), float64

        Raises
        ------
        TypeError, ValueError
            If X has another type, layout or width, or an output overflows.
        """
        if issparse(X) and X.format != "csr":
            raise TypeError(f"expected an array or CSR matrix; got {X.format.upper()}")
        if not issparse(X) and np.ndim(X) != 2:
            raise ValueError(f"expected a 2-D array of rows; got {np.ndim(X)} dimensions")
        if getattr(X, "dtype", None) not in (np.float32, np.float64):
            raise TypeError("expected an array or CSR matrix of float32 or float64")
        return self.labels.probabilities(outputs(self.network, as_rows(X), self.workspaces))
