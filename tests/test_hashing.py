"""Sketches and codes against NumPy, and the theorem that the paper stands on."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from problems import digits, quick
from scipy.sparse import csr_array
from scipy.stats import spearmanr

from sklearn_lsh._calibration import choose_cells
from sklearn_lsh._data import as_rows
from sklearn_lsh._network import Network, Settings
from sklearn_lsh._rehash import Rehasher
from sklearn_lsh.core.hashing import HASH_FAMILIES, Probing, probe_templates
from sklearn_lsh.core.optimizers import SOLVERS
from sklearn_lsh.core.subspace import MEMORY, principal_subspace

X, Y = digits()


def build(seed, rows, weights, intercepts, **settings):
    """A network of one hidden layer with these weights and new hash functions."""
    defaults = {
        "n_features": weights.shape[1], "hidden_layer_sizes": (len(weights),), "n_outputs": 1,
        "activation": "relu", "loss": "sigmoid", "selection": "lsh", "n_active": (1,),
        "soft_threshold": False,
        "solver": "sgd", "hash_family": "simple_lsh", "hash_search": "tables",
        "hash_ranking": "union", "hash_bits": (4,), "hash_tables": 5, "hash_probes": 1,
        "by_input": (False, False),
    }
    settings = {**defaults, **settings}
    # The hidden layer's; the output layer is not hashed.
    for name, value in (("hash_search", "exact"), ("n_active", 1), ("hash_bits", 2)):
        one = settings[name]
        settings[name] = (*(one if isinstance(one, tuple) else (one,)), value)
    network = Network.create(Settings(**settings), seed)
    network.weights[0][:] = weights
    network.state["layers"][0]["intercepts"][:] = intercepts
    network.state["n_seen"] = 1  # nothing that only happens before the first example
    rehasher = Rehasher(network, network.engine.workspaces(1))
    rehasher.run(as_rows(rows), np.arange(len(rows)))
    return network


def hashed(estimator, index=0):
    """(arrays of hidden layer ``index``, its hashing arrays, its selector)."""
    arrays = estimator._network.state["layers"][index]
    return arrays, arrays["hashing"], estimator._network.hidden_layers[index].selector


def assert_codes_follow_weights(estimator, index=0):
    """Stored codes are those of the present weights, where rounding leaves no doubt."""
    arrays, hashing, selector = hashed(estimator, index)
    n_bits = estimator._network.settings.hash_bits[index]
    family = hashing["family"]
    margins = reference.row_margins(family, arrays["weights"], arrays["intercepts"])
    stored = hashing["index"]["node_codes"]
    bits = (stored[:, :, None] >> np.arange(n_bits) & 1).reshape(margins.shape)
    clear = np.abs(margins) > 1e-3 * np.abs(margins).mean()
    assert clear.mean() > 0.99
    assert_array_equal(bits[clear], margins[clear] > 0)
    assert not hashing["dirty"].any()


def sketches_of(hashing):
    """In the order of the nodes, however they are arranged."""
    if hashing["search"] == "cells":
        return hashing["sketches"][hashing["index"]["place"]]
    return hashing["sketches"]


def assert_sketches_follow_weights(estimator, index=0):
    """Stored sketches are those of the present weights, up to rounding."""
    arrays, hashing, _ = hashed(estimator, index)
    expected = reference.sketches(hashing["family"], arrays["weights"], arrays["intercepts"])
    assert_allclose(sketches_of(hashing), expected, atol=1e-4 * np.abs(expected).max())


families = pytest.mark.parametrize("family", HASH_FAMILIES)
solvers = pytest.mark.parametrize("solver", SOLVERS)


@pytest.mark.usefixtures("centring")
@solvers
@families
@pytest.mark.parametrize("search", ["tables", "scan"])
def test_codes_follow_the_weights(family, solver, search):
    """After every way to train: fit, partial_fit, decay, two layers."""
    estimator = quick(
        (120, 90), hash_family=family, solver=solver, hash_search=search,
        hash_ranking="collisions", alpha=0.01,
    )
    estimator.fit(X, Y)
    for index in (0, 1):
        assert_codes_follow_weights(estimator, index)
    estimator.partial_fit(X[:33], Y[:33])
    for index in (0, 1):
        assert_codes_follow_weights(estimator, index)


@pytest.mark.usefixtures("centring")
@solvers
@families
def test_sketches_follow_the_weights(family, solver):
    """Where updates are linear they are repeated on the sketch, not recomputed."""
    estimator = quick(hash_family=family, solver=solver, alpha=0.01, hash_search="scan")
    assert_sketches_follow_weights(estimator.fit(X, Y))


def test_early_stopping_rebuilds_the_tables_of_the_weights_it_keeps():
    estimator = quick(early_stopping=True, max_iter=30, n_iter_no_change=3, hash_search="tables")
    assert_codes_follow_weights(estimator.fit(X, Y))


def test_subspace_estimates_activations():
    """q.sketch = w.x + b up to what lies outside the subspace: exact if that is everything."""
    data = X[:, 18:30]
    estimator = quick(hash_search="scan").fit(data, Y)
    arrays, hashing, _ = hashed(estimator)
    family = hashing["family"]
    for x in data[:5]:
        q = reference.sketches(family, x[None], [1.0])[0]
        q = family["query_gain"] * q + family["query_offset"]
        exact = arrays["weights"] @ x + arrays["intercepts"]
        assert_allclose(hashing["sketches"] @ q, exact, atol=1e-3 * np.abs(exact).max())


def test_norm_coordinate_never_fails_for_rows_that_outgrow_the_bound():
    estimator = quick(hash_family="simple_lsh", hash_search="tables").fit(X, Y)
    estimator._network.state["layers"][0]["weights"][3] *= 1000
    estimator.partial_fit(X[:5], Y[:5])
    _, hashing, _ = hashed(estimator)
    assert (hashing["index"]["node_codes"] >= 0).all()
    assert np.isfinite(estimator.predict_proba(X)).all()


@pytest.mark.parametrize("n_bits", [1, 2, 3, 5])
def test_directed_probes_are_the_cheapest_sets(n_bits):
    rng = np.random.default_rng(n_bits)
    weights = rng.standard_normal((300, 20)).astype(np.float32)
    rows = rng.standard_normal((50, 20)).astype(np.float32)
    n_probes = min(6, 2**n_bits)
    network = build(
        0, rows, weights, np.zeros(300), hash_ranking="cascade", hash_family="subspace",
        hash_bits=(n_bits,), hash_probes=n_probes,
    )
    hashing, selector = network.state["layers"][0]["hashing"], network.hidden_layers[0].selector
    tables = reference.buckets(hashing["index"]["node_codes"])
    assert hashing["index"]["count"].max() <= 16 * 300 / 2**n_bits  # no bucket is sampled
    for x in rows[:10]:
        margins = reference.query_margins(hashing["family"], x)
        probes = reference.probe_codes(margins, n_bits, n_probes)
        expected = reference.collisions(tables, probes)
        ids, hits = selector.retrieve(x)
        assert dict(zip(ids.tolist(), hits.tolist(), strict=True)) == expected


@pytest.mark.parametrize("both_signs", [False, True])
def test_no_more_probes_than_there_are_templates(both_signs):
    """Of many bits only some are ever flipped."""
    probing = Probing(13, 2, 5000, True, both_signs)
    assert probing.n_probes == len(probe_templates(13, 5000, True)) == 4096
    assert probing.n_codes == 4096 * (1 + both_signs)


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("n_bits", [1, 3, 6, 16])
def test_probe_templates_are_distinct_and_start_at_home(n_bits, directed):
    wanted = min(50, 2**n_bits)
    found = probe_templates(n_bits, wanted, directed)
    assert len(set(found.tolist())) == wanted
    assert found[0] == 0
    assert (found < 2**n_bits).all()
    if not directed:  # near buckets first
        assert (np.diff([bin(f).count("1") for f in found]) >= 0).all()


def test_random_probes_differ_by_few_bits():
    """The paper's multi-probe: the bucket itself, then K buckets one bit away."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((400, 20)).astype(np.float32)
    rows = rng.standard_normal((20, 20)).astype(np.float32)
    network = build(0, rows, weights, np.zeros(400), hash_tables=1, hash_probes=5)
    hashing, selector = network.state["layers"][0]["hashing"], network.hidden_layers[0].selector
    node_codes = hashing["index"]["node_codes"][:, 0]
    for x in rows:
        home = reference.codes(reference.query_margins(hashing["family"], x), 4)[0]
        away = [bin(code ^ home).count("1") for code in node_codes]
        ids, _ = selector.retrieve(x)
        assert set(ids.tolist()) == {j for j, d in enumerate(away) if d <= 1}


@pytest.mark.parametrize(
    "n_bits, n_tables, search", [(1, 1, "tables"), (4, 5, "tables"), (6, 3, "scan")]
)
def test_retrieval_theorem(n_bits, n_tables, search):
    """Over draws of the hash functions, P(retrieved) = 1 - (1 - p^K)^L, p = 1 - angle / pi.

    Where buckets are longer than tables allow (K = 6 here), the scan has them whole.
    """
    rng = np.random.default_rng(0)
    n_draws, n_nodes = 600, 150
    weights = rng.standard_normal((n_nodes, 8)).astype(np.float32)
    weights *= rng.uniform(0.1, 1, (n_nodes, 1)).astype(np.float32)
    intercepts = rng.standard_normal(n_nodes).astype(np.float32)
    x = rng.standard_normal(8).astype(np.float32)
    met = np.zeros(n_nodes)
    for seed in range(n_draws):
        network = build(
            seed, x[None], weights, intercepts, hash_bits=(n_bits,), hash_tables=n_tables,
            hash_search=search,
        )
        ids, _ = network.hidden_layers[0].selector.retrieve(x)
        met[ids] += 1
    p = reference.retrieval_probability(x, weights, intercepts, n_bits, n_tables)
    z = (met - n_draws * p) / np.sqrt(n_draws * p * (1 - p))
    assert np.abs(z).max() < 4.5
    assert 0.4 < np.mean(z**2) < 2
    # Larger inner products are met more often: exactly in p, up to noise in the counts.
    product = weights @ x + intercepts
    assert (np.diff(p[np.argsort(product)]) > -1e-12).all()
    assert spearmanr(product, met).statistic > 0.9


# ---- the subspace --------------------------------------------------------------------------


def spectrum(n, n_features, density, offset):
    """Rows whose variances fall off, by factors of 1.5."""
    rng = np.random.default_rng(0)
    sample = rng.standard_normal((n, n_features)) * 1.5 ** -np.arange(n_features) + offset
    return (sample * (rng.random(sample.shape) < density)).astype(np.float32)


SPECTRA = [
    (256, 30, 1, 3), (256, 30, 0.1, 0), (1, 1, 1, 0), (40, 90, 1, 0), (40, 90, 1, 1000),
    (40, 90, 0.2, 0), (40, 40, 0.2, 3), (33, 500, 0.02, 0),
]


@pytest.mark.parametrize("n, n_features, density, offset", SPECTRA)
def test_principal_directions_are_those_of_the_covariance(n, n_features, density, offset):
    """Dense and sparse, with fewer and more features than rows, near zero and far from it."""
    rng = np.random.default_rng(0)
    sample, rank = spectrum(n, n_features, density, offset), min(4, n_features)
    mean, directions, variances, seen, spent = principal_subspace(csr_array(sample), rank, rng)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(sample.T.astype(float), bias=True)))
    assert_allclose(mean, sample.mean(axis=0, dtype=float), rtol=1e-6, atol=1e-5)
    assert_allclose(directions.T @ directions, np.eye(rank), atol=1e-5)
    assert_allclose(variances, values[::-1][:rank], rtol=0.02, atol=1e-12)
    assert np.linalg.norm(vectors[:, -3:].T @ directions) > 0.99 * np.sqrt(min(3, rank))
    assert seen == n
    assert spent > 0


@pytest.mark.parametrize("n, n_features, density, offset", SPECTRA)
def test_earlier_directions_count_as_rows(n, n_features, density, offset):
    """The same rows twice are the rows; earlier ones weigh no more than MEMORY."""
    rng = np.random.default_rng(0)
    sample, rank = csr_array(spectrum(n, n_features, density, offset)), min(n_features, 20)
    once = principal_subspace(sample, rank, rng)
    twice = principal_subspace(sample, rank, rng, once[:4])
    assert twice[3] == 2 * n
    assert_allclose(twice[0], once[0], rtol=1e-12)
    assert_allclose(twice[2][:3], once[2][:3], rtol=0.02, atol=1e-12)
    shifted = principal_subspace(sample, rank, rng, (once[0] + 1, *once[1:3], 10**9))
    share = n / (n + MEMORY)
    assert_allclose(shifted[0], once[0] + 1 - share, rtol=1e-6, atol=1e-6)
    # The means differ by 1 in every feature: that, too, is variance.
    total = once[2].sum() + share * (1 - share) * n_features
    if rank == n_features:
        assert_allclose(shifted[2].sum(), total, rtol=1e-6)


@pytest.mark.parametrize(
    "sample",
    [np.zeros((20, 9)), np.ones((1, 9)), np.eye(9)[:3], np.full((30, 9), 0.1),
     np.full((4, 9), 7.7)],
)
def test_too_little_data_is_filled_up_with_random_directions(sample):
    found = principal_subspace(csr_array(sample.astype(np.float32)), 5, np.random.default_rng(0))
    assert found[1].shape == (9, 5)
    assert_allclose(found[1].T @ found[1], np.eye(5), atol=1e-6)
    assert_allclose(found[2].sum(), np.var(sample, axis=0).sum(), rtol=1e-6, atol=1e-8)


def test_samples_add_up():
    """Two halves give the mean and nearly the directions of the whole."""
    rng = np.random.default_rng(0)
    data = (rng.standard_normal((256, 40)) * 1.5 ** -np.arange(40)).astype(np.float32)
    data = csr_array(data)
    first = principal_subspace(data[:128], 5, rng)
    mean, directions, variances, seen, _ = principal_subspace(data[128:], 5, rng, first[:4])
    whole = principal_subspace(data, 5, rng)
    assert seen == 256
    assert_allclose(mean, whole[0], atol=1e-5)
    assert_allclose(variances[:3], whole[2][:3], rtol=0.05)
    assert np.linalg.norm(directions[:, :3].T @ whole[1]) > 0.98 * np.sqrt(3)


@pytest.mark.parametrize(
    "params, exact",
    [({"solver": "sgd", "momentum": 0}, True), ({"solver": "sgd"}, False),
     ({"solver": "rowwise_adagrad", "alpha": 0.01}, True)],
)
def test_linear_is_what_the_rates_make_it(params, exact):
    """Plain gradient descent is linear, with momentum it is not; sketches are right anyway."""
    X, y = digits(300)  # no renewal but the first
    estimator = quick(max_iter=1, hash_search="scan", **params).fit(X, y)
    optimizer = estimator._network.engine.layers[0].optimizer
    assert optimizer.linear == exact
    assert_sketches_follow_weights(estimator)


@pytest.mark.usefixtures("centring")
@solvers
@pytest.mark.parametrize("alpha", [0, 0.1])
def test_renewals_lose_nothing_of_the_training(monkeypatch, alpha, solver):
    """They build the layers anew, also where lazy changes wait to be folded in.

    Where "auto" computes every activation, the oracle is the selection that hashes nothing.
    """
    for gap in ("SHORTEST_GAP", "LONGEST_GAP"):
        monkeypatch.setattr(f"sklearn_lsh._rehash.{gap}", 70)
    monkeypatch.setattr("sklearn_lsh._renewal.CELLS_WIDTH", 100)
    params = {"active_fraction": 0.9, "solver": solver, "alpha": alpha, "max_iter": 2}
    auto = quick((120, 90), hash_search="auto", **params).fit(X, Y)
    exact = quick((120, 90), selection="winner_take_all", **params).fit(X, Y)
    assert auto.hash_search_ == ["exact", "exact"]
    # What is lazy and folded in earlier is rounded otherwise.
    lazy = alpha or SOLVERS[solver].centres_lazily
    for one, other in zip(auto.coefs_, exact.coefs_, strict=True):
        assert_allclose(one, other, rtol=0, atol=1e-2 * np.abs(other).max() if lazy else 0)


@pytest.mark.usefixtures("lazy_mean")  # which "adagrad" cannot: no activation is exact at first
@pytest.mark.parametrize("cost, chosen", [(0, "cells"), (np.inf, "scan")])
def test_auto_search_takes_what_costs_less(monkeypatch, cost, chosen):
    def priced(*args):
        cells, cell, _, spent = choose_cells(*args)
        return cells, cell, cost, spent

    monkeypatch.setattr("sklearn_lsh._renewal.choose_cells", priced)
    monkeypatch.setattr("sklearn_lsh._renewal.CELLS_WIDTH", 100)
    monkeypatch.setattr(Rehasher, "_has_drifted", lambda *_: True)  # choose at every look
    # Trying cells costs something, which must not put off the next look.
    monkeypatch.setattr("sklearn_lsh._rehash.BUDGET", np.inf)
    auto, asked = (quick(solver="adagrad", hash_search=s).fit(X, Y) for s in ("auto", chosen))
    assert auto.hash_search_ == [chosen]
    assert auto.score(X, Y) > 0.8
    if chosen == "scan":  # cells are drawn a renewal later than where they were asked for
        for one, other in zip(auto.coefs_, asked.coefs_, strict=True):
            assert_array_equal(one, other)
