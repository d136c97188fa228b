"""Prediction without validation: the same bits, or a clear error."""

import sys
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from problems import digits, documents, quick, wide
from scipy.sparse import bsr_array, coo_array, csc_array, csr_array, csr_matrix

X, Y = digits(150)
MULTILABEL = np.column_stack([Y == 0, Y == 1, Y > 0]).astype(int)


@pytest.mark.parametrize("y", [Y, Y == 1, MULTILABEL], ids=["classes", "binary", "labels"])
@pytest.mark.parametrize("inference", ["auto", "exact"])
def test_predictor_has_the_bits_of_predict_proba(y, inference):
    clf = quick((120, 90), inference=inference).fit(X, y)
    predictor = clf.predictor()
    wanted = clf.predict_proba(X)
    for data in (X, X.astype(np.float32), csr_array(X), csr_matrix(X.astype(np.float32))):
        assert_array_equal(predictor(data), clf.predict_proba(data))
    assert_array_equal(predictor(X[:0]), wanted[:0])
    assert_array_equal(np.concatenate([predictor(X[i : i + 1]) for i in range(len(X))]), wanted)
    # More rows than a workspace has room for.
    many = np.concatenate([X, X, X])
    assert_array_equal(predictor(many), np.concatenate([wanted] * 3))


@pytest.mark.parametrize("inference", ["auto", "exact", "all"])
def test_predictor_follows_partial_fit(inference):
    clf = quick((120,), inference=inference).partial_fit(X, Y, classes=np.unique(Y))
    predictor = clf.predictor()
    before = predictor(X)
    for _ in range(3):
        clf.partial_fit(X, Y)
    after = predictor(X)
    assert_array_equal(after, clf.predict_proba(X))
    assert (after != before).any()


def test_predictor_keeps_its_inference():
    clf = quick((120,)).fit(X, Y)
    exact = clf.set_params(inference="exact").predictor()
    wanted = clf.predict_proba(X)
    other = clf.set_params(inference="all").predict_proba(X)
    assert_array_equal(exact(X), wanted)
    assert (other != wanted).any()


@pytest.mark.parametrize(
    "data, error",
    [
        (X[0], ValueError), (X[:, :-1].copy(), ValueError), (X.astype(int), TypeError),
        (X.tolist(), TypeError), (np.asfortranarray(X), TypeError), (X[::2, ::-1], TypeError),
        (np.full_like(X, np.nan), ValueError), (np.full_like(X, np.inf), ValueError),
        (csr_array(X[:, :-1]), ValueError), (csr_array(X.astype(int)), TypeError),
        (csc_array(X), TypeError), (csc_array(X[: X.shape[1]]), TypeError),
        (coo_array(X), TypeError), (bsr_array(X), TypeError),
    ],
)
def test_what_a_predictor_refuses(data, error):
    predictor = quick((120,)).fit(X, Y).predictor()
    with pytest.raises(error):
        predictor(data)


@pytest.mark.parametrize("outputs", ["all", "hashed"])
def test_threads_may_predict_in_several_ways_at_once(outputs):
    """How nodes are selected is the workspace's matter, not the network's."""
    if outputs == "hashed":
        data, y = documents(300)
        clf = wide(max_iter=1).fit(data, y)
    else:
        data, clf = X, quick((120, 90)).fit(X, Y)
    calls = []
    for inference in ("auto", "exact", "all"):
        clf.set_params(inference=inference)
        calls.append((clf.predictor(), clf.predict_proba(data)))
    wrong = []

    def repeat(predictor, wanted):
        for _ in range(20):
            wrong.append((predictor(data) != wanted).sum())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=repeat, args=call) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == [0] * 60
