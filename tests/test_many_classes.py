"""Hashed output layers: which classes are computed, and what is learned."""

import pickle

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from problems import N_CLASSES, N_FEATURES, documents, indicator, same_model, wide
from test_hashing import sketches_of

from sklearn_lsh import LSHMLPClassifier, _renewal
from sklearn_lsh._rehash import SHORTEST_GAP, Rehasher
from sklearn_lsh.core.engine import OPENMP
from sklearn_lsh.core.hashing import Subspace
from sklearn_lsh.core.losses import LOSSES
from sklearn_lsh.inspection import active_set_recall

X, Y = documents()
LABELS = indicator(Y)


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


@pytest.mark.skipif(not OPENMP, reason="built without OpenMP")
def test_threads_make_no_difference_where_hashing_ends_up_exact():
    """Classes drawn for examples before a renewal took all nodes were still active after it."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 30)).astype(np.float32)
    y = (X @ rng.standard_normal((30, 100))).argmax(axis=1)
    y[:100] = np.arange(100)
    models = [
        LSHMLPClassifier(
            (64,), output_active=30, batch_size=64, max_iter=1, n_jobs=n_jobs, random_state=0
        ).fit(X, y)
        for n_jobs in (1, 2, 3)
    ]
    assert models[0].loss_ == models[1].loss_ == models[2].loss_
    assert same_model(models[0], models[1]) and same_model(models[0], models[2])


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


def test_weights_count_in_the_shares_of_the_classes(monkeypatch):
    monkeypatch.setattr("sklearn_lsh._network.MANY_OUTPUTS", N_CLASSES)
    weights = np.random.default_rng(0).integers(1, 4, len(Y))
    started = wide(output_active=None, max_iter=1, learning_rate_init=1e-9)
    weighted = started.fit(X, Y, sample_weight=1e-3 * weights).intercepts_[-1]
    counts = np.bincount(Y, weights, N_CLASSES) / weights.mean() + 0.5
    assert_allclose(weighted, np.log(counts / counts.sum()), atol=1e-5)
    none = started.fit(X, Y, sample_weight=np.full(len(Y), 1e-60)).intercepts_[-1]
    assert_allclose(none, started.fit(X, Y).intercepts_[-1], atol=1e-5)


@pytest.mark.parametrize(
    "limit, values", [("training_visits", (0.01, 0.5, 1.0)), ("training_list", (40, 50, 60))]
)
def test_training_looks_at_less_than_prediction(limit, values):
    """One network, one batch, and nothing else due: only what is visited or computed differs.

    Lists are no shorter than the active set, up to which random classes would be computed.
    """
    trained, spent, answers = wide(hash_search="cells").fit(X, Y), {}, {}
    assert trained._network.engine.layers[-1].selector.cells.n_probes > 1
    for value in values:
        estimator = pickle.loads(pickle.dumps(trained))
        network = estimator._network
        network.state["rehash"] |= {"look_at": [10**9] * 2, "encode_at": 10**9}
        setattr(network.engine.layers[-1].selector, limit, value)
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


# ---- looks --------------------------------------------------------------------------------------


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
