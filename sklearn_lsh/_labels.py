"""From the labels that scikit-learn users pass to the engine's targets, and back."""

import warnings

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import (
    check_classification_targets,
    is_multilabel,
    type_of_target,
)
from sklearn.utils.validation import column_or_1d

from ._data import check_pointers
from .core.outputs import Targets

# More classes than this may be too rare to be stratified by.
MANY_CLASSES = 100
# The probability of a predicted label relative to the highest, by loss. A target that is uniform
# over m labels puts 1 / m on each; decoupled, the best may have far more than the second.
PREDICTED = {"softmax": 1 / 2, "decoupled_softmax": 1 / 10}


class Labels:
    """The classes of a problem, and how labels become the engine's targets.

    Attributes
    ----------
    classes : ndarray
        Sorted classes; for multi-label targets 0 to n_labels - 1.
    multilabel : bool
    sparse : bool
        Whether predicted label indicators are CSR, as those trained on were.
    n_outputs : int
        1 for two classes (a logistic output, as in ``MLPClassifier``).
    """

    def __init__(self, classes, multilabel, sparse=False):
        self.classes = classes
        self.multilabel = multilabel
        self.sparse = sparse
        self.binary = len(classes) == 2 and not multilabel
        self.n_outputs = 1 if self.binary else len(classes)

    @classmethod
    def infer(cls, y, classes=None):
        """The labels of targets y, or the announced classes if y has no others."""
        if kind(y) == "multilabel-indicator":
            found = cls(np.arange(y.shape[1]), True, issparse(y))
            if classes is not None and not np.array_equal(np.asarray(classes), found.classes):
                raise ValueError(
                    f"classes must be 0 to {y.shape[1] - 1} for a label indicator with "
                    f"{y.shape[1]} columns, got {classes!r}"
                )
            return found
        found = distinct(column_or_1d(y) if classes is None else classes)
        if len(found) == 0:
            raise ValueError("classes must name at least one class")
        return cls(found, False)

    def loss(self, multilabel_loss):
        """Name of the loss: sigmoid for two classes, softmax for any other number."""
        if self.multilabel:
            return multilabel_loss
        return "sigmoid" if self.binary else "softmax"

    # ---- targets -------------------------------------------------------------------------

    def encode(self, y):
        """Label lists as (indptr, indices); ValueError if y has labels not in ``classes``."""
        if self.multilabel:
            if not (hasattr(y, "ndim") and y.ndim == 2 and y.shape[1] == len(self.classes)):
                raise ValueError(
                    f"expected a label indicator with {len(self.classes)} columns, got shape "
                    f"{np.shape(y)}"
                )
            if issparse(y):
                check_pointers(y)
            values = y.data if issparse(y) else y
            if kind(y) != "multilabel-indicator" or not ((values == 0) | (values == 1)).all():
                raise ValueError("expected a label indicator of zeros and ones")
            # As bool: summing duplicates up must not overflow what a small type holds.
            matrix = csr_array(y != 0, copy=True) if not issparse(y) else csr_array(y).astype(bool)
            matrix.sum_duplicates()  # and sorts
            matrix.eliminate_zeros()
            return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
        y = column_or_1d(y)
        try:
            index = np.searchsorted(self.classes, y).astype(np.int32)
        except TypeError as error:
            raise ValueError(
                f"y has values that cannot be compared with the classes {self.classes[:10]}"
            ) from error
        unknown = self.classes[np.minimum(index, len(self.classes) - 1)] != y
        if unknown.any():
            raise ValueError(
                "y contains classes that were not announced: "
                f"{np.unique(y[unknown])[:5]}; known are {self.classes[:10]}"
            )
        if self.binary:
            indptr = np.concatenate([[0], np.cumsum(index == 1)]).astype(np.int64)
            return indptr, np.zeros(int(indptr[-1]), np.int32)
        return np.arange(len(index) + 1, dtype=np.int64), index

    def targets(self, y, sample_weight=None, class_weight=None):
        """The engine's targets for y.

        Parameters
        ----------
        y : array-like
        sample_weight : ndarray of shape (n_samples,), or None
        class_weight : dict, "balanced" or None
            Multiplied with ``sample_weight``.
        """
        indptr, indices = self.encode(y)
        weights = sample_weight
        if class_weight is not None:
            own = self.class_weights(y, class_weight, indptr, indices)
            weights = own if weights is None else weights * own
        if weights is not None:
            with np.errstate(over="ignore"):  # told below
                weights = np.asarray(weights, np.float32)
            if not (np.isfinite(weights) & (weights >= 0)).all():
                raise ValueError(
                    "sample_weight, class_weight and their product must be finite as float32 and "
                    "not negative"
                )
        return Targets(indptr, indices, weights)

    def indicator(self, y, dtype=np.float32):
        """What the outputs should be: CSR of shape (n_samples, n_outputs), ones where set."""
        indptr, indices = self.encode(y)
        shape = (len(indptr) - 1, self.n_outputs)
        return csr_array((np.ones(len(indices), dtype), indices, indptr), shape=shape)

    def truth(self, y):
        """y as ``matches`` wants it."""
        return self.indicator(y, bool) if self.multilabel else y

    def matches(self, found, truth):
        """Whether predicted labels are the true ones, of multi-label targets all: (n_samples,)."""
        if not self.multilabel:
            return found == truth
        return np.ravel((csr_array(found).astype(bool) != truth).sum(axis=1)) == 0

    def class_weights(self, y, class_weight, indptr, indices):
        """A weight for each example: its class's, or the mean of its labels'."""
        if not self.multilabel:
            y = column_or_1d(y)
            present = self.classes if isinstance(class_weight, dict) else np.unique(y)
            weight = compute_class_weight(class_weight, classes=present, y=y)
            return weight[np.searchsorted(present, y)]
        n_rows, counts = len(indptr) - 1, np.bincount(indices, minlength=len(self.classes))
        if isinstance(class_weight, dict):
            unknown = set(class_weight).difference(range(len(self.classes)))
            if unknown:
                raise ValueError(
                    f"class_weight names labels that are not 0 to {len(self.classes) - 1}: "
                    f"{sorted(unknown, key=str)[:5]}"
                )
            weight = np.ones(len(self.classes))
            weight[list(class_weight)] = list(class_weight.values())
        else:
            weight = len(indices) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        sums = csr_array((weight[indices], indices, indptr), shape=(n_rows, len(weight))).sum(1)
        n_labels = np.diff(indptr)
        return np.where(n_labels, np.ravel(sums) / np.maximum(n_labels, 1), 1.0)

    def prior(self, targets, loss):
        """Intercepts that give each output its share of the targets, all else being equal."""
        indptr, indices, weights = targets.arrays
        n_rows = len(indptr) - 1
        if weights is None or not weights.any():
            weights = np.ones(n_rows)
        weights = weights / weights.mean(dtype=np.float64)
        of_labels = np.repeat(weights, np.diff(indptr))
        # Half an example more, lest what was not seen be impossible.
        counts = np.bincount(indices, of_labels, minlength=self.n_outputs) + 0.5
        if loss == "sigmoid":
            return np.log(counts / (n_rows + 1 - counts)).astype(np.float32)
        return np.log(counts / counts.sum()).astype(np.float32)

    def can_be_stratified(self, y, fraction, told):
        """Whether each class can have examples in both parts when such a share is set aside.

        With few classes it is a mistake if one cannot: where ``told``, that scikit-learn says so.
        """
        if self.multilabel:
            return False
        counts = np.unique(y, return_counts=True)[1]
        if told and len(counts) <= MANY_CLASSES:
            return True
        n_held_out = int(fraction * len(y))
        return counts.min() > 1 and len(counts) <= min(n_held_out, len(y) - n_held_out - 1)

    # ---- predictions ---------------------------------------------------------------------

    def probabilities(self, outputs):
        """Columns of ``predict_proba`` from the network's output probabilities."""
        if self.binary:
            return np.column_stack([1 - outputs[:, 0], outputs[:, 0]])
        return outputs

    def decide(self, outputs, loss):
        """Predicted labels from the network's output probabilities, of all outputs."""
        if not self.multilabel:
            return self.classes[self.probabilities(outputs).argmax(axis=1)]
        found = outputs >= self._bar(outputs.max(axis=1, initial=0, keepdims=True), loss)
        return self._indicator(*np.nonzero(found), len(outputs))

    def decide_best(self, ids, p, loss):
        """Predicted labels from the best outputs of each row: (n_rows, k) both, best first."""
        if not self.multilabel:
            return self.classes[ids[:, 0]]
        rows, places = np.nonzero((p >= self._bar(p[:, :1], loss)) & (ids >= 0))
        return self._indicator(rows, ids[rows, places], len(ids))

    @staticmethod
    def _bar(highest, loss):
        """The least probability of a predicted label."""
        if loss == "sigmoid":
            return np.nextafter(0.5, 1)
        return highest * PREDICTED[loss]

    def _indicator(self, rows, columns, n_rows):
        shape = (n_rows, len(self.classes))
        if self.sparse:
            return csr_array((np.ones(len(rows), int), (rows, columns)), shape=shape)
        found = np.zeros(shape, int)
        found[rows, columns] = 1
        return found


def distinct(values):
    """Sorted, each once; of a million classes that are so already this is soon seen."""
    values = np.asarray(values)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("classes must not be NaN or infinite")
    if values.ndim == 1 and values.dtype.kind in "iu" and (values[1:] > values[:-1]).all():
        return values.copy()
    try:
        return np.unique(values)
    except TypeError as error:
        raise ValueError("classes cannot be compared with each other") from error


def kind(y):
    """``type_of_target`` of targets that a classifier can have; ValueError for others."""
    if issparse(y) and not is_multilabel(y):
        raise ValueError("a sparse y has to be a label indicator of zeros and ones")
    with warnings.catch_warnings():
        # Many classes are what one may have come for.
        warnings.filterwarnings("ignore", message="The number of unique classes is greater")
        try:
            check_classification_targets(y)
            return type_of_target(y)
        except TypeError as error:
            raise ValueError("y has labels that cannot be compared with each other") from error
