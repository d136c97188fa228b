"""Labels: every kind that scikit-learn knows, through fit, predict and partial_fit."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from problems import digits, multilabel, quick
from scipy.sparse import csr_array

from sklearn_lsh.core.losses import LOSSES

X, Y = digits()
NAMES = np.array(["nought", "one", "two", "three", "four", "5", "6", "7", "8", "9"])

LABELS = {
    "strings": NAMES[Y],
    "objects": NAMES[Y].astype(object),
    "int8": Y.astype(np.int8),
    "floats": Y.astype(float),
    "gaps": Y * 7 - 20,
    "list": Y.tolist(),
    "binary": Y % 2,
    "binary_strings": np.where(Y % 2, "odd", "even"),
    "booleans": Y % 2 == 1,
    "signs": 2 * (Y % 2) - 1,
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_back_as_they_were_given(kind):
    y = LABELS[kind]
    estimator = quick(max_iter=20).fit(X, y)
    assert_array_equal(estimator.classes_, np.unique(y))
    predicted = estimator.predict(X)
    assert predicted.dtype == np.asarray(y).dtype
    assert np.mean(predicted == np.asarray(y)) > 0.9
    assert estimator.predict_proba(X).shape == (len(X), len(np.unique(y)))


@pytest.mark.parametrize("kind", ["strings", "gaps", "floats"])
def test_names_of_classes_have_no_influence(kind):
    """Up to their order, which strings change."""
    order = np.argsort(np.unique(LABELS[kind], return_index=True)[1])
    assert len(order) == 10
    plain = np.searchsorted(np.unique(LABELS[kind]), LABELS[kind])
    a, b = quick().fit(X, LABELS[kind]), quick().fit(X, plain)
    assert_array_equal(a.predict_proba(X), b.predict_proba(X))


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_label_indicators(loss, dtype):
    _, y = multilabel()
    estimator = quick(max_iter=20, multilabel_loss=loss).fit(X, y.astype(dtype))
    predicted = estimator.predict(X)
    assert_array_equal(np.unique(predicted), [0, 1])
    assert predicted.shape == y.shape
    assert np.mean(predicted == y) > 0.8
    same = quick(max_iter=20, multilabel_loss=loss).fit(X, y)
    assert_array_equal(same.predict_proba(X), estimator.predict_proba(X))


def test_more_labels_than_int8_counts():
    """Sums of an int8 indicator's rows would overflow."""
    y = np.ones((60, 200), np.int8)
    y[:, 1] = np.arange(60) % 2
    estimator = quick(max_iter=20).fit(X[:60], y)
    assert estimator.n_outputs_ == 200
    predicted = estimator.predict(X[:60])
    assert predicted[:, 2:].all()
    assert np.mean(predicted[:, 1] == y[:, 1]) > 0.8


def test_examples_without_labels():
    _, y = multilabel()
    y = y * (np.arange(len(y)) % 2)[:, None]
    for loss in LOSSES:
        estimator = quick(multilabel_loss=loss).fit(X, y)
        assert np.isfinite(estimator.predict_proba(X)).all()
        assert np.isfinite(estimator.loss_)


def test_sigmoid_labels_are_those_above_one_half():
    _, y = multilabel()
    estimator = quick().fit(X, y)
    assert_array_equal(estimator.predict(X), estimator.predict_proba(X) > 0.5)


@pytest.mark.parametrize("loss", LOSSES)
def test_rows_with_every_label(loss):
    """Labels that have no rivals, or none with a probability, in single precision."""
    estimator = quick(multilabel_loss=loss, max_iter=20, learning_rate_init=3.0)
    y = np.ones((60, 5), int)
    assert estimator.fit(X[:60], y).predict(X[:60]).all()
    estimator.fit(X[:60], y - np.eye(5, dtype=int)[np.arange(60) % 5])
    assert np.isfinite(estimator.loss_)
    assert all(np.isfinite(w).all() for w in (*estimator.coefs_, *estimator.intercepts_))


@pytest.mark.parametrize("loss", ["softmax", "decoupled_softmax"])
def test_softmax_probabilities_are_shared_among_the_labels(loss):
    _, y = multilabel()
    estimator = quick(multilabel_loss=loss).fit(X, y)
    np.testing.assert_allclose(estimator.predict_proba(X).sum(axis=1), 1)
    assert estimator.predict(X).any(axis=1).all()


@pytest.mark.parametrize("loss, share", [("softmax", 1 / 2), ("decoupled_softmax", 1 / 10)])
def test_predicted_labels_have_a_share_of_the_highest_probability(loss, share):
    _, y = multilabel()
    estimator = quick(multilabel_loss=loss, max_iter=3).fit(X, y)
    p = estimator.predict_proba(X)
    relative = p / p.max(axis=1, keepdims=True)
    clear = np.abs(relative - share) > 1e-6
    assert 0 < np.count_nonzero((relative < 1 / 2) & (relative > 1 / 10))  # bars differ
    assert_array_equal((estimator.predict(X) == 1)[clear], (relative > share)[clear])


def test_partial_fit_of_classes_in_turn():
    estimator = quick()
    for digit in range(10):
        estimator.partial_fit(X[Y == digit], NAMES[Y[Y == digit]], classes=NAMES)
    assert_array_equal(estimator.classes_, np.sort(NAMES))
    assert estimator.predict_proba(X).shape == (len(X), 10)


def test_partial_fit_needs_classes_first():
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        quick().partial_fit(X, Y)


def test_partial_fit_refuses_labels_that_were_not_announced():
    with pytest.raises(ValueError, match=r"not announced: \[9\]"):
        quick().partial_fit(X, Y, classes=range(9))
    estimator = quick().partial_fit(X[Y < 9], Y[Y < 9], classes=range(9))
    with pytest.raises(ValueError, match=r"not announced: \[9\]"):
        estimator.partial_fit(X, Y)


def test_partial_fit_refuses_other_classes():
    estimator = quick().partial_fit(X, Y, classes=range(10))
    estimator.partial_fit(X, Y, classes=list(range(10))[::-1])  # the order is no matter
    with pytest.raises(ValueError, match="not the same as on the last call"):
        estimator.partial_fit(X, Y, classes=range(11))


@pytest.mark.parametrize(
    "y",
    [
        Y[:, None] + [[0, 1]],  # several outputs of several classes
        Y + 0.5,  # regression
        np.where(Y == 3, np.nan, Y),
    ],
    ids=["multioutput", "continuous", "nan"],
)
def test_targets_that_are_no_labels(y):
    with pytest.raises(ValueError):
        quick().fit(X, y)


def test_kinds_of_target_do_not_mix():
    _, indicator = multilabel()
    with pytest.raises(ValueError, match="indicator"):
        quick().fit(X, indicator).partial_fit(X, Y)
    with pytest.raises(ValueError):
        quick().fit(X, Y).partial_fit(X, indicator)
    with pytest.raises(ValueError, match="indicator with 3 columns"):
        quick().fit(X, indicator).partial_fit(X, indicator[:, :2])


def test_column_vector_warns_as_in_scikit_learn():
    with pytest.warns(Warning, match="column-vector"):
        estimator = quick(max_iter=1).fit(X, Y[:, None])
    assert_array_equal(estimator.classes_, np.arange(10))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("values", [(-1, 1), (0, 2)])
def test_indicators_are_of_zeros_and_ones(values, sparse):
    """Others than 0 would all be labels, that are set."""
    y = np.choose(multilabel()[1], values)
    with pytest.raises(ValueError, match="zeros and ones"):
        quick().fit(X, csr_array(y) if sparse else y)


@pytest.mark.parametrize("broken", ["column", "negative", "indptr", "empty"])
def test_indicators_that_point_elsewhere(broken):
    y = csr_array(multilabel()[1])
    if broken == "empty":
        y = csr_array(y.shape, dtype=int)
    if broken in ("indptr", "empty"):
        y.indptr[3] = 2 * 10**8
    else:
        y.indices[::3] = 2 * 10**8 if broken == "column" else -(10**8)
    estimator = quick(max_iter=1).fit(X, csr_array(multilabel()[1]))
    with pytest.raises(ValueError):
        quick().fit(X, y)
    with pytest.raises(ValueError):
        estimator.partial_fit(X, y)


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1, 1e300])
@pytest.mark.parametrize("labels", ["classes", "labels"])
def test_class_weights_that_are_none(labels, weight):
    y = Y if labels == "classes" else multilabel()[1]
    with pytest.raises(ValueError, match="class_weight"):
        quick(class_weight={0: weight}).fit(X, y)


def test_sample_weights_beyond_float32():
    for estimator in (quick(), quick(class_weight={0: 1e20})):
        with pytest.raises(ValueError, match="finite as float32"):
            estimator.fit(X, Y, sample_weight=np.where(Y, 1, 1e300 / 1e280 * 1e19))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_duplicates_whose_sum_is_beyond_float32(dtype):
    twice = csr_array(
        (np.full(2, 3e38, dtype), np.zeros(2, int), np.array([0, 2])), shape=(1, X.shape[1])
    )
    estimator = quick(max_iter=1)
    for ask in (estimator.fit(X, Y).predict, lambda x: estimator.fit(x, [1])):
        with pytest.raises(ValueError, match="too large for float32"):
            ask(twice)


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_classes_that_are_no_numbers(missing):
    with pytest.raises(ValueError, match="classes must not be NaN"):
        quick().partial_fit(X, Y, classes=[*range(10), missing])


def test_labels_that_cannot_be_compared():
    estimator = quick(max_iter=1).partial_fit(X, NAMES[Y], classes=np.sort(NAMES))
    for y in ([None] * len(Y), [1, "one"] * (len(Y) // 2), ["one", 1] * (len(Y) // 2)):
        with pytest.raises(ValueError):
            estimator.partial_fit(X, np.array(y, object))
        with pytest.raises(ValueError):
            quick().fit(X, np.array(y, object))
        with pytest.raises(ValueError):
            quick().partial_fit(X, np.array(y, object), classes=[0, 1, None])
    with pytest.raises(ValueError, match="at least one class"):
        quick().partial_fit(X, Y, classes=[])
