"""active_sets and active_set_recall against their definitions."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from problems import digits, quick
from sklearn.exceptions import NotFittedError

from sklearn_lsh.inspection import active_set_recall, active_sets

X, Y = digits()


@pytest.fixture(scope="module")
def trained():
    return quick((120, 90), hash_ranking="collisions", hash_tables=5, max_iter=10).fit(X, Y)


def test_active_sets_are_boolean_csr(trained):
    for found, size in zip(active_sets(trained, X), (120, 90), strict=True):
        assert sp.issparse(found) and found.format == "csr"
        assert found.dtype == bool
        assert found.shape == (len(X), size)
        assert found.has_sorted_indices
        assert found.data.all()


def test_the_active_sets_explain_the_predictions(trained):
    """Forward through these nodes and no others gives the probabilities."""
    out = X
    for found, w, b in zip(active_sets(trained, X), trained.coefs_, trained.intercepts_,
                           strict=False):
        out = np.maximum(out @ w + b, 0) * found.toarray()
    logits = out @ trained.coefs_[-1] + trained.intercepts_[-1]
    expected = [reference.probabilities(z, "softmax") for z in logits]
    assert_allclose(trained.predict_proba(X), expected, atol=1e-5)


def test_recall_is_the_share_of_the_exact_top_nodes(trained):
    out, expected = X, []
    for found, w, b in zip(active_sets(trained, X), trained.coefs_, trained.intercepts_,
                           strict=False):
        z, mask = out @ w + b, found.toarray()
        best = np.zeros_like(mask)
        for row, scores in zip(best, z, strict=True):
            row[reference.top_k(scores, 20)] = True
        expected.append((mask & best).sum() / best.sum())
        out = np.maximum(z, 0) * mask
    recall = active_set_recall(trained, X)
    assert recall.shape == (2,)
    assert (recall < 1).all()  # or the test would show little
    assert_allclose(recall, expected, atol=0.002)


def test_exact_inference_has_recall_one(trained):
    exact = quick(selection="winner_take_all").fit(X, Y)
    assert active_set_recall(exact, X)[0] == 1


def test_random_selection_has_the_recall_of_chance():
    chance = quick((200,), hash_ranking="union", hash_bits=1, hash_tables=1, hash_probes=2,
                   max_iter=1, hash_family="simple_lsh").fit(X, Y)
    assert abs(active_set_recall(chance, X)[0] - 0.1) < 0.03


def test_storage_has_no_influence(trained):
    for a, b in zip(active_sets(trained, X), active_sets(trained, sp.coo_array(X)), strict=True):
        assert_array_equal(a.toarray(), b.toarray())
    assert_array_equal(active_set_recall(trained, X), active_set_recall(trained, sp.csc_array(X)))


def test_inspection_changes_nothing(trained):
    before = trained.predict_proba(X)
    active_sets(trained, X)
    active_set_recall(trained, X)
    assert_array_equal(trained.predict_proba(X), before)


@pytest.mark.parametrize("inspect", [active_sets, active_set_recall])
def test_errors(trained, inspect):
    with pytest.raises(NotFittedError):
        inspect(quick(), X)
    with pytest.raises(ValueError, match="features"):
        inspect(trained, X[:, :9])
    with pytest.raises(ValueError, match="NaN"):
        inspect(trained, np.full_like(X, np.nan))


def test_no_hidden_layers():
    estimator = quick(()).fit(X, Y)
    assert active_sets(estimator, X) == []
    assert active_set_recall(estimator, X).shape == (0,)
