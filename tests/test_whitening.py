"""Partial whitening: what it is the same as, what it is chosen by, and what it refuses."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from problems import digits, documents, quick, same_model
from scipy.sparse import csr_array
from test_hashing import assert_codes_follow_weights, assert_sketches_follow_weights
from threadpoolctl import threadpool_limits

from sklearn_lsh._whitening import (
    INTERCEPT,
    RIDGE,
    Reduction,
    choose_whitening,
    extrapolated_errors,
    left_out_error,
    network_kernel,
)
from sklearn_lsh.core.optimizers import SOLVERS

X, Y = digits()


def smooth(n, n_features=40, seed=0):
    """Neighbouring features are nearly equal, and their differences tell whether bits differ."""
    rng = np.random.default_rng(seed)
    drift = rng.standard_normal((n, 4)) @ np.cos(
        np.outer(np.arange(4), np.linspace(0, np.pi, n_features))
    )
    fine = rng.standard_normal((n, n_features))
    bits = rng.integers(2, size=(n, 2))
    fine[:, :2] += 6 * bits - 3
    return 10 * drift + fine, bits[:, 0] ^ bits[:, 1]


def clustered(n, n_features=40, seed=0):
    """Rows whose leading directions tell the classes, in much noise of little variance."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(4, size=n)
    centres = 5 * np.random.default_rng(1).standard_normal((4, 3)) @ np.linalg.qr(
        np.random.default_rng(2).standard_normal((n_features, 3))
    )[0].T
    return centres[classes] + rng.standard_normal((n, n_features)), classes


def whitened(estimator, rows):
    """Rows as the first layer's updates see them."""
    arrays = estimator._network.state["layers"][0]["whitening"]
    return (rows - arrays["mean"]) @ reference.whitening_map(arrays)


# ---- what it is ----------------------------------------------------------------------------


@pytest.mark.parametrize("n_whitened", [3, 20])
@pytest.mark.parametrize("selection", ["all", "winner_take_all"])
@pytest.mark.parametrize("solver", ["rowwise_adagrad", "sgd"])
def test_training_is_that_of_a_network_with_the_whitened_input(solver, selection, n_whitened):
    """The same network, but for rounding, as one that gets rows whitened beforehand."""
    same = {"selection": selection, "solver": solver, "max_iter": 2, "shuffle": False}
    estimator = quick(n_whitened=n_whitened, **same).fit(X, Y)
    beforehand = whitened(estimator, X)
    expected = quick(n_whitened=0, **same).fit(beforehand, Y)
    difference = estimator.predict_proba(X) - expected.predict_proba(beforehand)
    assert np.abs(difference).mean() < 1e-4  # rounding may change a winner
    layer = reference.whitening_map(estimator._network.state["layers"][0]["whitening"])
    assert_allclose(
        np.median(np.abs(estimator.coefs_[0] - layer @ expected.coefs_[0])), 0, atol=1e-4
    )


@pytest.mark.parametrize("n_whitened", [1, 4, 16])
def test_leading_variances_become_those_of_the_next_direction(n_whitened):
    rows, y = smooth(3000)
    estimator = quick(n_whitened=n_whitened, max_iter=1).fit(rows, y)
    before = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    after = np.linalg.eigvalsh(np.cov(whitened(estimator, rows).T))[::-1]
    bound = max(before[n_whitened], before.mean())
    left = np.append(np.minimum(before[:n_whitened], bound), before[n_whitened:])
    gain = before.sum() / left.sum()
    assert_allclose(after.sum(), before.sum(), rtol=0.02)
    assert_allclose(after[0], gain * bound, rtol=0.05)
    assert estimator.n_whitened_ == np.sum(before[:n_whitened] > bound)


@pytest.mark.parametrize("family", ["subspace", "simple_lsh"])
@pytest.mark.parametrize("search", ["scan", "tables"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_sketches_and_codes_follow(solver, search, family):
    ranking = "cascade" if family == "subspace" else "collisions"
    estimator = quick(
        (300,), n_whitened=6, hash_search=search, hash_family=family, hash_ranking=ranking,
        max_iter=3, alpha=0.01, hash_tables=6, solver=solver, momentum=0,
    ).fit(X, Y)
    assert estimator.n_whitened_ == 6
    assert_sketches_follow_weights(estimator)
    if search == "tables":
        estimator._network.fold()
        assert_codes_follow_weights(estimator)


@pytest.mark.parametrize("sizes", [(300,), (200, 150, 100)])
def test_threads_change_nothing(sizes):
    one, three = (quick(sizes, n_whitened=8, n_jobs=n, max_iter=3) for n in (1, 3))
    assert_array_equal(one.fit(X, Y).predict_proba(X), three.fit(X, Y).predict_proba(X))


def test_sparse_rows_are_what_dense_ones_are():
    dense, sparse = (quick(n_whitened=8).fit(rows, Y) for rows in (X, csr_array(X)))
    assert same_model(dense, sparse)


def test_directions_stay_while_training_goes_on():
    estimator = quick(n_whitened=5).partial_fit(X[:100], Y[:100], classes=range(10))
    before = estimator._network.state["layers"][0]["whitening"]["directions"].copy()
    estimator.partial_fit(2 * X[100:], Y[100:])
    assert_array_equal(estimator._network.state["layers"][0]["whitening"]["directions"], before)


# ---- how it is chosen ----------------------------------------------------------------------


def test_chosen_where_leading_directions_say_nothing():
    rows, y = smooth(3000)
    test, truth = smooth(1000, seed=1)
    chosen, none = (quick(n_whitened=n, max_iter=5).fit(rows, y) for n in ("auto", 0))
    assert chosen.n_whitened_ == 4
    assert none.n_whitened_ == 0
    assert chosen.score(test, truth) > none.score(test, truth) + 0.2


def test_not_chosen_where_they_tell_the_classes():
    rows, y = clustered(3000)
    assert quick(max_iter=1).fit(rows, y).n_whitened_ == 0


@pytest.mark.parametrize("n", [40, 511])
def test_few_rows_are_not_asked(n):
    rows, y = smooth(n)
    assert quick(max_iter=1).fit(rows, y).n_whitened_ == 0


def test_what_was_spent_is_counted():
    rows, y = smooth(3000)
    chosen, given = (
        quick(n_whitened=n, max_iter=1).fit(rows, y).history_["multiplications"][0]
        for n in ("auto", 4)
    )
    # Both halves were asked, since the first saw a gain; 4 directions are reduced, of 32.
    spent = 2 * (1024**2 * (40 + 4) + 2 * 1024**3 * 5 // 8)
    dense = 3000 * (2 * 40 * 120 + 3 * 120)
    assert chosen - given == pytest.approx(spent / dense, rel=0.02)


def test_kernel_is_that_of_a_wide_network():
    """Products of the gradients of a network with 200,000 random nodes."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((7, 5))
    rows /= np.sqrt(np.square(rows).sum(axis=1).mean())
    inputs = np.column_stack([rows, np.full(7, np.sqrt(INTERCEPT))])
    nodes, above = rng.standard_normal((200_000, 6)), rng.choice([-1, 1], 200_000)
    z = inputs @ nodes.T
    hidden, open_ = np.maximum(z, 0), (z > 0) * above
    expected = hidden @ hidden.T + (open_ @ open_.T) * (inputs @ inputs.T)
    found = network_kernel(rows @ rows.T)
    assert_allclose(found, expected / len(nodes), atol=0.02)


@pytest.mark.parametrize("n", [1, 2, 17])
def test_error_is_that_of_ridge_regression_without_the_row(n):
    rng = np.random.default_rng(0)
    rows, targets = rng.standard_normal((n, 3)), rng.standard_normal((n, 2))
    kernel = np.exp(-np.square(rows[:, None] - rows).sum(-1))
    expected = 0
    for i in range(n):
        others = np.arange(n) != i
        own = kernel[np.ix_(others, others)]
        weights = np.linalg.solve(own + RIDGE * np.eye(n - 1), targets[others])
        expected += np.square(targets[i] - kernel[i, others] @ weights).sum()
    assert left_out_error(kernel, targets) == pytest.approx(expected)


@pytest.mark.parametrize(("n_rows", "doublings"), [(50, 0), (100, 1), (200, 2), (4000, 4)])
def test_errors_are_extrapolated(n_rows, doublings, monkeypatch):
    """As a power of the number of rows: here errors of halves are 0.8 of those of quarters."""
    def error(kernel, targets):
        return {50: 0.8, 25: 0.5}[len(kernel)]

    monkeypatch.setattr("sklearn_lsh._whitening.left_out_error", error)
    rng = np.random.default_rng(0)
    rows, targets = rng.standard_normal((100, 4)), rng.choice([-1, 1], (100, 1))
    none = Reduction(np.ones(4), 1, 0)
    found, _ = extrapolated_errors(rows, rows, targets, n_rows, [none, none])
    # Nothing is below the error without whitening, so the first half is all that is asked.
    total = np.square((targets - targets.mean())[:50]).sum()
    assert_allclose(found, 2 * [0.8 * 0.8**doublings / total])
    errors = iter([0.8, 0.5, 0.5, 0.6, 0.5, 0.5] * 2)
    monkeypatch.setattr("sklearn_lsh._whitening.left_out_error", lambda *_: next(errors))
    found, _ = extrapolated_errors(rows, rows, targets, n_rows, [none, none])
    total = np.square(targets - targets.mean()).sum()
    assert_allclose(found, [1.6 * 0.8**doublings / total, 1.2 * 0.6**doublings / total])


@pytest.mark.parametrize("n_directions", [0, 1, 3, 9])
def test_no_direction_falls_below_the_mean(n_directions):
    variances = np.array([8.0, 4, 2, 1, 0])
    shares = Reduction(variances, 1.5, n_directions).shares
    bound = max(1.5, variances[n_directions] if n_directions < 5 else 0)
    expected = [1 - bound / v for v in variances[:n_directions] if v > bound]
    assert_allclose(shares, expected, rtol=1e-6)


# ---- odd input -----------------------------------------------------------------------------


@pytest.mark.parametrize("n_whitened", ["auto", 3, 1000])
@pytest.mark.parametrize(
    "change",
    {
        "constant": lambda rows: np.ones_like(rows),
        "few directions": lambda rows: rows[:, :2] @ np.ones((2, 40)),
        "duplicates": lambda rows: rows[np.arange(len(rows)) % 3],
        "huge": lambda rows: 1e8 * rows,
        "tiny": lambda rows: 1e-20 * rows,
        "far from zero": lambda rows: rows + 1e4,
        "one feature": lambda rows: rows[:, :1],
    }.items(),
    ids=lambda pair: pair[0],
)
def test_odd_rows(change, n_whitened):
    rows, y = smooth(600)
    estimator = quick(n_whitened=n_whitened, max_iter=2).fit(change[1](rows), y)
    assert np.isfinite(estimator.predict_proba(change[1](rows))).all()
    assert np.isfinite(estimator.coefs_[0]).all()


@pytest.mark.parametrize("sizes", [(), (50, 40)])
@pytest.mark.parametrize("n_whitened", ["auto", 3])
def test_any_depth_and_target(n_whitened, sizes):
    rows, y = smooth(600)
    estimator = quick(sizes, n_whitened=n_whitened, max_iter=1)
    for labels in (y, y.astype(str), np.column_stack([y, 1 - y, y])):
        estimator.fit(rows, labels).predict(rows)
    asked = n_whitened != "auto" or len(sizes) > 0  # without hidden layers nothing is chosen
    assert estimator.n_whitened_ == ({"auto": 4, 3: 3}[n_whitened] if asked else 0)


def test_sparse_rows_are_refused():
    wide, classes = documents(400)
    thin = X * (X > 0.7)  # an eighth is left
    for rows, y, params in ((wide, classes, {}), (thin, Y, {"solver": "sgd"})):
        assert quick(max_iter=1, **params).fit(rows, y).n_whitened_ == 0
        estimator = quick(n_whitened=4, **params)
        with pytest.raises(ValueError, match="n_whitened=4 needs"):
            estimator.fit(rows, y)
        assert not hasattr(estimator, "classes_")


def test_choice_does_not_depend_on_scale():
    rows, y = smooth(1000)
    for scale in (1e-6, 1e6):
        arrays, _ = choose_whitening(
            csr_array(scale * rows), np.eye(2)[y], 1000, "auto", np.random.default_rng(0)
        )
        assert len(arrays["directions"]) == 4


# ---- without directions: centring of dense input --------------------------------------------


@pytest.mark.parametrize("momentum", [0, 0.5])
@pytest.mark.parametrize("solver", SOLVERS)
def test_dense_input_might_have_been_centred_beforehand(solver, momentum):
    """The same network, but for rounding, as one that gets rows less their mean."""
    same = {"selection": "winner_take_all", "max_iter": 2, "shuffle": False, "n_whitened": 0}
    same |= {"solver": solver, "momentum": momentum}
    rows = X + 0.5
    found = quick(**same).fit(rows, Y)
    mean = found._network.state["layers"][0]["whitening"]["mean"]
    assert_allclose(mean, rows.mean(axis=0), rtol=1e-6)
    expected = quick(**same).fit(rows - mean, Y)
    difference = found.predict_proba(rows) - expected.predict_proba(rows - mean)
    assert np.abs(difference).mean() < 1e-4  # rounding may change a winner


@pytest.mark.parametrize("solver", SOLVERS)
def test_input_far_from_zero_is_learned(solver):
    rows = X + 3
    estimator = quick(solver=solver, n_whitened=0, max_iter=10).fit(rows, Y)
    assert estimator.score(rows, Y) > 0.9


@pytest.mark.usefixtures("lazy_mean")
@pytest.mark.parametrize("solver", ["sgd", "adagrad"])
def test_far_from_zero_is_hard_without(solver):
    """What the test above would find if sparse input were centred by all solvers, too."""
    rows = X + 3
    estimator = quick(solver=solver, n_whitened=0, max_iter=10).fit(rows, Y)
    assert estimator.score(rows, Y) < 0.5


@pytest.mark.parametrize("share, dense", [(0.2, False), (0.3, True)])
def test_what_is_dense(share, dense):
    rng = np.random.default_rng(0)
    rows = rng.uniform(1, 2, (300, 40)) * (rng.uniform(size=(300, 40)) < share)
    layer = quick(max_iter=1).fit(rows, rng.integers(3, size=300))._network.state["layers"][0]
    assert ("whitening" in layer, "mean" in layer) == (dense, not dense)


def test_threads_of_blas_do_not_matter():
    """As in joblib's workers, which have fewer."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((600, 40)) @ rng.standard_normal((40, 784))
    rows += 0.1 * rng.standard_normal(rows.shape)
    labels = rows[:, 0] > 0
    models = []
    for limit in (1, 4):
        with threadpool_limits(limit, user_api="blas"):
            models.append(quick((200,), max_iter=1, n_whitened=32).fit(rows, labels))
    assert models[0].n_whitened_ == 32
    assert same_model(*models)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("selection", ["lsh", "all"])
def test_refused_updates_leave_no_nan(selection):
    """Whitened, one feature of this row is infinite: none of its updates can be applied."""
    rng = np.random.default_rng(0)
    inputs = 3 * rng.standard_normal((600, 3)) @ rng.standard_normal((3, 40)) + 1
    inputs += 0.1 * rng.standard_normal(inputs.shape)
    y = (inputs[:, 0] > 1).astype(int)
    estimator = quick((60,), selection=selection, n_whitened=10)
    estimator.partial_fit(inputs, y, classes=[0, 1])
    huge = inputs[:32].copy()
    huge[5] = np.eye(40)[0] * 3e37
    estimator.partial_fit(huge, y[:32])
    assert all(np.isfinite(w).all() for w in estimator.coefs_)
