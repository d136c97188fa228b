"""Buckets against the exhaustive scan and against dicts of sets."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_array_equal
from problems import digits, quick
from test_hashing import build, hashed

from sklearn_lsh.core.hashing import HASH_FAMILIES
from sklearn_lsh.core.lsh import RANKINGS

X, Y = digits()


def assert_lists_hold_the_codes(arrays):
    """Each table's linked lists hold each node once, in the bucket of its code."""
    node_codes = arrays["node_codes"]
    for t, table in enumerate(reference.buckets(node_codes)):
        after, before = arrays["after"][t], arrays["before"][t]
        for code, first in enumerate(arrays["head"][t]):
            found, previous, node = [], -1, first
            while node >= 0 and len(found) <= len(node_codes):
                assert before[node] == previous
                found.append(int(node))
                previous, node = node, after[node]
            assert len(found) == arrays["count"][t, code]
            assert sorted(found) == sorted(table.get(code, ()))


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("family", HASH_FAMILIES)
def test_lists_after_fit_and_partial_fit(family, ranking):
    estimator = quick(
        (120, 90), hash_family=family, hash_ranking=ranking, hash_search="tables", hash_tables=7
    )
    estimator.fit(X, Y)
    before = [hashed(estimator, index)[1]["index"]["node_codes"].copy() for index in (0, 1)]
    estimator.partial_fit(X, Y)
    for index in (0, 1):
        arrays = hashed(estimator, index)[1]["index"]
        assert (arrays["node_codes"] != before[index]).any()
        assert_lists_hold_the_codes(arrays)


@pytest.mark.parametrize("n_probes", [1, 4, 16])
@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("family", HASH_FAMILIES)
def test_tables_and_scan_retrieve_the_same(family, ranking, n_probes):
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((300, 20)).astype(np.float32)
    intercepts = rng.standard_normal(300).astype(np.float32)
    rows = rng.standard_normal((50, 20)).astype(np.float32)
    settings = {
        "hash_family": family, "hash_bits": (4,), "hash_tables": 6, "hash_probes": n_probes,
        "hash_ranking": ranking,
    }
    tables, scan = (
        build(0, rows, weights, intercepts, **settings, hash_search=search)
        for search in ("tables", "scan")
    )
    with_scan = RANKINGS[ranking]().needs_codes
    dicts = reference.buckets(tables.state["layers"][0]["hashing"]["index"]["node_codes"])
    for x in rows:
        ids, hits = tables.hidden_layers[0].selector.retrieve(x)
        assert (np.diff(ids) > 0).all()
        assert (hits > 0).all()
        if with_scan:
            for a, b in zip((ids, hits), scan.hidden_layers[0].selector.retrieve(x), strict=True):
                assert_array_equal(a, b)
        if n_probes == 1:
            family_arrays = tables.state["layers"][0]["hashing"]["family"]
            codes = reference.codes(reference.query_margins(family_arrays, x), 4)
            expected = reference.collisions(dicts, codes[:, None])
            assert dict(zip(ids.tolist(), hits.tolist(), strict=True)) == expected
        if n_probes == 16:  # every bucket of every table
            assert_array_equal(ids, np.arange(300))
            assert (hits == 6).all()


def test_magnitude_looks_up_both_signs():
    """The most negative rows are found through the negated query."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((300, 20)).astype(np.float32)
    rows = rng.standard_normal((50, 20)).astype(np.float32)
    network = build(0, rows, weights, np.zeros(300), activation="tanh")
    hashing, selector = network.state["layers"][0]["hashing"], network.hidden_layers[0].selector
    dicts = reference.buckets(hashing["index"]["node_codes"])
    for x in rows:
        codes = reference.codes(reference.query_margins(hashing["family"], x), 4)
        expected = reference.collisions(dicts, np.column_stack([codes, codes ^ 15]))
        ids, hits = selector.retrieve(x)
        assert dict(zip(ids.tolist(), hits.tolist(), strict=True)) == expected


def test_crowded_buckets_are_sampled():
    """Equal rows share one bucket of each table: it yields 16 fair shares and no more."""
    rng = np.random.default_rng(0)
    weights = np.ones((400, 20), np.float32)
    rows = rng.random((50, 20)).astype(np.float32)
    n_bits, n_tables = 8, 1
    network = build(0, rows, weights, np.zeros(400), hash_bits=(n_bits,), hash_tables=n_tables,
                    hash_probes=2**n_bits)
    ids, hits = network.hidden_layers[0].selector.retrieve(rows[0])
    assert len(ids) == 16 * 400 // 2**n_bits
    assert (hits == 1).all()


def test_tables_and_scan_predict_alike():
    """Ties aside, where candidates come from does not change what is learned."""
    scores = [
        quick(hash_search=search, hash_ranking="collisions", max_iter=10).fit(X, Y).score(X, Y)
        for search in ("tables", "scan")
    ]
    assert min(scores) > 0.8
    assert abs(scores[0] - scores[1]) < 0.1
