"""Hashed output layers: which classes are computed, what is learned, and what predictions say."""

import pickle

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from problems import digits, quick, same_model
from scipy.sparse import csr_array, csr_matrix, issparse
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from test_gradients import WARM_UP, follow_thresholds, selected_by, twin
from test_hashing import sketches_of

from sklearn_lsh import LSHMLPClassifier, _memory, _renewal
from sklearn_lsh._memory import network_bytes
from sklearn_lsh._rehash import SHORTEST_GAP, Rehasher
from sklearn_lsh.core.engine import OPENMP
from sklearn_lsh.core.hashing import Subspace
from sklearn_lsh.core.losses import LOSSES
from sklearn_lsh.inspection import active_set_recall

N_CLASSES, N_FEATURES = 300, 1200


def documents(n=1500, seed=0, n_classes=N_CLASSES, n_features=N_FEATURES):
    """Sparse rows of a few words each, some of which belong to the row's class."""
    rng = np.random.default_rng(seed)
    own = np.random.default_rng(1).integers(n_features, size=(n_classes, 6))
    y = rng.integers(n_classes, size=n)
    y[:n_classes] = np.arange(n_classes)[:n]  # none is missing
    words = np.column_stack([own[y][:, :4], rng.integers(n_features, size=(n, 4))])
    X = csr_array(
        (np.ones(words.size, np.float32), words.ravel(), np.arange(n + 1) * 8),
        shape=(n, n_features),
    )
    X.sum_duplicates()
    X.data[:] = 0.35
    return X, y


def indicator(y, seed=0):
    """A second label beside each class."""
    other = np.random.default_rng(seed).integers(N_CLASSES, size=len(y))
    rows = np.repeat(np.arange(len(y)), 2)
    Y = csr_array(
        (np.ones(2 * len(y)), (rows, np.column_stack([y, other]).ravel())),
        shape=(len(y), N_CLASSES),
    )
    Y.sum_duplicates()
    Y.data[:] = 1
    return Y


X, Y = documents()
LABELS = indicator(Y)


def wide(**params):
    """A narrow dense layer below many classes."""
    defaults = {
        "hidden_layer_sizes": (32,), "active_fraction": 1.0, "output_active": 40, "max_iter": 3,
        "tol": 0, "random_state": 0,
    }
    return LSHMLPClassifier(**{**defaults, **params})


@pytest.fixture(scope="module", params=["scan", "cells", "tables"])
def fitted(request):
    return wide(hash_search=request.param, max_iter=6).fit(X, Y)


# ---- learning --------------------------------------------------------------------------------


def test_learns_as_all_classes_do():
    X_test, y_test = documents(seed=5)
    hashed = wide(max_iter=12).fit(X, Y).score(X_test, y_test)
    full = wide(max_iter=12, output_active=None).fit(X, Y).score(X_test, y_test)
    assert full > 0.8
    assert hashed > full - 0.05


@pytest.mark.parametrize("loss", LOSSES)
def test_learns_labels(loss):
    found = wide(multilabel_loss=loss, max_iter=20).fit(X, LABELS).predict_topk(X, 1)[0][:, 0]
    assert np.mean(found == Y) + np.mean(LABELS[np.arange(len(Y)), found]) > 0.8


def test_finds_the_best_classes(fitted):
    assert active_set_recall(fitted, X[:200])[-1] > 0.9


@pytest.mark.parametrize(
    "params",
    [
        {"output_active": N_CLASSES - 1}, {"output_active": 1}, {"output_active": 0.1},
        {"hash_ranking": "union", "hash_search": "tables"}, {"hash_family": "simple_lsh"},
        {"hidden_layer_sizes": (120, 90), "active_fraction": 20}, {"solver": "adagrad"},
        {"solver": "sgd"}, {"selection": "dropout", "active_fraction": 0.5},
        {"selection": "all"}, {"alpha": 0.01}, {"activation": "tanh"},
        {"hidden_layer_sizes": (2100,), "active_fraction": 30}, {"lock_free": True, "n_jobs": 2},
    ],
    ids=str,
)
def test_goes_with_every_other_choice(params):
    estimator = wide(**{"max_iter": 2, "learning_rate_init": 0.05, **params}).fit(X[:400], Y[:400])
    labels, scores = estimator.predict_topk(X[:9], 1)
    assert np.isfinite(scores).all()
    assert labels.shape == (9, 1)
    assert_array_equal(pickle.loads(pickle.dumps(estimator)).predict(X), estimator.predict(X))


@pytest.mark.skipif(not OPENMP, reason="built without OpenMP")
@pytest.mark.parametrize("search", ["scan", "cells", "tables"])
@pytest.mark.parametrize("targets", [Y, LABELS], ids=["classes", "labels"])
def test_the_number_of_threads_changes_no_bit(search, targets):
    one, *others = (
        wide(hash_search=search, n_jobs=n, max_iter=2).fit(X, targets) for n in (None, 2, 3)
    )
    for other in others:
        other.n_jobs = None
        assert same_model(one, other)


@pytest.mark.skipif(not OPENMP, reason="built without OpenMP")
@pytest.mark.parametrize("active_fraction", [20, 1.0])  # weights of the outputs by input, by node
def test_many_outputs_without_hashing(monkeypatch, active_fraction):
    monkeypatch.setattr("sklearn_lsh._network.MANY_OUTPUTS", N_CLASSES)
    one, *others = (
        wide(
            hidden_layer_sizes=(80,), output_active=None, active_fraction=active_fraction,
            max_iter=4, n_jobs=n,
        ).fit(X, Y)
        for n in (None, 2, 3)
    )
    assert one._network.settings.by_input[-1] == (active_fraction == 20)
    assert one.score(X, Y) > 0.8
    for other in others:
        other.n_jobs = None
        assert same_model(one, other)


@pytest.mark.parametrize("output_active", [40, None])
def test_many_outputs_start_from_the_shares_of_the_classes(monkeypatch, output_active):
    monkeypatch.setattr("sklearn_lsh._network.MANY_OUTPUTS", N_CLASSES)
    estimator = wide(output_active=output_active, max_iter=1, learning_rate_init=1e-9).fit(X, Y)
    counts = np.bincount(Y, minlength=N_CLASSES) + 0.5
    assert_allclose(estimator.intercepts_[-1], np.log(counts / counts.sum()), atol=1e-5)
    monkeypatch.setattr("sklearn_lsh._network.MANY_OUTPUTS", N_CLASSES + 1)
    few = wide(output_active=None, max_iter=1, learning_rate_init=1e-9).fit(X, Y)
    assert_allclose(few.intercepts_[-1], 0, atol=1e-5)


@pytest.mark.parametrize(
    "limit, values", [("training_visits", (0.01, 0.5, 1.0)), ("training_list", (1, 10, 80))]
)
def test_training_looks_at_less_than_prediction(limit, values):
    """One network, one batch, and nothing else due: only what is visited or computed differs."""
    trained, spent, answers = wide(hash_search="cells").fit(X, Y), {}, {}
    assert trained._network.engine.layers[-1].selector.cells.n_probes > 1
    for value in values:
        estimator = pickle.loads(pickle.dumps(trained))
        network = estimator._network
        network.state["layers"][-1]["hashing"][limit] = value
        network.state["rehash"] |= {"look_at": [10**9] * 2, "encode_at": 10**9}
        network._assemble()
        answers[value] = estimator.predict_proba(X[:50])
        estimator.partial_fit(X[:32], Y[:32])
        spent[value] = estimator.history_["multiplications"][-1]
    few, some, many = values
    assert spent[few] < spent[some] < spent[many]
    assert_array_equal(answers[few], answers[many])  # prediction does as before


def test_prediction_has_cells_to_spare(monkeypatch):
    """An output layer visits more of them than recall took when they were drawn."""
    visited = []
    for spare in (1, 2):
        monkeypatch.setattr("sklearn_lsh._renewal.SPARE_VISITS", spare)
        estimator = wide(hash_search="cells").partial_fit(X[:1], Y[:1], classes=range(N_CLASSES))
        visited.append(estimator._network.engine.layers[-1].selector.cells.n_probes)
    n_cells = len(estimator._network.state["layers"][-1]["hashing"]["cells"]["spread"])
    assert visited[1] == min(n_cells, 2 * visited[0]) > visited[0]


def test_fit_is_partial_fit_repeated():
    whole, parts = wide(max_iter=3).fit(X, LABELS), wide()
    for _ in range(3):
        parts.partial_fit(X, LABELS)
    parts.max_iter = 3
    assert same_model(whole, parts)


def test_all_announced_classes_can_be_learned_later():
    classes = np.array([f"class {i:03}" for i in range(N_CLASSES)])
    estimator = wide().partial_fit(X[:300], classes[Y[:300] % 10], classes=classes)
    for _ in range(12):
        estimator.partial_fit(X, classes[Y])
    assert_array_equal(estimator.classes_, classes)
    assert estimator.score(X, classes[Y]) > 0.9


# ---- one example against NumPy ---------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_is_that_of_the_active_classes(monkeypatch, loss):
    """With all others left out of the softmax; hidden weights by feature."""
    monkeypatch.setattr("sklearn_lsh._network.EXPLORED", 0)
    estimator = wide(
        output_active=N_CLASSES - 1, multilabel_loss=loss, hash_search="scan",
        activation="identity", batch_size=1, shuffle=False, learning_rate_init=0.3,
    ).partial_fit(X[:200], LABELS[:200])
    before = [w.copy() for w in (*estimator.coefs_, *estimator.intercepts_)]
    squares = [
        {k: v.copy() for k, v in layer["optimizer"].items()}
        for layer in estimator._network.state["layers"]
    ]
    x, labels = X[[700]], np.flatnonzero(LABELS[[700]].toarray()[0])
    W1, W2, b1, b2 = (w.astype(float) for w in before)
    h = x.toarray()[0] @ W1 + b1
    z = h @ W2 + b2
    ranked = np.where(np.isin(np.arange(N_CLASSES), labels), np.inf, z)
    active = np.sort(np.argsort(-ranked)[:-1])
    _, delta = reference.loss_and_delta(z[active], np.searchsorted(active, labels), loss)
    # Smaller gradients are dropped or rounded up at random.
    large = np.abs(delta) >= 1 / 64
    estimator.partial_fit(x, LABELS[[700]])
    moved = np.flatnonzero(np.abs(estimator.coefs_[1] - before[1]).max(axis=0) > 0)
    assert set(active[large]) <= set(moved) <= set(active)
    for j, d in zip(active[large], delta[large], strict=True):
        total = squares[1]["row_squares"][j] + d**2 * (1 + h @ h)
        step = 0.3 * d / np.sqrt(0.1 + total)
        assert_allclose(estimator.coefs_[1][:, j], W2[:, j] - step * h, rtol=1e-3, atol=1e-5)
        assert_allclose(estimator.intercepts_[1][j], b2[j] - step, rtol=1e-3, atol=1e-5)
    # The hidden layer's step, from the gradients as they were applied.
    applied = np.zeros(N_CLASSES)
    for j in moved:
        step = b2[j] - estimator.intercepts_[1][j]
        # step = 0.3 d / sqrt(0.1 + G + d^2 n), solved for d
        n, G, s = 1 + h @ h, squares[1]["row_squares"][j], step / 0.3
        applied[j] = np.sign(step) * np.sqrt(s**2 * (0.1 + G) / (1 - s**2 * n))
    d1 = W2 @ applied
    for i in np.flatnonzero(x.toarray()[0]):
        v = x.toarray()[0, i]
        total = squares[0]["feature_squares"][i] + v**2 * (d1 @ d1)
        wanted = W1[i] - 0.3 * v * d1 / np.sqrt(0.1 + total)
        assert_allclose(estimator.coefs_[0][i], wanted, rtol=2e-2, atol=2e-4)
    untouched = np.setdiff1d(np.arange(N_FEATURES), x.indices)
    assert_array_equal(estimator.coefs_[0][untouched], before[0][untouched])


@pytest.mark.parametrize("output_active", [250, None])
def test_small_gradients_are_kept_as_often_as_they_are_large(monkeypatch, output_active):
    """Of many outputs, hashed or not."""
    monkeypatch.setattr("sklearn_lsh._network.EXPLORED", 0)
    monkeypatch.setattr("sklearn_lsh._network.MANY_OUTPUTS", N_CLASSES)
    kept = []
    for seed in range(40):
        estimator = wide(
            output_active=output_active, hash_search="scan", learning_rate_init=1e-3
        )
        estimator.partial_fit(X[:1], Y[:1], classes=np.arange(N_CLASSES))
        p = np.delete(estimator.predict_proba(X[1:2])[0], Y[1])
        start = estimator.intercepts_[-1].copy()
        estimator._network.state["seed"] = seed
        estimator.partial_fit(X[1:2], Y[1:2])
        kept.append(np.count_nonzero(np.delete(estimator.intercepts_[-1] != start, Y[1])))
    assert np.mean(kept) == pytest.approx(np.minimum(64 * p, 1).sum(), rel=0.1)


@pytest.mark.parametrize("loss", LOSSES)
def test_random_classes_stand_for_those_that_were_not_found(loss):
    """The loss over few classes is about that over all."""
    found, exact = [], []
    for row in range(30):
        estimator = wide(multilabel_loss=loss, hash_search="scan", max_iter=1)
        estimator.partial_fit(X[:50], LABELS[:50])
        chosen = slice(60 + row, 61 + row)
        estimator.inference = "exact"
        p, labels = estimator.predict_proba(X[chosen])[0], LABELS[chosen].indices
        if loss != "sigmoid":
            exact.append(reference.loss_and_delta(np.log(p), labels, loss)[0])
        else:
            exact.append(-np.log(p[labels]).sum() - np.log1p(-np.delete(p, labels)).sum())
        found.append(estimator.partial_fit(X[chosen], LABELS[chosen]).loss_)
    assert np.mean(found) == pytest.approx(np.mean(exact), rel=0.1)


# ---- targets -----------------------------------------------------------------------------------


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


def test_a_pass_that_ends_looks_at_an_output_layer_that_is_due_soon():
    estimator = wide(max_iter=1).fit(X, Y)
    clock = estimator._network.state["rehash"]
    for away, looks in ((2.0, True), (2.1, False)):  # of a gap of four passes
        seen, n = estimator._network.state["n_seen"], X.shape[0]
        due = seen + int(away * n)
        clock["look_gap"][-1], clock["look_at"][-1] = 4 * n, due
        estimator.partial_fit(X, Y)
        assert (clock["look_at"][-1] != due) == looks


def test_before_the_first_example_any_classes_will_do(monkeypatch):
    """Sketches are the shortest, cells have no regard to them, and no recall is measured."""
    lengths, recalls = [], []
    choose, recall = _renewal.choose_sketching, Rehasher._recall

    def note_length(sample, queries, rows, *args):
        lengths.append(rows.shape[1])
        return choose(sample, queries, rows, *args)

    def note_recall(rehasher, *args):
        recalls.append(rehasher.network.state["n_seen"])
        return recall(rehasher, *args)

    monkeypatch.setattr(_renewal, "CELLS_WIDTH", 1)
    monkeypatch.setattr(_renewal, "choose_sketching", note_length)
    monkeypatch.setattr(Rehasher, "_recall", note_recall)
    estimator = wide(hidden_layer_sizes=(80,)).fit(X, Y)
    assert lengths[0] == sorted(Subspace.lengths)[1]  # one more than the shortest may be tried
    assert recalls[0] == SHORTEST_GAP
    clock = estimator._network.state["rehash"]
    assert clock["reached"][-1] > 0.9


def test_the_first_pass_ends_with_a_look(monkeypatch):
    """However short it is: predictions may follow. The next look does not wait for long."""
    monkeypatch.setattr(_renewal, "CELLS_WIDTH", 1)
    estimator = wide(hidden_layer_sizes=(80,))
    estimator.partial_fit(X[:40], Y[:40], classes=range(N_CLASSES))
    clock, cells = (
        estimator._network.state["rehash"],
        estimator._network.state["layers"][-1]["hashing"]["cells"],
    )
    assert clock["reached"][-1] > 0.9
    assert np.isfinite(cells["far"]).all()
    assert clock["look_at"][-1] == 40 + SHORTEST_GAP
    estimator.partial_fit(X[40:80], Y[40:80])
    assert clock["look_at"][-1] == 40 + SHORTEST_GAP


@pytest.mark.parametrize("ranking", ["union", "collisions"])
def test_rankings_that_aim_for_nothing_wait_for_their_turn(monkeypatch, ranking):
    looks, look = [], Rehasher._look
    monkeypatch.setattr(Rehasher, "_look", lambda self, *a: looks.append(1) or look(self, *a))
    estimator = wide(hidden_layer_sizes=(80,), hash_ranking=ranking, hash_search="tables")
    for start in range(0, 200, 40):
        rows = slice(start, start + 40)
        estimator.partial_fit(X[rows], Y[rows], classes=range(N_CLASSES))
    assert len(looks) == 1


@pytest.mark.parametrize("solver", ["rowwise_adagrad", "adagrad"])
def test_sketches_match_the_weights_when_a_pass_ends(solver):
    estimator = wide(hash_search="cells", solver=solver, learning_rate_init=0.05).fit(X, Y)
    estimator._network.state["rehash"]["look_at"][-1] = 10**9  # which would file all anew
    estimator.partial_fit(X, Y)
    layer = estimator._network.state["layers"][-1]
    family, sketches = layer["hashing"]["family"], sketches_of(layer["hashing"])
    expected = reference.sketches(family, layer["weights"], layer["intercepts"])
    assert_allclose(sketches, expected, atol=1e-4 * np.abs(expected).max())
    assert not layer["hashing"]["dirty"].any()


def test_unknown_or_misshapen_targets_are_refused_before_anything_changes():
    estimator = wide(max_iter=1).fit(X, LABELS)
    before = pickle.dumps(estimator)
    with pytest.raises(ValueError, match="indicator with 300 columns"):
        estimator.partial_fit(X[:5], LABELS[:5, :200])
    with pytest.raises(ValueError, match="Unknown label type"):
        estimator.partial_fit(X[:5], 1.5 * LABELS[:5] + csr_array(np.eye(5, N_CLASSES)))
    assert pickle.dumps(estimator) == before


# ---- predictions -------------------------------------------------------------------------------


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


# ---- weights by feature ------------------------------------------------------------------------


def test_wide_sparse_input_lies_by_feature():
    estimator = wide(max_iter=1).fit(X, Y)
    assert estimator._network.state["layers"][0]["weights"].shape == (N_FEATURES, 32)
    dense = wide(max_iter=1).fit(X.toarray(), Y)
    assert same_model(estimator, dense)  # what counts are the values, not how they are stored


@pytest.mark.parametrize("alpha", [0.0, 0.05])
@pytest.mark.parametrize("sizes, k", [((32,), 1.0), ((33, 20), 1.0), ((90,), 10), ((), 1.0)])
def test_steps_by_feature(sizes, k, alpha):
    """Against NumPy: dense and sparse hidden layers, none, odd widths, decay, a full row."""
    rows = np.vstack([X[:60].toarray(), np.ones((2, N_FEATURES)) / 40])
    y = np.append(Y[:60] % 7, [0, 1])
    estimator = wide(
        hidden_layer_sizes=sizes, active_fraction=k if sizes else "auto", output_active=None,
        learning_rate_init=0.2, alpha=alpha, max_iter=1,
    )
    estimator.partial_fit(rows[:WARM_UP], y[:WARM_UP], classes=np.arange(7))
    assert estimator._network.settings.by_input[0]
    oracle, start = twin(estimator), [w.copy() for w in estimator.coefs_]
    for i in range(WARM_UP, len(y)):
        follow_thresholds(oracle, estimator)
        estimator.partial_fit(rows[[i]], y[[i]])
        loss = oracle.step(rows[i].astype(np.float32), [y[i]], selected_by(estimator))
        assert_allclose(estimator.loss_, loss, rtol=1e-3)
    for layer, w, b, w0 in zip(
        oracle.layers, estimator.coefs_, estimator.intercepts_, start, strict=True
    ):
        atol = 1e-3 * np.abs(layer.w.T - w0).max()
        assert_allclose(w.T, layer.w, rtol=2e-4, atol=atol)
        assert_allclose(b, layer.b, rtol=2e-4, atol=atol)


def test_rows_with_most_features_set_are_learned_from_as_well():
    """Such a row reaches the layer in its dense form."""
    full = csr_array(np.ones((3, N_FEATURES), np.float32) / 40)
    mixed = csr_array(np.vstack([X[:300].toarray(), full.toarray()]))
    y = np.append(Y[:300], [1, 2, 3])
    models = [wide(max_iter=2, n_jobs=n).fit(mixed, y) for n in (None, 2 if OPENMP else None)]
    models[1].n_jobs = None
    assert same_model(*models)
    assert np.isfinite(models[0].coefs_[0]).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_huge_values_do_no_harm():
    """Updates that could overflow are refused, whatever the layout."""
    wild = X[:200].copy()
    wild.data[::7] = 1e30
    estimator = wide(max_iter=1)
    try:
        estimator.fit(wild, Y[:200])
    except ValueError as error:
        assert "diverged" in str(error)
    else:
        assert all(np.isfinite(w).all() for w in (*estimator.coefs_, *estimator.intercepts_))


# ---- memory ------------------------------------------------------------------------------------


def test_what_cannot_fit_is_refused_in_advance(monkeypatch):
    monkeypatch.setattr(_memory, "available_bytes", lambda: 2**27)
    big = LSHMLPClassifier((4000,), output_active=100)
    with pytest.raises(MemoryError, match="300 outputs would take .* bytes"):
        big.set_params(hidden_layer_sizes=(200_000,)).fit(X, Y)
    assert not hasattr(big, "classes_")
    estimator = wide(max_iter=1).fit(X, Y)
    many = csr_array((100_000, N_FEATURES), dtype=np.float32)
    with pytest.raises(MemoryError, match="probabilities of 300 classes for 100000 rows"):
        estimator.predict_proba(many)
    assert estimator.predict_topk(many, 1)[0].shape == (100_000, 1)


def test_memory_is_what_the_formula_says():
    """At 10^5 classes, by the arrays that NumPy allocates."""
    import tracemalloc

    n_classes = 100_000
    rows, y = documents(2000, n_classes=n_classes, n_features=20_000)
    estimator = LSHMLPClassifier((64,), active_fraction=1.0, output_active=50, random_state=0)
    tracemalloc.start()
    estimator.partial_fit(rows, y, classes=np.arange(n_classes))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    stated = network_bytes(estimator._network.settings, 1, 32)
    assert 0.4 * stated < peak < 1.3 * stated
