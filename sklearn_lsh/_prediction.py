"""Prediction: rows in, probabilities out; validated or not."""

import numpy as np
from scipy.sparse import issparse

from ._data import as_rows
from ._pace import Pace

# Rows that a thread predicts at a time, so that weights in the cache serve all of them.
TOGETHER = 32


def outputs(network, rows, n_threads=1, workspaces=None):
    """What the output layer says of some rows: ndarray of shape (n_rows, n_outputs).

    ``workspaces`` of an earlier call may be given, in place of a number of threads.
    """
    found = np.empty((rows.n_rows, network.settings.n_outputs))
    if workspaces is None:
        workspaces = network.engine.workspaces(
            min(n_threads, max(1, rows.n_rows)), int(np.clip(rows.n_rows, 1, TOGETHER))
        )
    pace, done = Pace(TOGETHER), 0

    def predict(start, stop):
        return network.engine.predict(rows, start, stop, found, workspaces)

    while done < rows.n_rows:
        start = done
        done, overflown = pace.call(predict, start, rows.n_rows)
        if overflown:
            raise ValueError(
                f"the outputs of {overflown} of rows {start} to {done - 1} overflow "
                "float32. Scale the features as in training."
            )
    return found


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
        self.network, self.labels, self.inference = network, labels, inference
        self.workspaces = network.engine.workspaces(1, TOGETHER)

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
        if not issparse(X) and np.ndim(X) != 2:
            raise ValueError(f"expected a 2-D array of rows; got {np.ndim(X)} dimensions")
        if getattr(X, "dtype", None) not in (np.float32, np.float64):
            raise TypeError("expected an array or CSR matrix of float32 or float64")
        # Training, and predictions of the estimator, may have changed it meanwhile.
        self.network.set_inference(self.inference)
        return self.labels.probabilities(
            outputs(self.network, as_rows(X), workspaces=self.workspaces)
        )
