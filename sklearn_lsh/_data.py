"""From what scikit-learn users pass to what the engine reads: rows, labels, weights."""

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from .core.engine import Targets
from .core.rows import CSRRows, DenseRows

LARGEST = np.finfo(np.float32).max
# Rows that the mean input is taken from, evenly spread.
MEAN_ROWS = 2048
# Least share of non-zeros, and largest mean of a feature (squares have to fit float32), with
# which input is centred.
CENTRED_DENSITY = 0.05
LARGEST_MEAN = 1e9


def as_rows(X):
    """Rows over validated input (float32 or float64, C order or CSR), read in place."""
    values = X
    if issparse(X):
        # What is read in place must not point elsewhere: scikit-learn does not look.
        X.check_format(full_check=True)
        values = X.data
    if values.dtype == np.float64 and values.size:
        # float32 is what is computed with; a value that overflows it is not finite here.
        if max(values.max(), -values.min()) > LARGEST:
            raise ValueError(
                f"X contains a value too large for float32 (magnitude above {LARGEST:.3g}). "
                "Scale the features."
            )
    if not issparse(X):
        return DenseRows(X)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    if X.indices.dtype != X.indptr.dtype or X.indices.dtype not in (np.int32, np.int64):
        X = csr_array(
            (X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64)), shape=X.shape
        )
    return CSRRows(X)


def mean_input(rows):
    """The mean of some rows, to centre updates by; None where that is not worth it.

    Features that are mostly zero have a mean near zero, and input with few non-zeros a row is
    not to cost more than those.

    Parameters
    ----------
    rows : Rows

    Returns
    -------
    mean : ndarray of shape (n_features,), float32, or None
    """
    chosen = np.unique(np.linspace(0, rows.n_rows - 1, MEAN_ROWS).astype(np.int64))
    indptr, indices, data = rows.sample(chosen)
    if indptr[-1] < CENTRED_DENSITY * len(chosen) * rows.n_features:
        return None
    mean = np.bincount(indices, data, rows.n_features) / len(chosen)
    return mean.astype(np.float32) if np.abs(mean).max() < LARGEST_MEAN else None


class Labels:
    """The classes of a problem, and how labels become the engine's targets.

    Attributes
    ----------
    classes : ndarray
        Sorted classes; for multi-label targets 0 to n_labels - 1.
    multilabel : bool
    n_outputs : int
        1 for two classes (a logistic output, as in ``MLPClassifier``).
    """

    def __init__(self, classes, multilabel):
        self.classes = classes
        self.multilabel = multilabel
        self.binary = len(classes) == 2 and not multilabel
        self.n_outputs = 1 if self.binary else len(classes)

    @classmethod
    def infer(cls, y, classes=None):
        """The labels of targets y, or the announced classes if y has no others."""
        check_classification_targets(y)
        if type_of_target(y) == "multilabel-indicator":
            found = cls(np.arange(y.shape[1]), True)
            if classes is not None and not np.array_equal(np.asarray(classes), found.classes):
                raise ValueError(
                    f"classes must be 0 to {y.shape[1] - 1} for a label indicator with "
                    f"{y.shape[1]} columns, got {classes!r}"
                )
            return found
        return cls(np.unique(column_or_1d(y) if classes is None else classes), False)

    def loss(self, multilabel_loss):
        """Name of the loss: sigmoid for two classes, softmax for any other number."""
        if self.multilabel:
            return multilabel_loss
        return "sigmoid" if self.binary else "softmax"

    def encode(self, y):
        """Label lists as (indptr, indices); ValueError if y has labels not in ``classes``."""
        if self.multilabel:
            if not (hasattr(y, "ndim") and y.ndim == 2 and y.shape[1] == len(self.classes)):
                raise ValueError(
                    f"expected a label indicator with {len(self.classes)} columns, got shape "
                    f"{np.shape(y)}"
                )
            if type_of_target(y) != "multilabel-indicator":
                raise ValueError("expected a label indicator of zeros and ones")
            matrix = csr_array(y != 0) if not issparse(y) else csr_array(y)
            if issparse(y):
                matrix = matrix.copy()
                matrix.sum_duplicates()
                matrix.eliminate_zeros()
            return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
        y = column_or_1d(y, warn=True)
        unknown = np.setdiff1d(y, self.classes)
        if len(unknown):
            raise ValueError(
                f"y contains classes that were not announced: {unknown[:5]}; "
                f"known are {self.classes[:10]}"
            )
        index = np.searchsorted(self.classes, y).astype(np.int32)
        if self.binary:
            indptr = np.concatenate([[0], np.cumsum(index == 1)]).astype(np.int64)
            return indptr, np.zeros(int(indptr[-1]), np.int32)
        return np.arange(len(index) + 1, dtype=np.int64), index

    def targets(self, y, sample_weight=None):
        """The engine's targets for y."""
        indptr, indices = self.encode(y)
        return Targets(indptr, indices, sample_weight)

    def probabilities(self, outputs):
        """Columns of ``predict_proba`` from the network's output probabilities."""
        if self.binary:
            return np.column_stack([1 - outputs[:, 0], outputs[:, 0]])
        return outputs

    def decide(self, probabilities, loss):
        """Predicted labels from the columns of ``predict_proba``."""
        if not self.multilabel:
            return self.classes[probabilities.argmax(axis=1)]
        if loss == "softmax":
            # A uniform target over m labels puts 1 / m on each: relative, not absolute.
            bar = probabilities.max(axis=1, keepdims=True) / 2
            return (probabilities >= bar).astype(int)
        return (probabilities > 0.5).astype(int)
