"""Predictions of many classes: the best, all, and none of those that were not found."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import N_CLASSES, digits, documents, indicator, quick, wide
from sklearn.base import clone

X, Y = documents()
LABELS = indicator(Y)


@pytest.fixture(scope="module", params=["scan", "cells", "tables"])
def fitted(request):
    return wide(hash_search=request.param, max_iter=6).fit(X, Y)


@pytest.mark.parametrize("targets", [Y, LABELS], ids=["classes", "labels"])
@pytest.mark.parametrize("output_active", [None, 40])
def test_topk_is_the_order_of_the_probabilities(targets, output_active):
    estimator = wide(output_active=output_active).fit(X, targets)
    p = estimator.predict_proba(X[:50])
    labels, scores = estimator.predict_topk(X[:50], 7)
    order = np.argsort(-p, axis=1, kind="stable")[:, :7]
    assert_array_equal(labels, order)
    assert_allclose(scores, np.take_along_axis(p, order, axis=1), rtol=1e-12)
    matrix = estimator.predict_topk(X[:50], 7, sparse_output=True)
    assert matrix.shape == p.shape
    assert matrix.has_sorted_indices
    assert_array_equal(np.where(matrix.toarray() > 0, p, 0), matrix.toarray())
    if targets is Y:
        assert_array_equal(estimator.predict(X[:50]), labels[:, 0])


def test_classes_that_were_not_found_have_probability_zero(fitted):
    p = fitted.predict_proba(X[:30])
    assert (np.count_nonzero(p, axis=1) == 40).all()
    assert_allclose(p.sum(axis=1), 1)


def test_exact_inference_computes_every_class(fitted):
    exact = clone(fitted).set_params(inference="exact")
    exact.__setstate__({**fitted.__getstate__(), "inference": "exact"})
    p = exact.predict_proba(X[:30])
    assert (p > 0).all()
    h = np.maximum(X[:30] @ exact.coefs_[0] + exact.intercepts_[0], 0)
    z = h @ exact.coefs_[1] + exact.intercepts_[1]
    expected = np.exp(z - z.max(axis=1, keepdims=True))
    assert_allclose(p, expected / expected.sum(axis=1, keepdims=True), rtol=1e-3)
    assert exact.predict_topk(X[:3], N_CLASSES)[0].shape == (3, N_CLASSES)
    assert np.mean(exact.predict(X) == fitted.predict(X)) > 0.9


@pytest.mark.parametrize("n", [1, 2, 31, 33, 100])
def test_a_row_is_predicted_alike_in_any_batch(fitted, n):
    labels, scores = fitted.predict_topk(X[:100], 3)
    some = fitted.predict_topk(X[:n], 3)
    assert_array_equal(some[0], labels[:n])
    assert_array_equal(some[1], scores[:n])
    assert_array_equal(fitted.predictor()(X[:n]), fitted.predict_proba(X[:n]))


@pytest.mark.parametrize("k", [0, -1, 41, 2.0, "3"])
def test_k_out_of_range(fitted, k):
    with pytest.raises(ValueError, match="k must be an integer from 1 to 40"):
        fitted.predict_topk(X[:2], k)


def test_two_classes():
    rows, y = digits()
    estimator = quick().fit(rows, y > 4)
    labels, scores = estimator.predict_topk(rows[:20], 2)
    assert_array_equal(labels[:, 0], estimator.predict(rows[:20]))
    assert_allclose(scores.sum(axis=1), 1)


@pytest.mark.parametrize("output_active", [0, -3, 1.5, 0.0, "all", True])
def test_bad_output_active(output_active):
    with pytest.raises(ValueError, match="output_active"):
        wide(output_active=output_active).fit(X, Y)


def test_parameters_that_change_the_output_layer_stop_training_from_going_on():
    estimator = wide(max_iter=1).fit(X, Y)
    with pytest.raises(ValueError, match="n_active"):
        estimator.set_params(output_active=50).partial_fit(X, Y)
