"""Targets of many classes: indicators of every type, weights, and what is refused."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from problems import N_CLASSES, documents, indicator, quick, wide
from scipy.sparse import csr_array, csr_matrix, issparse
from sklearn.datasets import make_multilabel_classification

X, Y = documents()
LABELS = indicator(Y)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int16, np.int64, np.float32, float])
@pytest.mark.parametrize("make", [csr_array, csr_matrix, "dense"])
def test_indicators_of_every_type_give_the_same_model(dtype, make):
    """Also int8 with more than 127 labels, whose columns LabelBinarizer mixes up."""
    targets = LABELS.toarray().astype(dtype)
    if make != "dense":
        targets = make(targets)
    params = {"max_iter": 1, "output_active": 20}
    estimator = wide(**params).fit(X, targets)
    expected = wide(**params).fit(X, LABELS)
    assert_array_equal(estimator.coefs_[1], expected.coefs_[1])
    predicted = estimator.predict(X[:20])
    assert issparse(predicted) == (make != "dense")
    assert_array_equal(
        predicted.toarray() if issparse(predicted) else predicted,
        expected.predict(X[:20]).toarray(),
    )


def test_stored_zeros_and_duplicates_are_what_they_mean():
    messy = csr_array(
        (np.array([1, 0, 1, 1]), np.array([3, 5, 7, 7]), np.array([0, 2, 4])), shape=(2, N_CLASSES)
    )
    plain = np.zeros((2, N_CLASSES), int)
    plain[0, 3] = plain[1, 7] = 1
    a, b = wide(max_iter=1).fit(X[:2], messy), wide(max_iter=1).fit(X[:2], plain)
    assert_array_equal(a.coefs_[1], b.coefs_[1])


def test_sparse_indicators_go_with_early_stopping_weights_and_scores():
    estimator = wide(
        early_stopping=True, max_iter=4, class_weight="balanced", multilabel_loss="softmax"
    )
    estimator.fit(X, LABELS, sample_weight=np.linspace(0.5, 2, len(Y)))
    assert len(estimator.validation_scores_) <= 4
    assert 0 <= estimator.score(X, LABELS) <= 1


def test_early_stopping_does_without_strata_where_classes_are_many():
    estimator = wide(early_stopping=True, max_iter=3, hash_search="cells").fit(X, Y)
    assert len(estimator.validation_scores_) == 3
    with pytest.raises(ValueError, match="least populated class"):
        wide(early_stopping=True).fit(X[:50], np.append(np.zeros(49), 1))


def test_class_weights():
    X, labels = make_multilabel_classification(200, 20, n_classes=5, random_state=0)
    one = quick(max_iter=2, class_weight={1: 3.0}).fit(X, csr_array(labels))
    weight = np.where(labels[:, 1], 3.0, 1.0)
    weight = np.where(labels.any(axis=1), (labels.sum(1) + 2 * labels[:, 1]), 1) / np.maximum(
        labels.sum(axis=1), 1
    )
    other = quick(max_iter=2).fit(X, labels, sample_weight=weight)
    assert_array_equal(one.coefs_[0], other.coefs_[0])


@pytest.mark.parametrize("label", [-1, 5, "spam"])
def test_weights_of_unknown_labels(label):
    rows, labels = make_multilabel_classification(50, 20, n_classes=5, random_state=0)
    estimator = quick(class_weight={1: 2.0, label: 3.0})
    with pytest.raises(ValueError, match="labels that are not 0 to 4"):
        estimator.fit(rows, labels)
    assert not hasattr(estimator, "classes_")


def test_unknown_or_misshapen_targets_are_refused_before_anything_changes():
    estimator = wide(max_iter=1).fit(X, LABELS)
    before = pickle.dumps(estimator)
    with pytest.raises(ValueError, match="indicator with 300 columns"):
        estimator.partial_fit(X[:5], LABELS[:5, :200])
    with pytest.raises(ValueError, match="zeros and ones"):
        estimator.partial_fit(X[:5], 1.5 * LABELS[:5] + csr_array(np.eye(5, N_CLASSES)))
    assert pickle.dumps(estimator) == before
