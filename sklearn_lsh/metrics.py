"""Measures of ranked labels for many classes and many labels; none makes Y dense.

Each takes the truth as a class vector or a dense or sparse 0/1 indicator, and predictions as
ids, best first, or as scores. `topk_scorer` makes scorers of them for
:class:`~sklearn.model_selection.GridSearchCV` and its like.
"""

from numbers import Integral

import numpy as np
from scipy import sparse

# Scores that are ranked at once: the working arrays take a few times their bytes.
CHUNK = 1 << 22
NOTHING = -1  # the column of a rank for which nothing was predicted


def precision_at_k(y_true, y_top, k=1, *, labels=None):
    """Mean share of right labels among the first k predicted.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or {array-like, sparse} of (n_samples, n_labels)
        A class vector (numbers or strings), or a 0/1 indicator.
    y_top : array-like of shape (n_samples, >= k), or scores of shape (n_samples, n_labels)
        Labels, best first, or scores. Arrays of floating-point numbers and sparse matrices are
        scores, all others labels (column numbers if `y_true` is an indicator; -1 means none).
        Equal scores rank the lower column first. What a sparse matrix does not store is not
        predicted at all.
    k : int, default=1
        Ranks that count. A row with fewer predictions or labels is still divided by `k`.
    labels : array-like of shape (n_labels,), default=None
        For class vectors: the sorted labels of the columns; by default those in `y_true`.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If shapes do not fit, `k` is out of range, a label is out of range or comes twice in a
        row, a score is NaN, or an indicator holds other values than 0 and 1.
    """
    return float(_Ranking(y_true, y_top, k, labels).hits.mean())


def ndcg_at_k(y_true, y_top, k=1, *, labels=None):
    """Mean normalised discounted cumulative gain of the first k predicted labels.

    A right label at rank r (from 1) gains ``1 / log2(r + 1)``; the sum is divided by that of
    the best ranking. A row without true labels counts 0, as in
    :func:`sklearn.metrics.ndcg_score`.

    Parameters
    ----------
    y_true, y_top, k, labels
        As for :func:`precision_at_k`, which says what is returned and raised, too.
    """
    ranking = _Ranking(y_true, y_top, k, labels)
    gains = 1 / np.log2(np.arange(2, k + 2))
    best = np.append(0, np.cumsum(gains))[np.minimum(np.diff(ranking.truth.indptr), k)]
    gained = ranking.hits @ gains
    return float(np.divide(gained, best, out=np.zeros_like(gained), where=best > 0).mean())


def propensities(Y_train, a=0.55, b=1.5, *, labels=None):
    """How likely each label is to be given where it is right, from its frequency.

    ``1 / (1 + C (n_l + b)^-a)`` with ``C = (log n - 1) (b + 1)^a``, where label l has n_l of
    the n rows (Jain, Prabhu and Varma, *Extreme multi-label loss functions*, KDD 2016).

    Parameters
    ----------
    Y_train : array-like of shape (n_samples,) or {array-like, sparse} of (n_samples, n_labels)
        A class vector or a 0/1 indicator.
    a, b : float, default=0.55 and 1.5
        Constants of the model, b positive. The paper takes 0.5, 0.4 for Wikipedia and 0.6, 2.6
        for Amazon.
    labels : array-like of shape (n_labels,), default=None
        For class vectors: the sorted labels, by default those that occur.

    Returns
    -------
    ndarray of shape (n_labels,), float64
        Between 0 and 1, in the order of the columns or the sorted labels.

    Raises
    ------
    ValueError
        With fewer than three rows C would not be positive, with b not positive the base of
        the power might not be; and where an argument is not finite.
    """
    if not (np.isfinite(a) and np.isfinite(b) and b > 0):
        raise ValueError(f"a has to be finite, and b positive; got a={a!r} and b={b!r}.")
    truth, _ = _indicator(Y_train, labels)
    n_rows = truth.shape[0]
    if n_rows < 3:
        raise ValueError(f"Propensities need at least 3 rows, got {n_rows}.")
    counts = np.bincount(truth.indices, minlength=truth.shape[1])
    constant = (np.log(n_rows) - 1) * (b + 1) ** a
    return 1 / (1 + constant * (counts + b) ** -a)


def psp_at_k(y_true, y_top, k=1, *, propensities, labels=None):
    """Propensity-scored precision of the first k: right labels count more the rarer they are.

    The sum of ``1 / propensity`` over right predictions, divided by the largest sum that k
    predictions a row could have reached (Jain, Prabhu and Varma, KDD 2016; normalised over all
    rows at once, as the extreme classification repository does).

    Parameters
    ----------
    y_true, y_top, k, labels
        As for :func:`precision_at_k`.
    propensities : array-like of shape (n_labels,)
        From :func:`propensities` of the training rows; all positive, else a ValueError.

    Returns
    -------
    float
        Between 0 and 1; 0 without true labels.
    """
    ranking = _Ranking(y_true, y_top, k, labels)
    truth, propensities = ranking.truth, np.asarray(propensities, np.float64)
    if propensities.shape != (truth.shape[1],) or not np.all(propensities > 0):
        raise ValueError(f"Expected {truth.shape[1]} positive propensities (labels= names "
                         f"those of a class vector), got shape {propensities.shape}.")
    gains = 1 / propensities
    best, order = _sorted_rows(truth, gains[truth.indices])
    reachable = gains[truth.indices[order]][best < k].sum()
    reached = gains[ranking.columns[ranking.hits]].sum()
    return float(reached / reachable) if reachable > 0 else 0.0


def topk_scorer(metric="precision", k=1, **options):
    """A scorer of ranked labels for model selection, also on sparse targets.

    Parameters
    ----------
    metric : {"precision", "ndcg", "psp"}, default="precision"
        Which measure.
    k : int, default=1
        Ranks that count.
    **options
        More arguments of the measure; "psp" needs ``propensities``.

    Returns
    -------
    callable
        ``scorer(estimator, X, y)``, larger is better; it can be pickled. It asks the
        estimator's ``predict_topk``, or ``predict_proba``, or ``decision_function``.

    Raises
    ------
    ValueError
        If the measure is unknown or "psp" comes without propensities.

    Notes
    -----
    ``cross_val_score`` of scikit-learn refuses a sparse y; ``GridSearchCV(estimator, {})``
    takes it.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {sorted(METRICS)}, got {metric!r}.")
    if metric == "psp" and "propensities" not in options:
        raise ValueError("The metric 'psp' needs propensities=...")
    return _TopkScorer(metric, k, options)


METRICS = {"precision": precision_at_k, "ndcg": ndcg_at_k, "psp": psp_at_k}


class _TopkScorer:
    def __init__(self, metric, k, options):
        self.metric, self.k, self.options = metric, k, options

    def __repr__(self):
        return f"topk_scorer({self.metric!r}, k={self.k})"

    def __call__(self, estimator, X, y):
        measure = METRICS[self.metric]
        vector = not sparse.issparse(y) and np.ndim(y) == 1
        if hasattr(estimator, "predict_topk"):
            top, _ = estimator.predict_topk(X, k=self.k)
            if vector:
                return self._of_classes(y, top)
            return measure(y, top, self.k, **self.options)
        method = "predict_proba" if hasattr(estimator, "predict_proba") else "decision_function"
        scores = getattr(estimator, method)(X)
        if isinstance(scores, list):
            raise ValueError(f"{type(estimator).__name__} answers with a list of arrays; "
                             "one array of shape (n_samples, n_labels) is needed.")
        if scores.ndim == 1:  # two classes
            scores = np.column_stack([-scores, scores])
        if vector:
            # Labels of the fold that training had not seen are misses, not errors.
            return self._of_classes(y, np.asarray(estimator.classes_)[_ranked(scores, self.k)])
        return measure(y, scores, self.k, **self.options)

    def _of_classes(self, y, top):
        """The measure on classes as numbers: floating-point ones would be taken for scores."""
        options = dict(self.options)
        labels = options.pop("labels", None)
        labels = np.unique(np.append(y, top)) if labels is None else np.asarray(labels)
        y, top = (_columns(np.asarray(a), labels, len(labels)) for a in (y, top))
        numbers = np.arange(len(labels))
        return METRICS[self.metric](y, top, self.k, labels=numbers, **options)


class _Ranking:
    """Truth and predictions as columns: `truth` (CSR), `columns` and `hits` (n_samples, k)."""

    def __init__(self, y_true, y_top, k, labels):
        if not sparse.issparse(y_top):
            y_top = np.asarray(y_top)
        is_scores = sparse.issparse(y_top) or y_top.dtype.kind == "f"
        if y_top.ndim != 2:
            raise ValueError(f"Predictions must have two dimensions, got {y_top.ndim}.")
        if not (isinstance(k, Integral) and 1 <= k <= y_top.shape[1]):
            raise ValueError(f"k must be in 1..{y_top.shape[1]}, got {k!r}.")
        vector = not sparse.issparse(y_true) and np.ndim(y_true) == 1
        if vector and labels is None and not is_scores:
            labels = np.unique(np.append(np.asarray(y_true), y_top[:, :k]))
        self.truth, labels = _indicator(y_true, labels)
        n_rows, n_labels = self.truth.shape
        if y_top.shape[0] != n_rows:
            raise ValueError(f"Truth has {n_rows} rows, predictions {y_top.shape[0]}.")
        if is_scores:
            if y_top.shape[1] != n_labels:
                raise ValueError(f"Scores of {y_top.shape[1]} labels for {n_labels}; labels= "
                                 "names those of a class vector.")
            self.columns = _ranked(y_top, k)
        else:
            self.columns = _columns(y_top[:, :k], labels, n_labels)
        self.hits = _contains(self.truth, self.columns)


def _indicator(y, labels):
    """The truth as a CSR indicator in canonical form, and the labels of a class vector."""
    if sparse.issparse(y) or np.ndim(y) == 2:
        truth = sparse.csr_array(y, copy=sparse.issparse(y))
        if np.any((truth.data != 0) & (truth.data != 1)):
            raise ValueError("A label indicator holds zeros and ones only.")
        truth.sum_duplicates()  # a label given twice is given
        truth.eliminate_zeros()
        return truth, None
    y = np.asarray(y)
    labels = np.unique(y) if labels is None else np.asarray(labels)
    columns = _columns(y, labels, len(labels))
    ones, starts = np.ones(len(y), bool), np.arange(len(y) + 1)
    return sparse.csr_array((ones, columns, starts), shape=(len(y), len(labels))), labels


def _columns(ids, labels, n_labels):
    """Labels as column numbers."""
    if labels is None:
        if ids.dtype.kind not in "iu":
            raise ValueError(f"Labels of an indicator are column numbers, got {ids.dtype}.")
        if ids.size and (ids.min() < NOTHING or ids.max() >= n_labels):
            raise ValueError(f"Labels must be in 0..{n_labels - 1}.")
        return ids.astype(np.int64)
    if len(labels) == 0 or np.any(labels[1:] <= labels[:-1]):
        raise ValueError("labels must be sorted, without duplicates, and not empty.")
    columns = np.minimum(np.searchsorted(labels, ids), len(labels) - 1)
    if not np.array_equal(labels[columns], ids):
        raise ValueError("A label is not among labels.")
    return columns


def _ranked(scores, k):
    """Columns of the k highest scores a row, the lower column first among equals."""
    if sparse.issparse(scores):
        scores = scores.tocsr()
        if not scores.has_canonical_format:
            scores = scores.copy()
            scores.sum_duplicates()
        if np.isnan(scores.data).any():
            raise ValueError("A score is NaN.")
        rank, order = _sorted_rows(scores, scores.data)
        first = rank < k
        columns = np.full((scores.shape[0], k), NOTHING)
        rows = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
        columns[rows[first], rank[first]] = scores.indices[order[first]]
        return columns
    scores = np.asarray(scores)
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must be in 1..{scores.shape[1]}, got {k!r}.")
    columns = np.empty((len(scores), k), np.int64)
    step = max(1, CHUNK // scores.shape[1])
    for start in range(0, len(scores), step):
        columns[start:start + step] = _ranked_dense(scores[start:start + step], k)
    return columns


def _ranked_dense(scores, k):
    if np.isnan(scores).any():
        raise ValueError("A score is NaN.")
    last = np.partition(scores, -k, axis=1)[:, -k, None]
    above, equal = scores > last, scores == last
    room = k - above.sum(axis=1, keepdims=True)
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= room))
    columns = np.nonzero(chosen)[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def _sorted_rows(matrix, values):
    """Rank within its row of each entry in turn, and the order that sorts rows by value."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    # Of whole numbers and bool the complement falls, too, and does not overflow.
    falling = -values if values.dtype.kind == "f" else ~values
    order = np.lexsort((matrix.indices, falling, rows))
    return np.arange(len(rows)) - matrix.indptr[rows], order


def _contains(truth, columns):
    """Which columns (n_samples, k) are true in their row; each may come only once."""
    ordered = np.sort(columns, axis=1)
    if np.any((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NOTHING)):
        raise ValueError("A label comes twice among the predictions of a row.")
    n_rows, n_labels = truth.shape
    rows = np.repeat(np.arange(n_rows, dtype=np.int64), np.diff(truth.indptr))
    right = rows * n_labels + truth.indices  # sorted: the indicator is in canonical form
    asked = np.arange(n_rows, dtype=np.int64)[:, None] * n_labels + columns
    place = np.minimum(np.searchsorted(right, asked), max(len(right) - 1, 0))
    return (right[place] == asked) & (columns != NOTHING) if len(right) else columns * 0 > 0
