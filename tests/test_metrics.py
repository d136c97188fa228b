"""Measures of ranked labels, against plain loops and scikit-learn."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import ndcg_score, top_k_accuracy_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier

from sklearn_lsh import LSHMLPClassifier
from sklearn_lsh.metrics import (
    ndcg_at_k,
    precision_at_k,
    propensities,
    psp_at_k,
    topk_scorer,
)


def top_by_loops(scores, k):
    """The k best columns, the lower first among equals."""
    return np.array([sorted(range(len(row)), key=lambda c: (-row[c], c))[:k] for row in scores])


def by_loops(Y, top, k, p):
    """Precision, nDCG and propensity-scored precision, label by label."""
    precision, ndcg, reached, reachable = [], [], 0.0, 0.0
    for truth, ids in zip(Y, top, strict=True):
        gain = best = right = 0.0
        for rank in range(k):
            discount = 1 / np.log2(rank + 2)
            if truth[ids[rank]]:
                right += 1
                gain += discount
                reached += 1 / p[ids[rank]]
            if rank < truth.sum():
                best += discount
        precision.append(right / k)
        ndcg.append(gain / best if best else 0.0)
        reachable += sum(sorted(1 / p[truth > 0])[::-1][:k])
    return np.mean(precision), np.mean(ndcg), reached / reachable if reachable else 0.0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 10**6), st.data())
def test_against_loops_in_every_form(n_rows, n_labels, seed, data):
    k = data.draw(st.integers(1, n_labels))
    rng = np.random.default_rng(seed)
    Y = (rng.random((n_rows, n_labels)) < 0.4).astype(np.int8)
    scores = rng.integers(1, 5, (n_rows, n_labels)) / 4  # many ties
    p = rng.uniform(0.1, 1, n_labels)
    top = top_by_loops(scores, k)
    expected = by_loops(Y, top, k, p)
    for truth in (Y, Y.astype(bool), sparse.csr_matrix(Y), sparse.csc_array(Y.astype(float))):
        for predictions in (top, scores, scores.astype(np.float32), sparse.csr_array(scores)):
            found = (
                precision_at_k(truth, predictions, k), ndcg_at_k(truth, predictions, k),
                psp_at_k(truth, predictions, k, propensities=p),
            )
            np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_against_scikit_learn():
    rng = np.random.default_rng(0)
    y, scores = rng.permutation(np.arange(200) % 10), rng.random((200, 10))
    for k in (1, 3, 5):
        hits = precision_at_k(y, scores, k) * k  # one label a row
        assert hits == pytest.approx(top_k_accuracy_score(y, scores, k=k))
        Y = rng.random((200, 10)) < 0.3
        assert ndcg_at_k(Y, scores, k) == pytest.approx(ndcg_score(Y, scores, k=k))


def test_propensities_against_the_formula():
    Y = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0]])
    C = (np.log(4) - 1) * 2.5**0.55
    expected = [1 / (1 + C * np.exp(-0.55 * np.log(n + 1.5))) for n in (3, 1, 1)]
    for form in (Y, sparse.csr_array(Y)):
        np.testing.assert_allclose(propensities(form), expected)
    np.testing.assert_allclose(propensities(["a", "a", "a", "b", "c"])[1:],
                               propensities(np.eye(3)[[0, 0, 0, 1, 2]])[1:])


def test_class_vectors_of_strings():
    y = np.array(["bee", "ant", "cow"])
    top = np.array([["bee", "ant"], ["zebra", "ant"], ["ant", "bee"]])
    assert precision_at_k(y, top, 1) == pytest.approx(1 / 3)
    assert precision_at_k(y, top, 2) == pytest.approx(1 / 3)
    assert precision_at_k(y.astype(object), top.astype(object), 2) == pytest.approx(1 / 3)
    assert ndcg_at_k(y, top, 2) == pytest.approx((1 + 1 / np.log2(3)) / 3)
    labels = ["ant", "bee", "cow", "zebra"]
    assert psp_at_k(y, top, 2, propensities=[0.5, 1, 1, 1], labels=labels) == pytest.approx(3 / 4)
    assert precision_at_k(y, np.eye(4)[[1, 0, 3]], 1, labels=labels) == pytest.approx(2 / 3)


def test_entries_that_are_not_stored_are_not_predicted():
    Y = sparse.csr_array([[1, 0, 0], [0, 1, 0]])
    scores = sparse.csr_array(([-1.0, 0.5], [0, 2], [0, 1, 2]), shape=(2, 3))
    assert precision_at_k(Y, scores, 2) == 0.25
    assert precision_at_k(Y, np.array([[0, -1], [-1, -1]]), 2) == 0.25


def test_explicit_zeros_and_duplicates_of_an_indicator():
    Y = sparse.csr_array(([1, 0, 1, 1], [2, 0, 1, 1], [0, 2, 4]), shape=(2, 3))
    before = Y.copy()
    assert ndcg_at_k(Y, np.array([[0], [1]]), 1) == 0.5
    assert Y.nnz == before.nnz  # the caller's matrix is left as it is


def test_without_any_label():
    Y = np.zeros((2, 3))
    top = np.array([[0], [1]])
    assert precision_at_k(Y, top) == ndcg_at_k(Y, top) == 0
    assert psp_at_k(Y, top, propensities=np.ones(3)) == 0


def test_a_hundred_thousand_labels():
    rng, n_rows, n_labels, k = np.random.default_rng(0), 20_000, 100_000, 5
    Y = sparse.csr_array(
        (np.ones(5 * n_rows, np.float32), rng.integers(0, n_labels, 5 * n_rows),
         np.arange(0, 5 * n_rows + 1, 5)), shape=(n_rows, n_labels),
    )
    Y.sum_duplicates()
    Y.data[:] = 1
    # Right in the first place, wrong (or by chance right) in all others.
    first = Y.indices[Y.indptr[:-1]]
    top = (first[:, None] + np.arange(k)) % n_labels
    assert precision_at_k(Y, top, 1) == 1
    assert 0.2 <= precision_at_k(Y, top, k) < 0.201
    scores = sparse.csr_array(
        (np.tile(np.arange(k, 0, -1.0), n_rows), top.ravel(), np.arange(0, k * n_rows + 1, k)),
        shape=Y.shape,
    )
    assert psp_at_k(Y, scores, k, propensities=propensities(Y)) == pytest.approx(
        psp_at_k(Y, top, k, propensities=propensities(Y)))


@pytest.mark.parametrize("y, top, k, message", [
    ([0, 1], [[0], [1]], 2, "k must be in 1..1"),
    ([0, 1], [[0], [1]], 0, "k must be"),
    ([0, 1], [0, 1], 1, "two dimensions"),
    ([0, 1], [[0]], 1, "rows"),
    (np.eye(2), [[0], [2]], 1, r"0..1"),
    (np.eye(2), [["a"], ["b"]], 1, "column numbers"),
    (np.eye(2), [[0, 0], [1, 0]], 2, "twice"),
    (np.eye(2), [[0.5, np.nan], [1, 0]], 1, "NaN"),
    ([0, 1], [[0.5, 0.2, 0.3], [1, 0, 0]], 1, "labels="),
])
def test_errors(y, top, k, message):
    with pytest.raises(ValueError, match=message):
        precision_at_k(y, np.asarray(top), k)


def test_errors_of_options():
    with pytest.raises(ValueError, match="one of"):
        topk_scorer("recall")
    with pytest.raises(ValueError, match="propensities"):
        topk_scorer("psp")
    with pytest.raises(ValueError, match="3 positive propensities"):
        psp_at_k(np.eye(3), np.eye(3), propensities=[1, 1])
    with pytest.raises(ValueError, match="3 rows"):
        propensities(np.eye(2))
    for constants in ({"b": 0}, {"b": -5}, {"a": np.nan}, {"b": np.inf}):
        with pytest.raises(ValueError, match="b positive"):
            propensities(np.eye(5), **constants)


def problem():
    """Rows of which feature j says label j."""
    rng = np.random.default_rng(0)
    Y = sparse.random_array((150, 6), density=0.3, rng=rng, format="csr")
    Y.data[:] = 1
    return sparse.csr_array(Y + sparse.csr_array(0.1 * rng.random((150, 6)))), Y


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix, lambda Y: Y.toarray()])
@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_cross_validation_of_one_vs_rest(form, loss):
    X, Y = problem()
    model = OneVsRestClassifier(SGDClassifier(loss=loss, random_state=0))
    for metric in ("precision", "ndcg"):
        # cross_val_score itself refuses a sparse y.
        search = GridSearchCV(model, {}, scoring=topk_scorer(metric), cv=KFold(3),
                              error_score="raise")
        search.fit(sparse.csr_matrix(X), form(Y.astype(int)))
        assert search.best_score_ > 0.7


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix, lambda Y: Y.toarray()])
def test_grid_search_on_sparse_targets(form):
    X, Y = problem()
    search = GridSearchCV(
        LSHMLPClassifier((32,), active_fraction=1.0, max_iter=15, random_state=0),
        {"multilabel_loss": ["sigmoid", "softmax"]},
        scoring={"p1": topk_scorer("precision"), "ndcg": topk_scorer("ndcg", k=3),
                 "psp": topk_scorer("psp", k=2, propensities=propensities(Y))},
        refit="p1", cv=2, error_score="raise",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 15 epochs do not converge
        search.fit(X, form(Y))
    assert search.best_score_ > 0.7
    assert pickle.loads(pickle.dumps(topk_scorer("precision")))(search, X, Y) > 0.8


@pytest.mark.parametrize(
    "labels", [np.arange(4), np.arange(4.0), np.array(["a", "b", "c", "d"])]
)
def test_scorers_on_class_vectors(labels):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 120)
    X, y = np.eye(4)[codes] + 0.1 * rng.random((120, 4)), labels[codes]
    net = LSHMLPClassifier((32,), active_fraction=1.0, max_iter=15, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in (SGDClassifier(random_state=0), net):
            scores = cross_val_score(model, X, y, scoring=topk_scorer("precision", 1), cv=3,
                                     error_score="raise")
            assert scores.min() > 0.9
            # A class that training has not seen is a miss.
            model.fit(X[codes < 3], y[codes < 3])
            assert topk_scorer("precision")(model, X, y) == pytest.approx(
                np.mean(codes < 3), abs=0.05)
    two = SGDClassifier(random_state=0).fit(X[codes < 2], y[codes < 2])
    assert topk_scorer("precision")(two, X[codes < 2], y[codes < 2]) > 0.95


def test_scorer_of_floating_point_classes_given_as_ids():
    """They are not scores, and an order of their own may be given."""
    class Constant:
        def predict_topk(self, X, k):
            return np.tile([0.5, -0.5], (len(X), 1))[:, :k], None

    y = np.array([0.5, -0.5, -0.5, 1.5])
    assert topk_scorer("precision", 2)(Constant(), y[:, None], y) == 3 / 8
    psp = topk_scorer("psp", propensities=[1, 0.5, 0.25], labels=[-0.5, 0.5, 1.5])
    assert psp(Constant(), y[:, None], y) == pytest.approx(2 / (1 + 1 + 2 + 4))


def test_forms_of_scores_and_indicators():
    assert precision_at_k([[1, 0], [0, 1]], [[0.2, 0.1], [0.4, 0.3]]) == 0.5  # lists
    twice = sparse.csr_array(([0.3, 0.5, 0.4], [2, 0, 2], [0, 3]), shape=(1, 3))
    assert precision_at_k([[0, 0, 1]], twice) == 1  # entries of one place are added up
    assert twice.nnz == 3
    for value in (2, -1, 0.5, np.nan):
        for form in (np.array, sparse.csr_array):
            with pytest.raises(ValueError, match="zeros and ones"):
                precision_at_k(form([[value, 0]]), [[0, 1]])
            with pytest.raises(ValueError, match="zeros and ones"):
                propensities(form([[value, 0]] * 3))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int64, np.float32])
def test_sparse_scores_of_any_type(dtype):
    """Types without negatives, too; a score of 0 that is there is a score."""
    scores = sparse.csr_array(
        (np.array([0, 1, 0, 1]).astype(dtype), [0, 1, 0, 2], [0, 2, 4]), shape=(2, 3)
    )
    assert precision_at_k(np.array([[0, 1, 0], [0, 0, 1]]), scores, 1) == 1
    assert precision_at_k(np.array([[1, 0, 0], [1, 0, 0]]), scores, 1) == 0
    assert precision_at_k(np.array([[1, 0, 0], [1, 0, 0]]), scores, 2) == 0.5


@pytest.mark.parametrize("dtype, highest", [(np.int64, 2**63 - 1), (np.uint64, 2**64 - 1)])
def test_sparse_scores_that_floats_cannot_tell_apart(dtype, highest):
    scores = sparse.csr_array(np.array([[highest - 1, highest, 1]], dtype))
    assert precision_at_k(np.array([[0, 1, 0]]), scores, 1) == 1
    lowest = np.iinfo(dtype).min
    scores = sparse.csr_array(np.array([[lowest, lowest + 1, lowest]], dtype))
    assert precision_at_k(np.array([[0, 1, 0]]), scores, 1) == 1


@pytest.mark.parametrize("k", [0, 4, 1.0, 2.5, "1", None])
def test_k_is_a_number_of_labels(k):
    with pytest.raises(ValueError, match="k must be in"):
        precision_at_k(np.eye(3, dtype=int), np.eye(3), k)
