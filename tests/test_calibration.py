"""What is chosen by measurement, against exhaustive searches for the cheapest that does."""

from types import SimpleNamespace

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from sklearn_lsh._calibration import (
    CELL_LOSS,
    GATHER,
    GATHER_FAR,
    LONGEST_LIST,
    LONGEST_SHARE,
    NOTICEABLE,
    RECALL,
    TABLE_RECALL,
    VISITED,
    Sample,
    Sketching,
    choose_cells,
    choose_probes,
    choose_sketching,
    count_cells,
    ranks,
    scattered,
    share,
)
from sklearn_lsh.core.hashing import MOST_PROBES, Subspace
from sklearn_lsh.core.threshold import Threshold

FLAT = np.ones(100)
CONCENTRATED = 0.5 ** np.arange(100)


class Judged(SimpleNamespace):
    """What a sample asks of a selector."""

    def __init__(self, n_judged, by_magnitude=False, threshold=None):
        super().__init__(n_judged=n_judged, by_magnitude=by_magnitude, threshold=threshold)


class Problem:
    """Inputs whose coordinates are their principal directions, and random nodes.

    Products of the first d coordinates (the intercept's leads) are what sketches of length d
    estimate activations by.
    """

    def __init__(
        self, spectrum=FLAT, n_rows=40, n_nodes=300, n_active=20, by_magnitude=False, seed=0,
        threshold=None,
    ):
        rng = np.random.default_rng(seed)
        inputs = rng.standard_normal((n_rows, len(spectrum))) * spectrum
        self.inputs = inputs.astype(np.float32)
        self.weights = rng.standard_normal((n_nodes, len(spectrum))).astype(np.float32)
        self.intercepts = np.full(n_nodes, 0.1, np.float32)
        self.queries = np.column_stack([np.ones(n_rows), self.inputs[:, :63]]).astype(np.float32)
        self.rows = np.column_stack([self.intercepts, self.weights[:, :63]])
        self.sample = Sample.of(
            csr_array(self.inputs), self.weights, self.intercepts,
            Judged(n_active, by_magnitude, threshold),
        )

    def choose(self, recall=RECALL, may_be_exact=False, longest=None):
        bounds = max(map(len, self.sample.top)), len(self.rows) if longest is None else longest
        return choose_sketching(
            self.sample, self.queries, self.rows, recall, bounds, may_be_exact
        )

    def recall(self, dim, short_list):
        """The share of the exact top nodes among the best ``short_list`` sketches."""
        found = []
        for q, top in zip(self.queries, self.sample.top, strict=True):
            estimates = self.rows[:, :dim] @ q[:dim]
            estimates = np.abs(estimates) if self.sample.by_magnitude else estimates
            found.append(np.isin(top, reference.top_k(estimates, short_list)).mean())
        return np.mean(found)


# ---- the sample ----------------------------------------------------------------------------


@pytest.mark.parametrize("by_magnitude", [False, True])
def test_sample_holds_the_exact_top_nodes(by_magnitude):
    problem = Problem(by_magnitude=by_magnitude)
    exact = problem.inputs @ problem.weights.T + problem.intercepts
    for row, top in zip(np.abs(exact) if by_magnitude else exact, problem.sample.top, strict=True):
        assert_array_equal(np.sort(top), reference.top_k(row, 20))
    assert problem.sample.spent == exact.size * 100


@pytest.mark.parametrize("value", [0.0, 4.0, 15.0, 1e9])
def test_sample_of_a_soft_layer(value):
    """As many nodes as exceed the threshold, between the bounds."""
    bar = Threshold(np.array([value, 1.0]), 20, 300)
    problem = Problem(threshold=bar)
    exact = problem.inputs @ problem.weights.T + problem.intercepts
    counts = []
    for row, top in zip(exact, problem.sample.top, strict=True):
        counts.append(np.clip(np.sum(row > value), 13, 30))
        assert_array_equal(np.sort(top), reference.top_k(row, counts[-1]))
    assert {0.0: {30}, 1e9: {13}}.get(value, set(counts)) == set(counts)
    assert value != 15.0 or len(set(counts)) > 5
    chosen, _ = problem.choose()
    found = problem.recall(chosen.dim, chosen.short_list)
    assert chosen.short_list >= max(counts) and found > 0.9


@pytest.mark.parametrize("stored, cost", [(10, 10 * GATHER), (50, 50 * GATHER), (60, 100)])
def test_an_activation_costs_what_reading_the_input_costs(stored, cost):
    """Rows with more than half of their features set are read densely."""
    inputs = np.repeat([np.arange(100) < stored], 7, axis=0).astype(np.float32)
    sample = Sample.of(csr_array(inputs), np.ones((5, 100), np.float32), np.zeros(5), Judged(2))
    assert sample.cost == cost


def test_an_activation_costs_more_where_weights_exceed_the_caches(monkeypatch):
    inputs = csr_array(np.eye(100, dtype=np.float32)[:7])
    weights = np.ones((5, 100), np.float32)
    for cache, cost in ((weights.nbytes, GATHER), (weights.nbytes - 1, GATHER_FAR)):
        monkeypatch.setattr("sklearn_lsh._calibration.CACHE", cache)
        assert Sample.of(inputs, weights, np.zeros(5), Judged(2)).cost == cost


@pytest.mark.parametrize("by_magnitude", [False, True])
def test_ranks_count_the_higher_scores(by_magnitude):
    rng = np.random.default_rng(0)
    scores = rng.integers(-4, 5, (30, 12))  # with ties
    top = rng.integers(0, 12, (30, 3))
    sample = Sample(top, by_magnitude, 1.0, 0)
    counted = np.abs(scores) if by_magnitude else scores
    expected = [[np.sum(row > row[j]) for j in js] for row, js in zip(counted, top, strict=True)]
    assert_array_equal(sample.ranks(scores), np.ravel(expected))
    assert_array_equal(ranks(counted, top), np.ravel(expected))


@pytest.mark.parametrize("wanted", [-0.01, 0.0, 0.1, 0.5, 0.975, 1.0])
@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_share_is_the_smallest_value_that_covers_it(n, wanted):
    values = np.sort(np.random.default_rng(n).integers(0, 20, n))
    covering = [v for v in values if np.mean(values <= v) >= wanted]
    assert share(values, wanted) == min(covering)


# ---- sketches and short lists --------------------------------------------------------------


def test_concentrated_inputs_take_the_shortest_sketch():
    chosen, _ = Problem(CONCENTRATED).choose()
    assert chosen.dim == 16
    assert chosen.short_list <= 22


def test_flat_inputs_take_longer_sketches_or_lists():
    narrow, _ = Problem(FLAT[:50]).choose()
    assert narrow.dim > 32
    beyond, _ = Problem(FLAT).choose()  # more directions than the longest sketch has
    assert beyond.short_list > 40


@pytest.mark.parametrize("by_magnitude", [False, True])
@pytest.mark.parametrize("recall", [0.5, RECALL, 1.0])
@pytest.mark.parametrize("decay", [1.0, 0.97, 0.9, 0.7])
def test_nothing_cheaper_reaches_the_recall(decay, recall, by_magnitude):
    """Every sketch length with every short list, of which the cheapest that does is chosen."""
    problem = Problem(decay ** np.arange(100), by_magnitude=by_magnitude)
    chosen, spent = problem.choose(recall)
    limit = LONGEST_LIST * 20
    best = max(problem.recall(dim, limit) for dim in Subspace.lengths)
    wanted = min(recall, best - NOTICEABLE)
    assert problem.recall(chosen.dim, chosen.short_list) >= wanted - 1e-9

    def cost(dim, short_list):
        return 300 * dim + short_list * (GATHER * dim + problem.sample.cost)

    assert chosen.cost == cost(chosen.dim, chosen.short_list)
    assert chosen.cost <= min(
        cost(dim, short_list)
        for dim in Subspace.lengths
        for short_list in range(20, limit + 1, 3)
        if problem.recall(dim, short_list) >= wanted
    )
    assert spent == 40 * 300 * 64


def test_unreachable_recall_is_approached_within_the_longest_list():
    """A hundred flat directions, of which no sketch sees more than 63."""
    problem = Problem(np.append(0.1 * FLAT[:63], FLAT), n_nodes=2000)
    longest = max(LONGEST_LIST * 20, int(LONGEST_SHARE * 2000))
    best = max(problem.recall(dim, longest) for dim in Subspace.lengths)
    assert best < 0.9
    chosen, _ = problem.choose()
    assert problem.recall(chosen.dim, chosen.short_list) >= best - NOTICEABLE - 1e-9
    assert chosen.short_list <= longest
    # Exact answers, if they are allowed, may cost a few times as much.
    assert problem.choose(may_be_exact=True)[0].short_list == 2000


def test_a_list_is_no_longer_than_there_is_room():
    """Of many classes not all are to be listed, whatever recall is wanted."""
    problem = Problem(np.append(0.1 * FLAT[:63], FLAT), n_nodes=2000)
    for longest in (20, 33, 120):
        assert problem.choose(may_be_exact=True, longest=longest)[0].short_list <= longest


def test_exact_activations_only_where_they_may_be_and_cost_less():
    cheap = Problem(FLAT[:14])  # 14 multiplications, fewer than the shortest sketch
    assert cheap.choose(may_be_exact=False)[0].short_list < 300
    assert cheap.choose(may_be_exact=True)[0].short_list == 300
    dear = Problem(CONCENTRATED)
    assert dear.choose(may_be_exact=True)[0] == dear.choose(may_be_exact=False)[0]


@pytest.mark.parametrize(
    "params",
    [
        {"n_rows": 1}, {"n_active": 300}, {"n_nodes": 1, "n_active": 1}, {"spectrum": FLAT[:1]},
        {"spectrum": np.zeros(20)}, {"n_rows": 1, "n_nodes": 2, "n_active": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("may_be_exact", [False, True])
def test_degenerate_samples(params, may_be_exact):
    problem = Problem(**params)
    chosen, _ = problem.choose(may_be_exact=may_be_exact)
    n_nodes, n_active = len(problem.weights), len(problem.sample.top[0])
    assert chosen.dim in (*Subspace.lengths, problem.rows.shape[1])
    assert n_active <= chosen.short_list <= n_nodes
    assert np.isfinite(chosen.cost)


# ---- cells ---------------------------------------------------------------------------------


@pytest.mark.parametrize("by_magnitude", [False, True])
@pytest.mark.parametrize("clusters", [True, False])
def test_as_many_cells_as_the_recall_takes(clusters, by_magnitude):
    """No fewer visits lose little enough of what the short list would hold."""
    problem = Problem(CONCENTRATED, n_nodes=600, by_magnitude=by_magnitude)
    sketches, queries = problem.rows[:, :16].copy(), problem.queries[:, :16]
    if clusters:
        sketches = sketches[np.arange(600) // 40 * 40] + 0.05 * sketches
    problem.rows[:, :16] = sketches
    sketching = Sketching(16, 30, 0.0, problem.sample.ranks(queries @ sketches.T))
    cells, cell, cost, _ = choose_cells(
        problem.sample, queries, sketches, (sketching, RECALL), np.random.default_rng(0)
    )
    n_cells = len(cells["spread"])
    assert n_cells == 64  # the power of two from 2 sqrt(600)

    found, met = {}, {}
    for n_probes in range(1, n_cells + 1):
        kept, listed, visited = 0, 0, 0
        for q, top in zip(queries, problem.sample.top, strict=True):
            estimates = np.abs(sketches @ q) if by_magnitude else sketches @ q
            top = np.intersect1d(top, reference.top_k(estimates, 30))
            scores = reference.cell_scores(cells, q, by_magnitude)
            near = np.isin(cell, np.argsort(-scores)[:n_probes])
            kept, listed, visited = kept + near[top].sum(), listed + len(top), visited + near.sum()
        found[n_probes], met[n_probes] = kept / listed, visited / len(queries)
    to_fill_the_list = int(np.ceil(n_cells * 30 / 600))
    enough = min(n for n, recall in found.items() if recall >= RECALL - CELL_LOSS)
    assert cells["n_probes"] == max(enough, to_fill_the_list)
    assert_allclose(cost, 16 * (n_cells + VISITED * met[cells["n_probes"]]))


@pytest.mark.parametrize("n_nodes, n_cells", [(1, 1), (2, 2), (3, 2), (5, 4), (100, 32)])
def test_number_of_cells(n_nodes, n_cells):
    problem = Problem(n_nodes=n_nodes, n_active=1)
    sketching = Sketching(64, n_nodes, 0.0, np.zeros(len(problem.inputs)))
    cells, cell, cost, spent = choose_cells(
        problem.sample, problem.queries, problem.rows, (sketching, RECALL),
        np.random.default_rng(0),
    )
    assert cells["centroids"].shape == (n_cells, 64)
    assert cells["n_probes"] == n_cells  # the list shall hold every node
    assert len(cell) == n_nodes
    assert (cost, spent) > (0, 0)


@pytest.mark.parametrize("n_nodes", [1, 7, 600])
def test_scattered_cells_hold_as_many_nodes_each(n_nodes):
    sketches = np.random.default_rng(0).standard_normal((n_nodes, 16)).astype(np.float32)
    cells, cell = scattered(sketches, min(n_nodes, 30), np.random.default_rng(0))
    members = np.bincount(cell)
    assert len(members) == len(cells["spread"]) == count_cells(n_nodes)
    assert members.max() - members.min() <= 1
    assert cells["n_probes"] * members.max() >= min(n_nodes, 30)
    assert sorted(map(tuple, cells["centroids"])) == sorted(map(tuple, sketches[: len(members)]))


# ---- probes of tables ----------------------------------------------------------------------


def probes_by_counting(sample, margins, node_codes, n_bits):
    """The fewest probes a table that meet enough of the top nodes, trying each number."""
    tables = reference.buckets(node_codes)
    most = min(MOST_PROBES, 2**n_bits)
    sequences = [reference.probe_codes(m, n_bits, most) for m in margins]
    for n_probes in range(1, most):
        met = 0
        for sequence, top in zip(sequences, sample.top, strict=True):
            probes = sequence[:, :n_probes]
            if sample.by_magnitude:  # the negated input is looked up as well
                probes = np.hstack([probes, probes ^ (2**n_bits - 1)])
            met += len(set(top) & set(reference.collisions(tables, probes)))
        if met >= TABLE_RECALL * sum(map(len, sample.top)):
            return n_probes
    return most


@pytest.mark.parametrize("by_magnitude", [False, True])
@pytest.mark.parametrize("n_bits, n_tables", [(1, 1), (1, 4), (3, 2), (6, 1), (6, 4), (9, 2)])
def test_fewest_probes_that_meet_the_top_nodes(n_bits, n_tables, by_magnitude):
    problem = Problem(CONCENTRATED, n_rows=25, n_active=5, by_magnitude=by_magnitude)
    planes = np.random.default_rng(1).standard_normal((n_bits * n_tables, 64))
    margins = problem.queries @ planes.T
    node_codes = reference.codes(problem.rows @ planes.T, n_bits).astype(np.int32)
    found = choose_probes(problem.sample, margins, node_codes, n_bits)
    assert found == probes_by_counting(problem.sample, margins, node_codes, n_bits)


def test_no_more_probes_than_the_most():
    """Codes that have nothing to do with the inputs are found by chance."""
    problem = Problem(n_rows=5, n_active=5)
    rng = np.random.default_rng(0)
    node_codes = rng.integers(0, 2**12, (300, 1)).astype(np.int32)
    found = choose_probes(problem.sample, rng.standard_normal((5, 12)), node_codes, 12)
    assert found == MOST_PROBES
