"""Soft thresholds: which nodes they make active, and how they follow training."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from problems import digits, quick, same_model

from sklearn_lsh.core.threshold import bounds
from sklearn_lsh.inspection import active_set_recall, active_sets

X, Y = digits(600)
WIDTH, BOUNDS, MEMORY = 120, (13, 20, 30), 256


def fitted(selection="winner_take_all", **params):
    return quick(selection=selection, **params).fit(X, Y)


def activations(estimator, x):
    return x.astype(np.float32) @ estimator.coefs_[0] + estimator.intercepts_[0]


def state(estimator):
    return estimator._network.state["layers"][0]["threshold"]


@pytest.mark.parametrize(
    "n_active, n_nodes, expected",
    [(50, 1000, (33, 75)), (20, 120, (13, 30)), (1, 9, (2, 2)), (2, 3, (2, 3)), (3, 4, (2, 4)),
     (1, 2, (2, 2)), (99, 100, (66, 100))],
)
def test_bounds(n_active, n_nodes, expected):
    assert bounds(n_active, n_nodes) == expected


@pytest.mark.parametrize("value", [0, None, 1e3])
@pytest.mark.parametrize("inference", ["auto", "exact"])
def test_nodes_above_the_threshold_are_active(inference, value):
    estimator = fitted(inference=inference)
    if value is not None:
        state(estimator)[0] = value
    z, (found,) = activations(estimator, X), active_sets(estimator, X)
    counts = np.clip(np.sum(z > state(estimator)[0], axis=1), 13, 30)
    assert_array_equal(np.ravel(found.sum(axis=1)), counts)
    for row, n, active in zip(z, counts, found, strict=True):
        assert set(active.indices) == set(reference.top_k(row, n))
    expected = {0: {30}, 1e3: {13}}.get(value, set(counts))
    assert expected == set(counts)
    assert value is not None or len(expected) > 10


def test_all_nodes_at_inference_keep_the_threshold():
    """Of the standard network it is one more intercept."""
    estimator = fitted(inference="all")
    hidden = np.maximum(activations(estimator, X) - state(estimator)[0], 0)
    z = hidden @ estimator.coefs_[1] + estimator.intercepts_[1]
    expected = [reference.probabilities(row, "softmax") for row in z]
    assert_allclose(estimator.predict_proba(X), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 32, 600])
@pytest.mark.parametrize("n_seen, value", [(0, 0), (5, None), (500, 0.9), (10**6, None)])
def test_training_follows_the_number_of_active_nodes(batch_size, n_seen, value):
    """One batch: the examples of a longer one are trained at the weights before it, too."""
    estimator = fitted(batch_size=batch_size, max_iter=2)
    threshold = state(estimator)
    threshold[:] = threshold[0] if value is None else value, n_seen
    before = threshold[0]
    z = activations(estimator, X[:batch_size])
    estimator.partial_fit(X[:batch_size], Y[:batch_size])
    expected = reference.next_threshold(before, n_seen, MEMORY, z, BOUNDS)
    assert expected != before
    assert_allclose(threshold, [expected, n_seen + batch_size], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("selection", ["lsh", "winner_take_all"])
@pytest.mark.parametrize("k", [5, 13, 20])
def test_as_many_nodes_are_active_on_average_as_wanted(selection, k):
    estimator = quick(
        (200, 150), selection=selection, active_fraction=k, max_iter=12
    ).fit(X, Y)
    shares = estimator.history_["active_fraction"] * (200, 150)
    assert_allclose(shares[3:], k, rtol=0.1)
    first, last = (np.asarray(found.sum(axis=1)).ravel() for found in active_sets(estimator, X))
    assert len(set(first)) > 2 and set(last) == {k}  # the last layer is hard


def test_fewer_are_active_where_fewer_are_positive():
    """The threshold is not negative: such nodes output nothing."""
    estimator = fitted(active_fraction=60, max_iter=12)
    positive = np.sum(activations(estimator, X) > 0, axis=1)
    assert positive.mean() < 50 and state(estimator)[0] == 0
    (found,) = active_sets(estimator, X)
    assert_array_equal(np.ravel(found.sum(axis=1)), np.clip(positive, 40, 90))


def test_one_active_node_is_not_silent():
    """Two are active then: alone, a node could not have more than the least active one."""
    estimator = quick(active_fraction=1, max_iter=30).fit(X, Y)
    assert estimator.score(X, Y) > 0.6


def test_examples_without_weight_do_not_count():
    weighted, fewer = fitted(batch_size=40), fitted(batch_size=40)
    weighted.partial_fit(X[:40], Y[:40], sample_weight=np.arange(40) % 2)
    fewer.partial_fit(X[1:40:2], Y[1:40:2])
    assert state(weighted)[1] == 5 * 600 + 20
    assert_array_equal(state(weighted), state(fewer))


def test_recall_is_about_the_nodes_above_the_threshold():
    """Of the exact active set, whatever its size, those that hashing finds."""
    estimator = quick((400,), hash_search="scan", max_iter=8).fit(X, Y)
    selector = estimator._network.hidden_layers[0].selector
    assert not selector.exhaustive
    z, (found,) = activations(estimator, X), active_sets(estimator, X)
    counts = np.clip(np.sum(z > state(estimator)[0], axis=1), 13, 30)
    hits = [
        len(np.intersect1d(reference.top_k(row, n), active.indices))
        for row, n, active in zip(z, counts, found, strict=True)
    ]
    assert_allclose(active_set_recall(estimator, X)[0], sum(hits) / counts.sum(), atol=1e-3)
    assert len(set(counts)) > 10


@pytest.mark.parametrize("n_jobs", [2, 3])
def test_threads_follow_together(n_jobs):
    alone = quick((120, 90, 80), random_state=1).fit(X, Y)
    assert same_model(alone, quick((120, 90, 80), random_state=1, n_jobs=n_jobs).fit(X, Y))


def test_early_stopping_returns_to_the_threshold_of_the_best_epoch():
    params = {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 12}
    estimator = fitted(**params)
    shorter = fitted(**{**params, "max_iter": 1 + int(np.argmax(estimator.validation_scores_))})
    assert_array_equal(state(estimator), state(shorter))
    assert state(fitted(max_iter=12))[0] != state(estimator)[0]
