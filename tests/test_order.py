"""Sorting the nodes of hashed layers by their use."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import digits, quick, same_model
from test_cells import assert_cells_follow_weights
from test_hashing import assert_codes_follow_weights, assert_sketches_follow_weights

from sklearn_lsh._data import as_rows
from sklearn_lsh._rehash import Rehasher
from sklearn_lsh.core.optimizers import SOLVERS
from sklearn_lsh.core.order import reorder
from sklearn_lsh.inspection import active_sets

X, Y = digits()


# ---- reorder ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("kind", ["random", "nothing", "one cycle"])
def test_reorder_is_indexing(n, kind):
    rng = np.random.default_rng(n)
    order = {
        "random": rng.permutation(n),
        "nothing": np.arange(n),
        "one cycle": np.roll(np.arange(n), 1),
    }[kind].astype(np.int32)
    shapes = [((n,), 0), ((n, 3), 0), ((n, 3, 2), 0), ((5, n), 1), ((5, n, 2), 1), ((0, n), 1)]
    arrays = [
        (rng.integers(0, 100, shape).astype(dtype), axis)
        for shape, axis in shapes for dtype in ("u1", "i4", "f4", "f8")
    ]
    def floats(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    padded = [floats(n, 8), floats(5, n + 3)]
    by_row, by_column = padded[0][:, :5], padded[1][:, :n]
    arrays += [(by_row, 0), (by_column.T.copy().T, 1), (by_column, 1)]
    arrays += [(floats(n, 8)[:, :5].T, 1), (floats(5, n + 3)[:, :n].T, 0)]
    beyond = padded[0][:, 5:].copy(), padded[1][:, n:].copy()
    wanted = [np.take(array, order, axis) for array, axis in arrays]
    names = rng.integers(-1, n, (4, 6)).astype(np.int32)
    lookup = np.append(np.argsort(order), -1)
    renamed = lookup[names]
    reorder(order, arrays, [names])
    for (array, _), expected in zip(arrays, wanted, strict=True):
        assert_array_equal(array, expected)
    assert_array_equal(names, renamed)
    assert_array_equal(padded[0][:, 5:], beyond[0])
    assert_array_equal(padded[1][:, n:], beyond[1])


@pytest.mark.parametrize(
    "order, array, axis",
    [([0, 0, 1], np.zeros(3), 0), ([2, 1, 0], np.zeros(4), 0), ([2, 1, 0], np.zeros((3, 2)), 1),
     ([2, 1, 0], np.zeros((3, 4))[:, ::2], 0), ([2, 1, 0], np.zeros((2, 2, 3)), 2)],
)
def test_reorder_changes_nothing_if_something_is_wrong(order, array, axis):
    right = np.arange(3)
    with pytest.raises(ValueError, match="permutation|axis|contiguous"):
        reorder(np.array(order, np.int32), [(right, 0), (array, axis)], [])
    assert_array_equal(right, np.arange(3))


# ---- networks --------------------------------------------------------------------------------


def fitted(x=X, y=Y, **params):
    params = {"max_iter": 3, "alpha": 0.01, **params}
    return quick((120, 90), **params).fit(x, y)


def clear_rows(estimator, k=20):
    """Rows of whose exact top k relu nodes rounding decides none, in any hidden layer."""
    out, clear = X, np.ones(len(X), bool)
    for w, b in zip(estimator.coefs_[:-1], estimator.intercepts_[:-1], strict=True):
        z = out @ w.astype(float) + b
        ascending = np.sort(z, axis=1)
        clear &= ascending[:, -k] - ascending[:, -k - 1] > 1e-5
        out = np.where(z >= ascending[:, [-k]], np.maximum(z, 0), 0)
    assert clear.mean() > 0.95
    return clear


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "params",
    [{"hash_search": "scan"}, {"hash_search": "cells"}, {"hash_search": "tables"},
     {"hash_search": "tables", "hash_ranking": "collisions", "hash_family": "simple_lsh"}],
    ids=str,
)
def test_sorted_networks_compute_the_same(params, solver):
    estimator = fitted(solver=solver, **params)
    network = estimator._network
    layers = network.state["layers"]
    layers[0]["visits"][:] = np.random.default_rng(0).integers(0, 50, 120)
    clear = clear_rows(estimator)
    before = estimator.set_params(inference="exact").predict_proba(X)
    visits = [layer["visits"].copy() for layer in layers[:-1]]
    for index in (0, 1):
        network.sort_nodes(index)
        assert_array_equal(layers[index]["visits"], np.sort(visits[index])[::-1] // 2)
        assert_array_equal(visits[index][layers[index]["nodes"]] // 2, layers[index]["visits"])
    assert_allclose(estimator.predict_proba(X)[clear], before[clear], atol=1e-5)
    for index in (0, 1):
        assert_sketches_follow_weights(estimator, index)
        if params["hash_search"] == "cells":
            assert_cells_follow_weights(estimator, index)
        elif params["hash_search"] == "tables":
            assert_codes_follow_weights(estimator, index)


@pytest.mark.usefixtures("sorted_often")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("search", ["scan", "cells", "tables"])
def test_sketches_move_with_their_nodes(search, solver):
    often = fitted(solver=solver, hash_search=search, max_iter=2)
    for index in (0, 1):
        assert_sketches_follow_weights(often, index)
        nodes = often._network.state["layers"][index]["nodes"]
        assert (nodes != np.sort(nodes)).any()


@pytest.mark.parametrize("solver", SOLVERS)
def test_order_has_no_part_in_learning(monkeypatch, solver):
    """Exact selection: sorted networks learn the same but for rounding, node by node."""
    monkeypatch.setattr("sklearn_lsh._calibration.LONGEST_SHARE", 1)
    params = {"solver": solver, "max_iter": 1, "activation": "tanh", "active_fraction": [119, 89]}
    few = X[:200], Y[:200]  # Adagrad makes more of rounding the longer it learns
    plain = fitted(*few, **params)
    monkeypatch.setattr("sklearn_lsh._rehash.FIRST_SORTING", 32)
    monkeypatch.setattr("sklearn_lsh._rehash.LONGEST_SORTING", 32)
    other = fitted(*few, **params)
    first, second = (layer["nodes"] for layer in other._network.state["layers"][:2])
    assert (first != np.arange(120)).any()
    assert_allclose(other.coefs_[0], plain.coefs_[0][:, first], atol=2e-3)
    assert_allclose(other.coefs_[1], plain.coefs_[1][first][:, second], atol=2e-3)
    assert_allclose(other.coefs_[2], plain.coefs_[2][second], atol=2e-3)
    assert_allclose(other.loss_, plain.loss_, rtol=1e-3)


@pytest.mark.usefixtures("sorted_often")
def test_early_stopping_keeps_its_weights_in_their_places():
    params = {"early_stopping": True, "max_iter": 20, "n_iter_no_change": 3, "tol": 0.5}
    estimator = quick((120, 90), hash_search="scan", **params).fit(X, Y)
    best = estimator.best_validation_score_
    assert estimator.score(X, Y) > best - 0.1
    for index in (0, 1):
        assert_sketches_follow_weights(estimator, index)


def test_a_snapshot_is_restored_in_any_order():
    estimator = fitted(inference="exact")
    network, before = estimator._network, estimator.predict_proba(X)
    snapshot = network.snapshot()
    for index in (0, 1):
        layer = network.state["layers"][index]
        layer["visits"][:] = np.random.default_rng(index).permutation(len(layer["visits"]))
        network.sort_nodes(index)
        layer["weights"] += 1
    network.restore(snapshot)
    assert_allclose(estimator.predict_proba(X), before, atol=1e-5)


@pytest.mark.usefixtures("sorted_often")
def test_going_on_after_a_reload_is_going_on():
    one = quick((120, 90)).fit(X, Y)
    other = pickle.loads(pickle.dumps(one))
    assert same_model(one.partial_fit(X, Y), other.partial_fit(X, Y))


# ---- nodes that are left out -------------------------------------------------------------------


@pytest.mark.parametrize("search", ["auto", "scan"])
def test_idle_nodes_are_left_out_of_training(search):
    """Until the next sorting, where the selection goes over all nodes; prediction uses them."""
    estimator = fitted(hash_search=search, alpha=0)
    network, busy = estimator._network, (70, 40)
    network.state["rehash"]["sort_at"] = 10**9
    for index, n_busy in enumerate(busy):
        visits = network.state["layers"][index]["visits"]
        visits[:] = 0
        visits[np.random.default_rng(index).permutation(len(visits))[:n_busy]] = 3
        network.sort_nodes(index)
        # Where they would be chosen if they could.
        network.state["layers"][index]["intercepts"][n_busy:] += 10
        if "hashing" in network.state["layers"][index]:
            network.state["layers"][index]["hashing"]["dirty"][:] = 2
    before = [w.copy() for w in estimator.coefs_]
    estimator.partial_fit(X, Y)
    loaded = pickle.loads(pickle.dumps(estimator)).partial_fit(X, Y)
    for fit in (estimator, loaded):
        for index, n_busy in enumerate(busy):
            moved = (fit.coefs_[index] != before[index]).any(axis=0)
            assert moved[:n_busy].any()
            assert not moved[n_busy:].any()
            assert active_sets(fit, X)[index][:, n_busy:].sum() > 0
    network.wake_nodes()
    for index, size in enumerate((120, 90)):
        assert network.hidden_layers[index].selector.n_busy == size
        network.sort_nodes(index)
        assert network.hidden_layers[index].selector.n_busy < size


@pytest.mark.parametrize("n_examples, fewest", [(400, 1), (1900, 1), (2100, 2), (111_000, 56)])
def test_nodes_that_hardly_any_example_visits_are_left_out(n_examples, fewest):
    """One example in 2,000 is enough, and any where there are no more."""
    network = fitted()._network
    visits = network.state["layers"][0]["visits"]
    visits[:] = 0
    visits[5:15] = fewest
    visits[20:30] = fewest - 1
    visits[50:90] = (20 * n_examples - visits.sum()) // 40  # 20 are active on average
    network.sort_nodes(0)
    assert network.hidden_layers[0].selector.n_busy == 50


def test_wide_layers_keep_nodes_that_are_used_as_much_as_most():
    """Where each would have one example in 4,000, a tenth of that counts."""
    estimator = quick((4000,), active_fraction=1, max_iter=1, hash_search="scan").fit(X, Y)
    network = estimator._network
    visits = network.state["layers"][0]["visits"]
    visits[:] = np.repeat([0, 10, 100, 1000], 1000)
    network.sort_nodes(0)
    assert network.hidden_layers[0].selector.n_busy == 2000
    visits[:] = np.repeat([0, 100, 100, 100], 1000)
    network.sort_nodes(0)
    assert network.hidden_layers[0].selector.n_busy == 3000


def test_no_fewer_nodes_take_part_than_are_to_be_active():
    network = fitted()._network
    network.state["layers"][0]["visits"][:] = 0
    network.sort_nodes(0)
    assert network.hidden_layers[0].selector.n_busy == network.settings.most_active(0) == 30


def test_all_nodes_have_their_chance_between_two_sortings():
    network = fitted(max_iter=1)._network
    rehasher, clock = Rehasher(network, network.engine.workspaces(1)), network.state["rehash"]
    clock["look_at"] = [10**9] * 2
    steps = []
    for _ in range(6):
        network.state["n_seen"] = seen = clock["sort_at"]
        network.state["layers"][1]["visits"][40:] = 0
        rehasher.run(as_rows(X), np.arange(len(X)))
        selector = network.hidden_layers[1].selector
        steps.append((clock["only_busy"], clock["sort_at"] - seen, selector.n_busy < 90))
    assert [busy for busy, _, _ in steps] == [True, False] * 3
    assert [gap for _, gap, _ in steps] == [2048, 512, 4608, 1152, 10368, 2592]
    assert all(left_out == busy for busy, _, left_out in steps)
