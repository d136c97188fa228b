"""Passes as many workers would make them, simulated in one thread, against NumPy."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from problems import digits, quick, same_model
from test_cells import assert_cells_follow_weights
from test_gradients import twin
from test_hashing import assert_codes_follow_weights, assert_sketches_follow_weights

from sklearn_lsh import LSHMLPClassifier
from sklearn_lsh.core.optimizers import SOLVERS
from sklearn_lsh.core.selection import SELECTIONS

X, Y = digits()
RATES = {"rowwise_adagrad": 0.2, "adagrad": 0.02, "sgd": 0.05}


@pytest.fixture
def simulate(monkeypatch):
    """Makes estimators train as n workers with batches would."""
    ordinary = LSHMLPClassifier._options

    def start(n_workers, batch=1):
        monkeypatch.setattr(
            LSHMLPClassifier, "_options",
            lambda self: replace(ordinary(self), n_simulated=n_workers, simulated_batch=batch),
        )

    return start


def small(solver="sgd", **params):
    """A fitted network of 9 and 8 nodes, all active, that keeps to the order of its rows."""
    params = {"activation": "tanh", "max_iter": 1, "alpha": 0.05, **params}
    estimator = quick(
        (9, 8), selection="all", shuffle=False, solver=solver, learning_rate_init=RATES[solver],
        **params,
    )
    return estimator.fit(X, Y)


@pytest.fixture
def at_once(monkeypatch):
    """A pass is one call into the engine, whatever the machine's pace."""
    monkeypatch.setattr("sklearn_lsh._pace.Pace.__init__", lambda self: setattr(self, "size", 999))


def examples(order, widths=(9, 8)):
    everyone = [np.arange(n) for n in widths]
    return [(X[i].astype(np.float32), [Y[i]], everyone) for i in order]


def assert_same_weights(estimator, oracle, start):
    for layer, w, b, w0 in zip(
        oracle.layers, estimator.coefs_, estimator.intercepts_, start, strict=True
    ):
        atol = 1e-3 * np.abs(layer.w.T - w0).max()
        assert_allclose(w.T, layer.w, rtol=2e-4, atol=atol)
        assert_allclose(b, layer.b, rtol=2e-4, atol=atol)


# ---- one worker ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        *({"solver": solver} for solver in SOLVERS),
        *({"selection": selection} for selection in SELECTIONS),
        *({"hash_search": search, "alpha": 0.01} for search in ("scan", "cells", "tables")),
    ],
    ids=str,
)
def test_one_worker_with_one_example_is_ordinary_training(simulate, params):
    """In every bit: its update is applied before the next gradient is computed."""
    ordinary = quick((120, 90), max_iter=2, **params).fit(X, Y)
    simulate(1)
    assert same_model(quick((120, 90), max_iter=2, **params).fit(X, Y), ordinary)


# ---- many workers --------------------------------------------------------------------------


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("n_workers, batch", [(1, 1), (2, 1), (5, 1), (1, 4), (3, 2), (40, 3)])
@pytest.mark.parametrize("n_examples", [1, 7, 60])
@pytest.mark.parametrize("solver", SOLVERS)
def test_workers_use_the_weights_of_their_turn(simulate, solver, n_examples, n_workers, batch):
    """Gradients are from the weights that a worker found, and applied at its next turn.

    What is left at the end is applied as well: also if no worker came to a second turn.
    """
    estimator = small(solver)
    oracle, start = twin(estimator), [w.copy() for w in estimator.coefs_]
    order = np.random.default_rng(1).permutation(len(X))[:n_examples]
    simulate(n_workers, batch)
    estimator.partial_fit(X[order], Y[order])
    oracle.train_delayed(examples(order), n_workers, batch)
    assert_same_weights(estimator, oracle, start)


@pytest.mark.usefixtures("at_once")
def test_the_order_of_turns_matters(simulate):
    """What the test above compares does depend on the number of workers and their batches."""
    found = []
    for n_workers, batch in [(1, 1), (2, 1), (1, 2), (4, 1), (2, 2), (60, 1)]:
        estimator = small()
        simulate(n_workers, batch)
        found.append(estimator.partial_fit(X[:60], Y[:60]).coefs_[0].tobytes())
    assert len(set(found)) == len(found)


@pytest.mark.usefixtures("at_once")
def test_with_as_many_workers_as_examples_every_gradient_is_of_the_first_weights(simulate):
    estimator = small(momentum=0, alpha=0)
    start = [w.copy() for w in estimator.coefs_]
    gradients = [twin(estimator).gradients(*example) for example in examples(range(30))]
    simulate(30)
    estimator.partial_fit(X[:30], Y[:30])
    for index, w in enumerate(estimator.coefs_):
        descent = RATES["sgd"] * sum(found[index][0] for found in gradients)
        assert_allclose(start[index] - w, descent.T, atol=1e-4 * np.abs(descent).max())


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("search", ["scan", "cells", "tables"])
def test_late_updates_move_the_sketches_too(simulate, search, solver):
    simulate(3, 2)
    rate = RATES[solver] / 2  # six examples at once want smaller steps
    estimator = quick((120,), hash_search=search, solver=solver, learning_rate_init=rate)
    estimator.set_params(alpha=0.01).fit(X, Y)
    assert_sketches_follow_weights(estimator)
    if search == "cells":
        assert_cells_follow_weights(estimator)
    elif search == "tables":
        assert_codes_follow_weights(estimator)
    assert estimator.score(X, Y) > 0.7


def test_pace_does_not_decide_who_waits_for_whom(simulate, monkeypatch):
    """Where a pass is cut for Ctrl-C no worker may be made to catch up."""
    simulate(8)
    models = []
    for seconds in (0, 1e9):
        monkeypatch.setattr("sklearn_lsh._pace.CALL_SECONDS", seconds)
        models.append(quick(hash_search="scan", max_iter=2).fit(X, Y))
    assert same_model(*models)
