"""Cells of sketches against NumPy: how they are drawn, who belongs where, what a query visits."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from problems import digits, quick
from test_hashing import assert_sketches_follow_weights, build, hashed, sketches_of

from sklearn_lsh._calibration import partition
from sklearn_lsh._rehash import Rehasher
from sklearn_lsh.core import kernels
from sklearn_lsh.core.cells import Cells, Centroids, cell_scores
from sklearn_lsh.core.hashing import HASH_FAMILIES
from sklearn_lsh.core.lsh import RANKINGS
from sklearn_lsh.core.optimizers import SOLVERS
from sklearn_lsh.inspection import active_set_recall

X, Y = digits()


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def clustered(n, dim, spread=0.02):
    """n vectors around twelve centres."""
    return normal(0, 12, dim)[np.arange(n) % 12] + spread * normal(1, n, dim)


def assert_nearest(cells, sketches, cell):
    """Each sketch is in the cell of the nearest centroid, where rounding leaves no doubt."""
    distances = reference.cell_distances(cells, sketches)
    clear = np.ones(len(sketches), bool)
    if distances.shape[1] > 1:
        best = np.sort(distances, axis=1)
        clear = best[:, 1] - best[:, 0] > 1e-4 * distances.max()
    assert clear.mean() > 0.95
    assert_array_equal(cell[clear], distances.argmin(axis=1)[clear])


def assert_cells_follow_weights(estimator, index=0):
    """Nodes are found where they are filed: in the nearest cell, one whose queries reach them, or
    among a few strays. Their sketches are those of the weights."""
    _, hashing, _ = hashed(estimator, index)
    assert hashing["search"] == "cells"
    assert not hashing["dirty"].any()
    assert_sketches_follow_weights(estimator, index)
    assert_slots_hold_the_nodes(hashing["index"])
    cells, cell = hashing["cells"], hashing["index"]["node_codes"][:, 0]
    n_cells = len(cells["spread"])
    filed = cell < n_cells
    assert np.count_nonzero(~filed) <= n_cells
    distances = np.sqrt(reference.cell_distances(cells, sketches_of(hashing)[filed]))
    chosen = np.take_along_axis(distances, cell[filed, None], axis=1)[:, 0]
    reach = cells["spread"][cell[filed]] + cells["far"].max()
    slack = 1e-3 * distances.max(initial=0)
    assert ((chosen <= distances.min(axis=1) + slack) | (chosen <= reach + slack)).all()


def assert_slots_hold_the_nodes(index):
    """Each node has a slot of its cell; those that are taken come first."""
    cell, place = index["node_codes"][:, 0], index["place"]
    assert_array_equal(index["ids"][place], np.arange(len(cell)))
    assert np.count_nonzero(index["ids"] >= 0) == len(cell)
    assert_array_equal(index["count"], np.bincount(cell, minlength=len(index["count"])))
    assert len(index["count"]) == len(index["start"]) - 1
    assert (place >= index["start"][cell]).all()
    assert (place < index["start"][cell] + index["count"][cell]).all()
    assert (index["start"][:-1] + index["count"] <= index["start"][1:]).all()


# ---- drawing cells -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n_nodes, dim, n_cells", [(1, 4, 1), (9, 3, 1), (7, 1, 7), (50, 5, 6), (300, 17, 2)]
)
def test_partition(n_nodes, dim, n_cells):
    sketches = normal(0, n_nodes, dim) + 3
    cells, cell, spent = partition(sketches, n_cells, np.random.default_rng(0))
    assert cells["centroids"].shape == (n_cells, dim)
    assert {name: a.dtype.str for name, a in cells.items() if a.dtype != "<f4"} == {
        "group_start": "<i4"
    }
    assert_nearest(cells, sketches, cell)
    assert_allclose(cells["half_norms"], (cells["centroids"] ** 2).sum(axis=1) / 2, rtol=1e-5)
    for c in range(n_cells):
        away = reference.cell_distances(cells, sketches[cell == c])[:, c]
        expected = np.sqrt(away.mean()) if len(away) else 0
        assert_allclose(cells["spread"][c], expected, rtol=1e-5, atol=1e-5)
    # Filing every node: a group, its cells, the distance from the best. And up to eight steps over
    # 16 nodes a cell.
    step = dim * n_cells * min(n_nodes, 16 * n_cells)
    steps, rest = divmod(spent - dim * (2 + n_cells) * n_nodes, step)
    assert 1 <= steps <= 8
    assert rest == 0


@pytest.mark.parametrize("n_cells, dim", [(64, 3), (200, 16), (431, 5), (1024, 17)])
def test_many_cells_are_in_groups_of_near_ones(n_cells, dim):
    """Where a sketch belongs is decided by the nearest groups, hardly ever otherwise by all."""
    sketches = normal(1, 12, dim)[np.arange(3000) % 12] + normal(0, 3000, dim)
    cells, cell, spent = partition(sketches, n_cells, np.random.default_rng(0))
    start = cells["group_start"]
    assert len(cells["groups"]) == n_cells // 32 == len(start) - 1
    assert start[0] == 0 and start[-1] == n_cells and (np.diff(start) >= 0).all()
    for g in np.flatnonzero(np.diff(start)):
        mine = cells["centroids"][start[g] : start[g + 1]]
        assert_allclose(mine.mean(axis=0), cells["groups"][g], atol=0.5)
    exact = reference.cell_distances(cells, sketches)
    twin = reference.nearest_cells(cells, sketches)
    chosen, best = (exact[np.arange(3000), c] for c in (cell, twin))
    close = np.abs(chosen - best) < 1e-4 * exact.max()
    assert close.mean() > 0.999  # a group as near as the fourth may take its place
    assert np.mean(cell == exact.argmin(axis=1)) > (0.95 if n_cells > 128 else 0.999)
    assert chosen.sum() < 1.03 * exact.min(axis=1).sum()


def test_partition_of_many_rows_is_of_the_longest():
    """Short rows win nothing: they may not draw the centroids towards themselves."""
    short, far = 0.01 * normal(0, 2000, 3), clustered(16, 3)
    cells, cell, _ = partition(np.vstack([short, far]), 1, np.random.default_rng(0))
    assert (cell == 0).all()
    assert_allclose(cells["centroids"][0], far.mean(axis=0), atol=0.05)


def test_clusters_become_cells():
    sketches = clustered(600, 5)
    cells, cell, _ = partition(sketches, 32, np.random.default_rng(0))
    assert all(len(set(np.arange(600)[cell == c] % 12)) <= 2 for c in range(32))
    assert np.median(cells["spread"]) < 0.1 < sketches.std()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("distinct", [1, 5])
def test_equal_rows_share_their_cell(distinct):
    """Fewer clusters than cells are no reason to alarm anyone: some cells stay empty."""
    sketches = normal(0, distinct, 4)[np.arange(40) % distinct]
    cells, cell, _ = partition(sketches, 16, np.random.default_rng(0))
    assert len(set(cell.tolist())) == distinct
    assert (cell == np.tile(cell[:distinct], 40 // distinct)).all()
    assert_allclose(cells["spread"], 0, atol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("distinct", [1, 2, 7])
def test_no_group_is_empty(distinct):
    """The nearest groups must not all be such: equal rows make equal centroids."""
    sketches = normal(0, distinct, 4)[np.arange(2000) % distinct]
    cells, cell, _ = partition(sketches, 512, np.random.default_rng(0))
    assert (np.diff(cells["group_start"]) > 0).all() and cells["group_start"][-1] == 512
    assert len(cells["groups"]) == len(cells["group_half_norms"]) < 512 // 32
    assert_allclose(cells["centroids"][cell], sketches, atol=1e-4)


@pytest.mark.parametrize("level", kernels.levels())
def test_sketches_that_are_not_finite_belong_somewhere(level):
    before = kernels.level()
    kernels.set_level(level)
    sketches = normal(0, 600, 16)
    cells, _, _ = partition(sketches, 256, np.random.default_rng(0))
    for bad in (np.nan, np.inf, -np.inf, 3e38):
        sketches[::2], sketches[1::4, 3] = bad, bad
        cell, _, _ = Centroids(cells).assign(sketches)
        assert ((cell >= 0) & (cell < 256)).all()
    kernels.set_level(before)


def test_same_generator_same_cells():
    draws = [partition(normal(0, 200, 6), 8, np.random.default_rng(5)) for _ in range(2)]
    assert_array_equal(draws[0][0]["centroids"], draws[1][0]["centroids"])
    assert_array_equal(draws[0][1], draws[1][1])


@pytest.mark.parametrize("by_magnitude", [False, True])
def test_cell_scores(by_magnitude):
    cells, _, _ = partition(normal(0, 80, 6), 9, np.random.default_rng(0))
    queries = normal(1, 20, 6)
    expected = [reference.cell_scores(cells, q, by_magnitude) for q in queries]
    assert_allclose(cell_scores(cells, queries, by_magnitude), expected, rtol=1e-4, atol=1e-5)


# ---- what a query visits -------------------------------------------------------------------

SHAPES = [(1, 5), (2, 3), (3, 1), (40, 7), (333, 20), (500, 40)]


def network_with_cells(n_nodes, n_features, activation="relu", rows=None):
    weights, intercepts = normal(0, n_nodes, n_features), normal(1, n_nodes)
    return build(
        0, normal(2, 50, n_features) if rows is None else rows, weights, intercepts,
        hash_search="cells", hash_family="subspace", hash_ranking="cascade",
        activation=activation,
    )


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("n_nodes, n_features", SHAPES)
def test_retrieve_visits_the_most_promising_cells(n_nodes, n_features, activation):
    network = network_with_cells(n_nodes, n_features, activation)
    hashing = network.state["layers"][0]["hashing"]
    cells, cell = hashing["cells"], hashing["index"]["node_codes"][:, 0]
    n_cells, checked = len(cells["spread"]), 0
    assert n_cells <= n_nodes
    assert_nearest(cells, sketches_of(hashing), cell)
    assert_slots_hold_the_nodes(hashing["index"])
    for n_probes in {1, (n_cells + 1) // 2, n_cells}:
        network.replace_hashing(0, {**hashing, "cells": {**cells, "n_probes": n_probes}})
        for x in normal(3, 20, n_features):
            q = reference.query(hashing["family"], x)
            scores = reference.cell_scores(cells, q, activation == "tanh")
            scores[hashing["index"]["count"][:-1] == 0] = -np.inf
            order = np.argsort(-scores)
            if n_probes < n_cells and -np.diff(scores[order])[n_probes - 1] < 1e-4:
                continue  # rounding may decide
            ids, hits = network.hidden_layers[0].selector.retrieve(x)
            assert_array_equal(ids, np.flatnonzero(np.isin(cell, order[:n_probes])))
            assert (hits == 1).all()
            checked += 1
    assert checked > 15


def test_cells_that_all_have_left_are_not_visited():
    """Their places go to others: with two cells taken, two visits meet every node."""
    network = network_with_cells(333, 20)
    hashing = network.state["layers"][0]["hashing"]
    n_cells = len(hashing["cells"]["spread"])
    for taken in ([3, 17], [0, n_cells - 1]):
        index, sketches = Cells.arranged(
            np.resize(np.int32(taken), 333), n_cells, sketches_of(hashing)
        )
        network.replace_hashing(0, {
            **hashing, "index": index, "sketches": sketches,
            "cells": {**hashing["cells"], "n_probes": 2},
        })
        for x in normal(3, 10, 20):
            assert len(network.hidden_layers[0].selector.retrieve(x)[0]) == 333


def test_opposite_inputs_visit_the_same_cells_by_magnitude():
    """Around a mean of zero: sketches of x and -x differ in sign alone."""
    rows = np.vstack([normal(2, 30, 10), -normal(2, 30, 10)])
    found = {}
    for activation in ("relu", "tanh"):
        network = network_with_cells(300, 10, activation, rows)
        # No intercept's coordinate: it has the same sign for both.
        hashing = network.state["layers"][0]["hashing"]
        hashing["cells"]["centroids"][:, -1] = 0
        network.replace_hashing(0, {**hashing, "cells": {**hashing["cells"], "n_probes": 8}})
        retrieve = network.hidden_layers[0].selector.retrieve
        pairs = [(retrieve(x)[0], retrieve(-x)[0]) for x in normal(4, 20, 10)]
        found[activation] = np.mean([np.array_equal(*pair) for pair in pairs])
    assert found["tanh"] > 0.9
    assert found["relu"] < 0.1


# ---- strays --------------------------------------------------------------------------------


def moved(network, nodes, by):
    """Push nodes away from where they were, and file what moved."""
    network.weights[0][nodes] += by
    Rehasher(network, network.engine.workspaces(1)).rebuild()
    return network.state["layers"][0]["hashing"]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_strays_are_met_by_every_query(activation):
    """Nodes that no cell reaches any more would be missed just when they matter most."""
    network = network_with_cells(333, 20, activation)
    network.state["layers"][0]["hashing"]["cells"]["n_probes"] = 1
    hashing = moved(network, [5, 300], 20 * normal(7, 2, 20))
    n_cells = len(hashing["cells"]["spread"])
    strays = np.flatnonzero(hashing["index"]["node_codes"][:, 0] == n_cells)
    assert {5, 300} <= set(strays.tolist())
    for x in normal(3, 20, 20):
        ids, hits = network.hidden_layers[0].selector.retrieve(x)
        assert np.isin(strays, ids).all()
        assert len(ids) < 333 and (hits == 1).all()
    # Back where they were, they are at home again.
    hashing = moved(network, [5, 300], -20 * normal(7, 2, 20))
    assert not np.isin([5, 300], np.flatnonzero(hashing["index"]["node_codes"] == n_cells)).any()


def test_crowded_cells_get_more_room_but_no_more_than_as_much_again():
    cell, sketches = np.arange(400, dtype=np.int32) % 4, normal(0, 400, 3)
    plain, _ = Cells.arranged(cell, 4, sketches)
    index, _ = Cells.arranged(cell, 4, sketches, crowded=[1] * 3 + [2] * 90)
    more = np.diff(index["start"]) - np.diff(plain["start"])
    assert_array_equal(more, [0, 48, 100, 0, 0])


@pytest.mark.parametrize("spare", [0, 8])
def test_no_more_strays_than_cells_and_those_farthest_away(monkeypatch, spare):
    """If all nodes move, what counts as far does too. Cells that are full get more slots, once too
    many have found them so."""
    monkeypatch.setattr("sklearn_lsh.core.cells.SPARE_SHARE", 0)
    monkeypatch.setattr("sklearn_lsh.core.cells.SPARE_SLOTS", spare)
    network = network_with_cells(500, 20)
    far = network.state["layers"][0]["hashing"]["cells"]["far"].copy()
    hashing = moved(network, np.arange(500), np.exp(normal(8, 500, 1)) * normal(9, 500, 20))
    cells, cell = hashing["cells"], hashing["index"]["node_codes"][:, 0]
    assert_slots_hold_the_nodes(hashing["index"])
    n_cells = len(cells["spread"])
    assert n_cells // 2 <= np.count_nonzero(cell == n_cells) <= n_cells
    assert cells["far"][1] > far[1] and cells["far"][0] == far[0]
    distances = np.sqrt(reference.cell_distances(cells, sketches_of(hashing)))
    beyond = np.min(distances - cells["spread"], axis=1)
    clear = np.abs(beyond / cells["far"][1] - 1) > 1e-3
    nearest = distances.argmin(axis=1)
    at_home = distances[np.arange(500), nearest] <= cells["spread"][nearest] + cells["far"][1]
    count, start = hashing["index"]["count"], hashing["index"]["start"]
    full = (count == np.diff(start))[nearest]
    assert_array_equal((cell < n_cells)[clear & ~full], at_home[clear & ~full])
    assert not (cell < n_cells)[clear & ~at_home].any()


def test_nodes_that_stay_near_are_not_filed_anew():
    """Who is found where it is stays there, though another centroid may be nearer by now."""
    estimator = quick((400,), hash_search="cells").fit(X, Y)
    before = hashed(estimator)[1]["index"]["node_codes"].copy()
    estimator.set_params(learning_rate_init=0.5).partial_fit(X[:64], Y[:64])
    _, hashing, _ = hashed(estimator)
    cell, nearest = hashing["index"]["node_codes"][:, 0], reference.nearest_cells(
        hashing["cells"], sketches_of(hashing)
    )
    stayed = cell == before[:, 0]
    assert 0 < np.count_nonzero(stayed & (cell != nearest)) < np.count_nonzero(stayed)


# ---- in training ---------------------------------------------------------------------------


@pytest.mark.usefixtures("centring")
@pytest.mark.parametrize("solver", SOLVERS)
def test_cells_follow_the_weights(solver):
    """After every way to train: fit, partial_fit, decay, two layers."""
    estimator = quick(
        (120, 90), active_fraction=[20, 10], hash_search="cells", solver=solver, alpha=0.01,
        batch_size=1,
    )
    estimator.fit(X, Y)
    for index in (0, 1):
        assert_cells_follow_weights(estimator, index)
    before = hashed(estimator)[1]["index"]["node_codes"].copy()
    rate = 0.5 if solver == "rowwise_adagrad" else 0.1
    estimator.set_params(learning_rate_init=rate).partial_fit(X[:100], Y[:100])
    for index in (0, 1):
        assert_cells_follow_weights(estimator, index)
    assert (hashed(estimator)[1]["index"]["node_codes"] != before).any()


def test_early_stopping_files_the_nodes_of_the_weights_it_keeps():
    estimator = quick(early_stopping=True, max_iter=30, n_iter_no_change=3, hash_search="cells")
    assert_cells_follow_weights(estimator.fit(X, Y))


@pytest.mark.parametrize("sizes, k", [((400,), 20), ((2100,), 50), ((300, 200), 15)])
def test_few_cells_hold_the_best_nodes(sizes, k):
    estimator = quick(sizes, active_fraction=k, hash_search="cells", max_iter=20).fit(X, Y)
    assert estimator.hash_search_ == ["cells"] * len(sizes)
    assert active_set_recall(estimator, X).min() > 0.9
    _, hashing, selector = hashed(estimator)
    met = [len(selector.retrieve(x)[0]) for x in X[:50].astype(np.float32)]
    assert k <= np.mean(met) < 0.7 * sizes[0]
    # Little of what visiting all cells would find is lost.
    n_cells = len(hashing["cells"]["spread"])
    everywhere = {**hashing, "cells": {**hashing["cells"], "n_probes": n_cells}}
    few = active_set_recall(estimator, X)[0]
    estimator._network.replace_hashing(0, everywhere)
    assert few > active_set_recall(estimator, X)[0] - 0.05


# ---- choosing cells ------------------------------------------------------------------------


@pytest.mark.parametrize("family", HASH_FAMILIES)
@pytest.mark.parametrize("ranking", RANKINGS)
def test_cells_need_sketches_to_rank_by(family, ranking):
    estimator = quick(hash_search="cells", hash_family=family, hash_ranking=ranking, max_iter=1)
    if (family, ranking) == ("subspace", "cascade"):
        assert estimator.fit(X, Y).hash_search_ == ["cells"]
        return
    with pytest.raises(ValueError, match='hash_search="cells" needs'):
        estimator.fit(X, Y)
    with pytest.raises(ValueError, match='hash_search="cells" needs'):
        estimator.partial_fit(X, Y, classes=range(10))
    estimator.set_params(selection="all").fit(X, Y)  # which hashes nothing


@pytest.mark.parametrize(
    "weights, width, chosen",
    [
        (clustered(700, 100), 700, "cells"),
        (clustered(700, 100), 701, "scan"),  # too narrow to be tried
        (normal(0, 700, 300), 700, "scan"),  # no clusters: most cells would have to be visited
    ],
    ids=["clusters", "narrow", "noise"],
)
def test_auto_takes_cells_where_they_cost_less(monkeypatch, weights, width, chosen):
    monkeypatch.setattr("sklearn_lsh._renewal.CELLS_WIDTH", width)
    monkeypatch.setattr("sklearn_lsh._calibration.EXACTNESS_MAY_COST", 0)  # not the question
    network = build(
        0, normal(2, 320, weights.shape[1]), weights, np.zeros(700), hash_search="auto",
        hash_family="subspace", hash_ranking="cascade", n_active=(10,),
    )
    assert network.hash_search == [chosen, "exact"]
    assert ("cells" in network.state["layers"][0]["hashing"]) == (chosen == "cells")


def test_a_layer_that_has_learned_nothing_has_no_clusters(monkeypatch):
    """Before the first example cells are drawn only where they are asked for."""
    monkeypatch.setattr("sklearn_lsh._renewal.CELLS_WIDTH", 1)
    monkeypatch.setattr("sklearn_lsh._renewal.choose_cells", lambda *_: pytest.fail("k-means"))
    assert quick((400,), max_iter=1).fit(X, Y).hash_search_ == ["scan"]
