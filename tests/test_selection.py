"""The contract of every selection, solver, family, ranking, activation and loss.

The registries decide what is tested: a new member is tested without touching this file.
"""

import pickle
from itertools import product

import numpy as np
import pytest
import reference
from numpy.testing import assert_array_equal
from problems import digits, multilabel, quick, same_model

from sklearn_lsh.core.hashing import HASH_FAMILIES
from sklearn_lsh.core.layer import ACTIVATIONS
from sklearn_lsh.core.losses import LOSSES
from sklearn_lsh.core.lsh import RANKINGS
from sklearn_lsh.core.optimizers import SOLVERS
from sklearn_lsh.core.selection import SELECTIONS
from sklearn_lsh.inspection import active_set_recall, active_sets

X, Y = digits(600)
MEMBERS = [
    *({"selection": s} for s in SELECTIONS),
    *({"solver": s, "selection": k} for s, k in product(SOLVERS, ["lsh", "all"])),
    *({"activation": a, "selection": s} for a, s in product(ACTIVATIONS, SELECTIONS)),
    *({"multilabel_loss": m, "selection": s} for m, s in product(LOSSES, ["lsh", "all"])),
    *(
        {"hash_family": f, "hash_ranking": r, "hash_search": s}
        for f, r, s in product(HASH_FAMILIES, RANKINGS, ["tables", "scan"])
    ),
    *({"solver": s, "hash_ranking": "collisions", "hash_search": "tables"} for s in SOLVERS),
    *({"hash_search": "cells", "activation": a} for a in ("relu", "tanh")),
]
SIZES, ACTIVE = (150, 100), [30, 0.2]


def name(member):
    return "-".join(member.values())


def train(member, **params):
    """(estimator, X, y): two hidden layers, trained for a few epochs."""
    x, y = multilabel(600) if "multilabel_loss" in member else (X, Y)
    params = {"active_fraction": ACTIVE, "max_iter": 10, **member, **params}
    return quick(SIZES, **params).fit(x, y), x, y


@pytest.fixture(scope="module", params=MEMBERS, ids=name)
def trained(request):
    return (request.param, *train(request.param))


def test_learns(trained):
    member, estimator, x, y = trained
    assert np.isfinite(estimator.loss_curve_).all()
    assert estimator.loss_ < estimator.loss_curve_[0]
    chance = {1: 0.1, 2: 0.25}[y.ndim]
    assert estimator.score(x, y) > chance + 0.1


def test_active_fraction_is_obeyed(trained):
    member, estimator, x, _ = trained
    everyone = member.get("selection") in ("all", "dropout", "adaptive_dropout")
    bounds = [(30, 30), (20, 20)]
    soft = estimator._network.settings.softens(0)
    if soft:
        bounds[0] = 20, 45
    for found, n, (fewest, most) in zip(active_sets(estimator, x), SIZES, bounds, strict=True):
        n_active = np.asarray(found.sum(axis=1)).ravel()
        assert n_active.min() >= (n if everyone else fewest)
        assert n_active.max() <= (n if everyone else most)
    shares = estimator.history_["active_fraction"]
    if member.get("selection") == "all":
        assert (shares == 1).all()
    elif member.get("selection") == "adaptive_dropout":  # on average
        np.testing.assert_allclose(shares, 0.2, rtol=0.05)
    elif soft:
        assert (shares[:, 0] > 20 / 150).all()  # where fewer are positive, fewer are active
        assert shares[-1, 0] < 0.23
        np.testing.assert_allclose(shares[:, 1], 0.2, rtol=1e-12)
    else:
        np.testing.assert_allclose(shares, 0.2, rtol=1e-12)


def test_same_random_state_same_bits(trained):
    member, estimator, _, _ = trained
    assert same_model(train(member)[0], estimator)
    assert not same_model(train(member, random_state=1)[0], estimator)


def test_predictions_agree_with_probabilities(trained):
    _, estimator, x, y = trained
    probabilities = estimator.predict_proba(x)
    assert probabilities.dtype == np.float64
    assert (probabilities >= 0).all()
    assert (probabilities <= 1).all()
    with np.errstate(divide="ignore"):
        assert_array_equal(estimator.predict_log_proba(x), np.log(probabilities))
    if y.ndim == 1:
        assert_array_equal(estimator.predict(x), estimator.classes_[probabilities.argmax(axis=1)])
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_a_row_is_predicted_alike_in_any_batch(trained):
    _, estimator, x, _ = trained
    batch = estimator.predict_proba(x[:40])
    for i in range(40):
        assert_array_equal(estimator.predict_proba(x[[i]])[0], batch[i])
    assert_array_equal(estimator.predict_proba(x[39::-1])[::-1], batch)
    two_threads = pickle.loads(pickle.dumps(estimator)).set_params(n_jobs=2)
    assert_array_equal(two_threads.predict_proba(x[:40]), batch)


def test_pickle_keeps_every_bit(trained):
    _, estimator, x, y = trained
    again = pickle.loads(pickle.dumps(estimator))
    assert same_model(again, estimator)
    assert_array_equal(again.predict_proba(x), estimator.predict_proba(x))
    twins = [pickle.loads(pickle.dumps(estimator)).partial_fit(x, y) for _ in range(2)]
    assert same_model(*twins)  # and what is learned from there on


def test_tables_are_used_where_asked():
    def found(**params):
        return quick(active_fraction=10, **params).fit(X, Y).hash_search_

    assert found(hash_search="tables") == ["tables"]
    assert found(hash_search="scan") == ["scan"]
    assert found(hash_search="auto", hash_ranking="union") == ["tables"]
    assert found(hidden_layer_sizes=(120, 15)) == ["scan", "exact"]  # 2 k nodes are ranked anyway


def test_winner_take_all_is_exact():
    params = {"selection": "winner_take_all", "active_threshold": "hard"}
    estimator = quick(active_fraction=7, **params).fit(X, Y)
    (found,) = active_sets(estimator, X[:50])
    z = X[:50] @ estimator.coefs_[0] + estimator.intercepts_[0]
    expected = np.array([reference.top_k(row, 7) for row in z])
    assert np.mean(found.indices.reshape(50, 7) == expected) > 0.99  # up to rounding


@pytest.mark.parametrize("activation", ["tanh", "identity"])
def test_signed_activations_are_ranked_by_magnitude(activation):
    estimator = quick(selection="winner_take_all", active_fraction=7, activation=activation)
    (found,) = active_sets(estimator.fit(X, Y), X[:50])
    z = np.abs(X[:50] @ estimator.coefs_[0] + estimator.intercepts_[0])
    expected = np.array([reference.top_k(row, 7) for row in z])
    assert np.mean(found.indices.reshape(50, 7) == expected) > 0.99


def test_default_cascade_finds_the_best_nodes():
    estimator = quick((400,), max_iter=10).fit(X, Y)
    assert active_set_recall(estimator, X)[0] > 0.95


def test_recall_grows_from_union_to_collisions_to_cascade():
    recall = {
        ranking: active_set_recall(
            quick((400,), max_iter=10, hash_ranking=ranking, hash_search="tables").fit(X, Y), X
        )[0]
        for ranking in ("union", "collisions", "cascade")
    }
    assert recall["union"] < recall["collisions"] < recall["cascade"]


@pytest.mark.parametrize("inference", ["auto", "exact", "all"])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_inference(selection, inference):
    """"exact" is the exact top k and "all" every node, however the network was trained."""
    params = {"selection": selection, "active_threshold": "hard"}
    estimator = quick(inference=inference, **params).fit(X, Y)
    (found,) = active_sets(estimator, X[:50])
    width = np.asarray(found.sum(axis=1)).ravel()
    k = 120 if selection == "all" else 20
    if inference == "auto":
        k = k if selection in ("lsh", "winner_take_all") else 120
    assert_array_equal(width, {"auto": k, "exact": k, "all": 120}[inference])
    if inference != "auto":
        assert active_set_recall(estimator, X[:50])[0] == 1


@pytest.mark.parametrize("selection", ["lsh", "winner_take_all"])
def test_soft_outputs_change_little_where_the_active_set_changes(selection):
    """Ten times smaller steps of the input make ten times smaller steps of what is predicted.

    Hard, they do not: it jumps.
    """
    largest = {}
    for threshold in ("soft", "hard"):
        estimator = quick(selection=selection, active_threshold=threshold, inference="exact")
        estimator.fit(X, Y)
        for n in (401, 4001):
            way = np.linspace(0, 1, n)[:, None]
            path = (1 - way) * X[0] + way * X[1]
            steps = np.diff(estimator.predict_proba(path), axis=0)
            largest[threshold, n] = np.abs(steps).max()
        (sets,) = active_sets(estimator, path)
        assert (sets[1:] != sets[:-1]).nnz > 20  # nodes that come or go
    assert largest["soft", 4001] < 0.2 * largest["soft", 401]
    assert largest["hard", 4001] > 0.7 * largest["hard", 401]


@pytest.mark.parametrize(
    ("same", "params"),
    [
        (False, {"selection": "winner_take_all"}),
        (False, {}),
        (True, {"selection": "dropout"}),
        (True, {"selection": "all"}),
        (True, {"hash_ranking": "union"}),
        (True, {"activation": "tanh"}),
        (True, {"active_fraction": 1.0}),
        (True, {"active_fraction": 1.0, "output_active": 4}),
        (True, {"hidden_layer_sizes": (), "output_active": 4}),
        (True, {"hidden_layer_sizes": (120, 100), "active_fraction": (120, 20)}),
        (False, {"hidden_layer_sizes": (120, 100), "active_fraction": (20, 100)}),
    ],
)
def test_the_threshold_is_of_nodes_ranked_by_relu(same, params):
    soft, hard = (
        quick(active_threshold=threshold, **params).fit(X, Y).predict_proba(X)
        for threshold in ("soft", "hard")
    )
    assert same == np.array_equal(soft, hard)


def test_dropout_scales_at_prediction():
    """All nodes, activations scaled by the share that was kept."""
    estimator = quick(selection="dropout").fit(X, Y)
    hidden = np.maximum(X @ estimator.coefs_[0] + estimator.intercepts_[0], 0) * 20 / 120
    logits = hidden @ estimator.coefs_[1] + estimator.intercepts_[1]
    expected = [reference.probabilities(z, "softmax") for z in logits]
    np.testing.assert_allclose(estimator.predict_proba(X), expected, atol=1e-5)


def test_adaptive_dropout_scales_each_node_by_its_chance():
    """The chances sigmoid(z + offset) of an example's nodes add up to the active set."""
    estimator = quick(selection="adaptive_dropout").fit(X, Y)
    z = X[:20] @ estimator.coefs_[0] + estimator.intercepts_[0]
    for row, found in zip(z, estimator.predict_proba(X[:20]), strict=True):
        low, high = -100.0, 100.0
        for _ in range(100):
            offset = (low + high) / 2
            kept = 1 / (1 + np.exp(-(row + offset)))
            low, high = (offset, high) if kept.sum() < 20 else (low, offset)
        logits = (np.maximum(row, 0) * kept) @ estimator.coefs_[1] + estimator.intercepts_[1]
        np.testing.assert_allclose(reference.probabilities(logits, "softmax"), found, atol=1e-4)


def test_dropout_draws_every_node_alike():
    """One-row epochs: which nodes were used is the draw."""
    estimator = quick((40,), active_fraction=10, selection="dropout", activation="tanh")
    used = np.zeros(40)
    estimator.partial_fit(X[:1], Y[:1], classes=range(10))
    for _ in range(400):
        estimator.partial_fit(X[:1], Y[:1])
        used += estimator._network.state["layers"][0]["used"]
    assert used.sum() == 4000
    assert np.abs(used - 100).max() < 4.5 * np.sqrt(400 * 0.25 * 0.75)
