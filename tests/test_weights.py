"""Weights by input and by node: two ways to lie in memory, one network."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import digits, quick, same_model
from scipy.sparse import csr_array

from sklearn_lsh._network import DRAWN_TOGETHER, _draw
from sklearn_lsh.core.layer import ACTIVATIONS
from sklearn_lsh.core.weights import ByInput, ByNode
from sklearn_lsh.inspection import active_sets

X, Y = digits(200)
# Hidden layers of 90 and 77: no multiples of a run, a cache line or a vector.
SIZES = (120, 90, 77)
EXACT = ["winner_take_all", "adaptive_dropout"]


@pytest.fixture
def by_node(monkeypatch):
    """Estimators whose weights all lie by node."""

    def fit(*args, **params):
        with monkeypatch.context() as patch:
            patch.setattr("sklearn_lsh._resolve.resolve_layout", lambda *_: (False,) * 4)
            return fitted(*args, **params)

    return fit


def fitted(x=X, y=Y, **params):
    return quick(SIZES, **{"max_iter": 1, **params}).fit(x, y)


def layout(estimator):
    return [type(layer.store) for layer in estimator._network.engine.layers]


def assert_same_network(one, other):
    for a, b in zip(one.coefs_, other.coefs_, strict=True):
        assert a.shape == b.shape
        assert_allclose(a, b, atol=2e-4)
    for a, b in zip(one.intercepts_, other.intercepts_, strict=True):
        assert_allclose(a, b, atol=2e-4)
    assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=2e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("selection", EXACT)
def test_the_layout_has_no_part_in_learning(by_node, selection, activation):
    params = {"selection": selection, "activation": activation, "alpha": 0.01}
    one, other = fitted(**params), by_node(**params)
    assert layout(one) == [ByNode, ByInput, ByInput, ByInput]
    assert layout(other) == [ByNode] * 4
    assert_same_network(one, other)


@pytest.mark.parametrize("selection", ["lsh", "winner_take_all"])
def test_layers_above_few_active_nodes_are_not_hashed(selection):
    params = {"active_fraction": [119, 20, 20], "selection": selection}
    few = {"active_fraction": [60, 20, 20], "selection": selection}
    assert layout(fitted(**params)) == [ByNode, ByNode, ByInput, ByInput]
    assert layout(fitted(**few)) == [ByNode, ByInput, ByInput, ByInput]
    if selection == "lsh":
        assert fitted(**few).hash_search_[1:] == ["exact", "exact"]


@pytest.mark.parametrize(
    "params",
    [{"solver": "sgd"}, {"solver": "adagrad"}, {"hash_search": "scan", "solver": "adagrad"}],
    ids=str,
)
def test_state_for_every_weight_lies_by_node(params):
    estimator = fitted(**params)
    assert layout(estimator) == [ByNode] * 4
    # Then all activations would cost more than hashing.
    assert all("hashing" in layer for layer in estimator._network.state["layers"][:-1])


@pytest.mark.parametrize(
    "params",
    [{"hash_search": "scan"}, {"hash_search": "tables"}, {"hash_family": "simple_lsh"},
     {"hash_ranking": "collisions"}, {"selection": "dropout"}],
    ids=str,
)
def test_layers_that_read_some_nodes_lie_by_node(params):
    assert layout(fitted(**params)) == [ByNode, ByNode, ByNode, ByInput]


def test_wide_layers_are_hashed(monkeypatch):
    monkeypatch.setattr("sklearn_lsh._resolve.CELLS_WIDTH", 90)
    estimator = fitted()
    assert layout(estimator) == [ByNode, ByNode, ByInput, ByInput]
    assert "hashing" in estimator._network.state["layers"][1]


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_any_number_of_threads_gives_the_same_bits(batch_size):
    one, *others = (fitted(n_jobs=n, batch_size=batch_size, alpha=0.01) for n in (1, 2, 3))
    assert all(same_model(one, other) for other in others)


def test_rows_are_predicted_alike_in_any_company():
    clf = fitted(max_iter=3)
    wanted = clf.predict_proba(X)
    assert_array_equal(np.concatenate([clf.predict_proba(X[i : i + 1]) for i in range(40)]),
                       wanted[:40])
    assert_array_equal(clf.predict_proba(X[:33]), wanted[:33])


def test_layers_wider_than_what_is_visited_together():
    """1,100 nodes above 200 are visited in two parts, but for a single row."""
    one, other = (
        quick((200, 1100), max_iter=1, n_jobs=n).fit(X[:64], Y[:64]) for n in (None, 2)
    )
    assert layout(one) == [ByNode, ByInput, ByInput]
    assert same_model(one, other)
    alone = [one.predict_proba(X[i : i + 1]) for i in range(40)]
    assert_array_equal(np.concatenate(alone), one.predict_proba(X[:40]))


def test_lock_free_threads_learn():
    assert fitted(n_jobs=2, lock_free=True, max_iter=10, batch_size=1).score(X, Y) > 0.9


def test_the_best_weights_come_back_wherever_nodes_lie(monkeypatch):
    for length in ("FIRST", "LONGEST"):
        monkeypatch.setattr(f"sklearn_lsh._rehash.{length}_SORTING", 64)
    params = {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 12}
    estimator = fitted(**params)
    scores = estimator.validation_scores_
    shorter = fitted(**{**params, "max_iter": 1 + int(np.argmax(scores))})
    assert_allclose(estimator.predict_proba(X), shorter.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("sizes, k", [((1,), 1), ((3, 1), 1), ((2, 15, 16, 17), [1, 3, 16, 5])])
def test_small_layers(sizes, k):
    clf = quick(sizes, active_fraction=k, activation="tanh").fit(csr_array(X), Y)
    assert [w.shape for w in clf.coefs_] == list(zip((64, *sizes), (*sizes, 10), strict=True))
    assert np.isfinite(clf.predict_proba(X)).all()


def test_bounds_are_read_along_the_columns():
    clf = fitted()
    network = clf._network
    resting = np.flatnonzero(active_sets(clf, X[:1])[-1].toarray() == 0)[0]  # or logits overflow
    network.weights[-1][3, resting] = 1e29
    network.engine.layers[-1].store.bounds[:] = np.inf  # as after loading
    clf.partial_fit(X[:1], Y[:1])
    bounds = network.engine.layers[-1].store.bounds
    assert bounds[3] > 9e28
    wanted = np.abs(np.delete(clf.coefs_[-1], 3, axis=1)).max(axis=0)
    assert (np.delete(bounds, 3) >= wanted - 1e-5).all()
    assert (np.delete(bounds, 3) < 10).all()


@pytest.mark.parametrize("n", [1, DRAWN_TOGETHER, 2 * DRAWN_TOGETHER + 3])
def test_weights_drawn_in_pieces_are_those_drawn_at_once(n):
    drawn, one, other = np.empty(n, np.float32), *map(np.random.default_rng, (0, 0))
    _draw(drawn, 0.1, one)
    whole = other.random(n, dtype=np.float32)
    assert_array_equal(drawn, (whole - np.float32(0.5)) * np.float32(0.2))
    assert one.random() == other.random()
