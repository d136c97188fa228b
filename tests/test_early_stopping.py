"""Early stopping: what is held out, how it is scored, which weights stay."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from problems import digits, multilabel, quick
from sklearn.exceptions import DataConversionWarning
from sklearn.model_selection import train_test_split

X, Y = digits()


def test_early_stopping_keeps_the_best_weights():
    estimator = quick(early_stopping=True, max_iter=60, n_iter_no_change=4, tol=1e-4).fit(X, Y)
    scores = estimator.validation_scores_
    assert estimator.n_iter_ == len(scores) < 60
    assert estimator.best_validation_score_ == max(scores) > 0.7
    assert estimator.best_loss_ is None
    assert_array_equal(estimator.history_["validation_score"], scores)
    assert estimator.t_ == 360 * estimator.n_iter_  # a tenth is held out
    # The epoch of the best score, trained alone, ends in the same weights.
    best = quick(early_stopping=True, max_iter=int(np.argmax(scores)) + 1).fit(X, Y)
    # But for the order of nodes, which training may have changed since.
    first, second = (np.argsort(e._network.state["layers"][0]["nodes"]) for e in (best, estimator))
    assert_array_equal(best.coefs_[0][:, first], estimator.coefs_[0][:, second])
    assert_array_equal(best.coefs_[1][first], estimator.coefs_[1][second])


def test_early_stopping_of_every_kind_of_target():
    for y in (Y % 2, multilabel()[1]):
        assert quick(early_stopping=True).fit(X, y).best_validation_score_ > 0.3
    weighted = quick(early_stopping=True).fit(sp.csr_array(X), Y, sample_weight=1 + Y)
    assert weighted.best_validation_score_ > 0.3


@pytest.mark.parametrize("inference", ["auto", "all"])
def test_validation_scores_are_those_of_predict(inference):
    """With all weights kept from the only epoch, held-out rows score as they do afterwards."""
    estimator = quick(early_stopping=True, max_iter=1, inference=inference).fit(X, Y)
    seed = estimator._network.state["seed"]
    _, held_out = train_test_split(
        np.arange(len(X)), test_size=estimator.validation_fraction, random_state=seed, stratify=Y
    )
    assert estimator.validation_scores_ == [estimator.score(X[held_out], Y[held_out])]


@pytest.mark.parametrize("names", [False, True])
def test_a_column_of_labels_is_scored(names):
    y = np.array([f"digit {label}" for label in Y], object) if names else Y
    with pytest.warns(DataConversionWarning):
        column = quick(early_stopping=True).fit(X, y[:, None])
    assert column.validation_scores_ == quick(early_stopping=True).fit(X, y).validation_scores_


def test_labels_that_are_given_twice_are_scored():
    once = sp.csr_array(multilabel()[1])
    twice = once.copy()
    twice.indices, twice.data = np.repeat(once.indices, 2), np.repeat(once.data, 2)
    twice.indptr = 2 * once.indptr
    scores = [quick(early_stopping=True).fit(X, y).validation_scores_ for y in (once, twice)]
    assert scores[0] == scores[1]
    assert max(scores[0]) > 0.3


@pytest.mark.parametrize("seed", range(5))
def test_examples_of_no_weight_are_not_held_out(seed):
    estimator = quick(early_stopping=True, max_iter=1, random_state=seed)
    weights = (np.arange(len(X)) % 4 == 0).astype(float)
    assert estimator.fit(X, Y, sample_weight=weights).t_ == 90
    with pytest.raises(ValueError, match="least populated"):  # as of twenty examples
        estimator.fit(X, Y, sample_weight=np.arange(len(X)) % 20 == 0)
    with pytest.raises(ValueError, match="weight is not 0"):
        estimator.fit(X, Y, sample_weight=np.full(len(X), 1e-50))


@pytest.mark.parametrize("n_classes", [1, 2])
def test_examples_of_classes_without_weight_are_not_held_out(n_classes):
    none = dict.fromkeys(range(n_classes, 10), 0)
    estimator = quick(early_stopping=True, max_iter=1, class_weight=none).fit(X, Y)
    assert estimator.t_ == len(X) - np.ceil(np.count_nonzero(Y < n_classes) / 10)
