"""From the matrices that scikit-learn users pass to the rows that the engine reads."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse

from .core.rows import CSRRows, DenseRows

LARGEST = np.finfo(np.float32).max
# Rows that are looked at, evenly spread, to learn what the data are like.
SAMPLED_ROWS = 2048
# Least share of non-zeros, and largest mean of a feature (squares have to fit float32), with
# which input is centred. With fewer, and more than so many features, data are wide and sparse.
CENTRED_DENSITY = 0.05
LARGEST_MEAN = 1e9
WIDE = 1000
# From this share on, updates of the first layer write to all weights of a row: nearly every cache
# line (16 numbers) of it is written to anyway.
DENSE = 0.25


def as_rows(X):
    """Rows over validated input (float32 or float64, C order or CSR), read in place."""
    if not issparse(X):
        if X.dtype == np.float64:
            check_magnitude(X)
        return DenseRows(X)
    check_pointers(X)
    summed = not ascends(X)
    if summed:
        X = X.copy()
        with np.errstate(over="ignore"):  # told below
            X.sum_duplicates()
    if summed or X.dtype == np.float64:
        check_magnitude(X.data)
    if X.indices.dtype != X.indptr.dtype or X.indices.dtype not in (np.int32, np.int64):
        X = csr_array(
            (X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64)), shape=X.shape
        )
    return CSRRows(X)


def check_magnitude(values):
    """ValueError where one overflows float32, which is what is computed with."""
    if values.size and max(values.max(), -values.min()) > LARGEST:
        raise ValueError(
            f"X contains a value too large for float32 (magnitude above {LARGEST:.3g}). "
            "Scale the features."
        )


def check_pointers(X):
    """ValueError where a CSR matrix points elsewhere: scikit-learn does not look.

    SciPy looks at row pointers only where the last one is not 0.
    """
    X.check_format(full_check=True)
    if X.nnz == 0 and X.indptr.any():
        raise ValueError("row pointers of a CSR matrix without entries must be 0")


def ascends(X):
    """Whether column numbers ascend in every row of a CSR matrix, none coming twice.

    Its own flags may be older than its arrays.
    """
    ascending = X.indices[1:] > X.indices[:-1]
    starts = X.indptr[1:-1]
    ascending[starts[(0 < starts) & (starts < len(X.indices))] - 1] = True
    return bool(ascending.all())


class Profile(NamedTuple):
    """What the data are like, as the first layer is to know.

    Attributes
    ----------
    mean : ndarray of shape (n_features,), float32, or None
        The mean row, to centre updates by; None where that is not worth it: features that are
        mostly zero have a mean near zero, and input with few non-zeros a row is not to cost more
        than those.
    is_dense : bool
        Whether an update may write to all weights of a row. There is a mean then.
    entries : float
        Non-zeros of a typical row if the data are wide and sparse, otherwise infinite.
    squared_norm : float or None
        Of a typical row, under the same condition.
    chosen : ndarray of int64
        The rows that were looked at.
    sample : CSR array
        Those rows.
    """

    mean: np.ndarray | None
    is_dense: bool
    entries: float
    squared_norm: float | None
    chosen: np.ndarray
    sample: csr_array


def profile(rows):
    """The ``Profile`` of some rows."""
    chosen = np.unique(np.linspace(0, rows.n_rows - 1, SAMPLED_ROWS).astype(np.int64))
    indptr, indices, data = rows.sample(chosen)
    sample = csr_array((data, indices, indptr), shape=(len(chosen), rows.n_features))
    entries = indptr[-1] / len(chosen)
    if entries >= CENTRED_DENSITY * rows.n_features:
        mean = np.bincount(indices, data, rows.n_features) / len(chosen)
        mean = mean.astype(np.float32) if np.abs(mean).max() < LARGEST_MEAN else None
        is_dense = mean is not None and entries >= DENSE * rows.n_features
        return Profile(mean, is_dense, np.inf, None, chosen, sample)
    if rows.n_features < WIDE:
        return Profile(None, False, np.inf, None, chosen, sample)
    squared_norm = float(np.square(data, dtype=np.float64).sum() / len(chosen))
    return Profile(None, False, entries, squared_norm, chosen, sample)
