"""Batches, threads, and passes as many workers would make them, against NumPy."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import digits, documents, quick, same_model, wide
from sklearn.exceptions import ConvergenceWarning
from test_cells import assert_cells_follow_weights
from test_gradients import twin
from test_hashing import assert_codes_follow_weights, assert_sketches_follow_weights

from sklearn_lsh import LSHMLPClassifier
from sklearn_lsh._data import as_rows
from sklearn_lsh.core.answers import Best, Probabilities
from sklearn_lsh.core.engine import OPENMP
from sklearn_lsh.core.optimizers import SOLVERS
from sklearn_lsh.core.outputs import Targets
from sklearn_lsh.core.selection import SELECTIONS

X, Y = digits()
RATES = {"rowwise_adagrad": 0.2, "adagrad": 0.02, "sgd": 0.05}


@pytest.fixture
def simulate(monkeypatch):
    """Makes estimators train as n workers would."""
    ordinary = LSHMLPClassifier._options

    def start(n_workers):
        monkeypatch.setattr(
            LSHMLPClassifier, "_options",
            lambda self: replace(ordinary(self), n_simulated=n_workers),
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
    monkeypatch.setattr("sklearn_lsh._pace.CALL_SECONDS", 0)
    monkeypatch.setattr(
        "sklearn_lsh._pace.Pace.__init__",
        lambda self, multiple=1: vars(self).update(size=9999, multiple=9999),
    )


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


# ---- batches and threads ---------------------------------------------------------------------

WAYS = [
    *({"solver": solver} for solver in SOLVERS),
    *({"selection": selection} for selection in SELECTIONS),
    *({"hash_search": search, "alpha": 0.01} for search in ("scan", "cells", "tables")),
    {"hash_search": "tables", "hash_ranking": "union", "activation": "tanh"},
]


@pytest.mark.parametrize("batch_size", [1, 7, 32])
@pytest.mark.parametrize("params", WAYS, ids=str)
def test_one_worker_is_ordinary_training(simulate, params, batch_size):
    """In every bit. What one worker does is compared with NumPy below."""
    params = {"max_iter": 2, "batch_size": batch_size, **params}
    ordinary = quick((120, 90), **params).fit(X, Y)
    simulate(1)
    assert same_model(quick((120, 90), **params).fit(X, Y), ordinary)


@pytest.mark.usefixtures("centring")
@pytest.mark.skipif(not OPENMP, reason="built without OpenMP")
@pytest.mark.parametrize("batch_size", [1, 7, 32])
@pytest.mark.parametrize("params", WAYS, ids=str)
def test_the_number_of_threads_changes_no_bit(params, batch_size):
    params = {"max_iter": 2, "batch_size": batch_size, **params}
    one, *others = (quick((120, 90), n_jobs=n, **params).fit(X, Y) for n in (None, 2, 3, 5))
    for other in others:
        other.n_jobs = None
        assert same_model(one, other)
        assert (one.predict_proba(X) == other.predict_proba(X)).all()


@pytest.mark.skipif(not OPENMP, reason="built without OpenMP")
def test_threads_report_the_same_refused_updates():
    """Rows that would overflow are refused, and decay no more than those that were not."""
    huge = X.copy()
    huge[::9] *= 1e25
    params = {"solver": "sgd", "learning_rate_init": 1.0, "alpha": 0.01, "max_iter": 1}
    found = []
    for n_jobs in (None, 2, 3):
        with pytest.warns(ConvergenceWarning, match="of 400 updates would have made") as caught:
            estimator = quick(hash_search="scan", n_jobs=n_jobs, **params).fit(huge, Y)
        found.append((str(caught[0].message), [w.tobytes() for w in estimator.coefs_]))
    assert found[0] == found[1] == found[2]


@pytest.mark.skipif(not OPENMP, reason="built without OpenMP")
@pytest.mark.parametrize("solver", SOLVERS)
def test_without_locks(solver):
    """One thread has no others to disregard; two learn as well, each on its own batches."""
    params = {"solver": solver, "batch_size": 5, "max_iter": 10, "hash_search": "scan"}
    ordered = quick(**params).fit(X, Y)
    alone = quick(lock_free=True, **params).fit(X, Y)
    alone.lock_free = False
    assert same_model(ordered, alone)
    two = quick(lock_free=True, n_jobs=2, **params).fit(X, Y)
    assert two.t_ == ordered.t_
    assert two.score(X, Y) > ordered.score(X, Y) - 0.05


@pytest.mark.usefixtures("centring")
@pytest.mark.parametrize("taken", [[], [3], range(0, 120, 2), range(120)], ids=len)
@pytest.mark.parametrize("solver", SOLVERS)
def test_rows_that_another_thread_is_writing_are_left_out(solver, taken):
    """Weights, intercept and sketch, and none but those."""
    n, taken = 50, np.array(taken, int)
    order = np.random.default_rng(2).permutation(len(X))[:n]
    targets = Targets(np.arange(len(X) + 1), Y.astype(np.int32))
    found = []
    for threads, divided in [(1, "examples"), (2, "batches")]:
        estimator = quick(solver=solver, hash_search="scan", alpha=0.01, max_iter=2).fit(X, Y)
        estimator._network.share(True)
        engine = estimator._network.engine
        first = engine.layers[0]
        before = estimator.coefs_[0].copy(), estimator.intercepts_[0].copy()
        if threads > 1 and first.claimed is not None:
            first.claimed[taken] = 1
        # A batch of all: the second thread has none, and none of its own claims.
        spaces = engine.workspaces(threads, n)
        engine.train(as_rows(X), targets, order, 0, n, 7, spaces, n, divided)
        first.store.fold_all()
        if solver == "rowwise_adagrad":  # those of the others are encoded anew at the pass's end
            assert_sketches_follow_weights(estimator)
        found.append((estimator.coefs_[0], estimator.intercepts_[0]))
    if first.claimed is None:  # not centred
        assert solver != "rowwise_adagrad"
        taken = taken[:0]
    else:
        assert_array_equal(np.flatnonzero(first.claimed), taken)
    free = np.setdiff1d(np.arange(120), taken)
    for was, alone, shared in zip(before, *found, strict=True):
        assert_array_equal(shared[..., free], alone[..., free])
        assert_array_equal(shared[..., taken], was[..., taken])
        assert not len(free) or (shared[..., free] != was[..., free]).any()


@pytest.mark.parametrize("params", WAYS, ids=str)
@pytest.mark.parametrize("data", ["digits", "documents"])
@pytest.mark.usefixtures("centring")
def test_sharing_changes_no_bit_where_nothing_is_late(data, params):
    """Every row is free, and every gradient is of the weights as they are: of many outputs, too,
    some of which are left out."""
    rows, y = (X, Y) if data == "digits" else documents(600, n_classes=600)
    found = []
    for shared in (False, True):
        estimator = quick(max_iter=1, **params).fit(rows, y)
        network = estimator._network
        network.share(shared)
        spaces = network.engine.workspaces(1, 1)
        targets = Targets(np.arange(len(y) + 1), y.astype(np.int32))
        order = np.arange(100)
        network.engine.train(as_rows(rows), targets, order, 0, 100, 7, spaces, 1)
        network.fold()
        found.append([w.tobytes() for w in (*estimator.coefs_, *estimator.intercepts_)])
    assert found[0] == found[1]


def test_new_hash_functions_do_not_end_sharing():
    network = quick(hash_search="scan", max_iter=1).fit(X, Y)._network
    for shared in (True, False):
        network.share(shared)
        network.replace_hashing(0, network.state["layers"][0]["hashing"])
        assert (network.engine.layers[0].claimed is not None) == shared


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 100])
def test_rows_predicted_together_do_not_meet(n):
    """Rows are predicted by the batch, and each as if it were alone."""
    for params in WAYS:
        estimator = quick((120, 90), max_iter=1, **params).fit(X, Y)
        alone = [estimator.predict_proba(X[i : i + 1])[0] for i in range(n)]
        assert (estimator.predict_proba(X[:n]) == alone).all()


# ---- many workers --------------------------------------------------------------------------


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("n_workers, batch", [(1, 1), (2, 1), (5, 1), (1, 4), (3, 2), (40, 3)])
@pytest.mark.parametrize("n_examples", [1, 7, 60])
@pytest.mark.parametrize("solver", SOLVERS)
def test_workers_use_the_weights_of_their_turn(simulate, solver, n_examples, n_workers, batch):
    """Gradients are from the weights that a worker found, and applied at its next turn.

    What is left at the end is applied as well: also if no worker came to a second turn. Where
    there are others, the solver that heeds it finds late gradients late.
    """
    estimator = small(solver).set_params(batch_size=batch)
    oracle, start = twin(estimator), [w.copy() for w in estimator.coefs_]
    order = np.random.default_rng(1).permutation(len(X))[:n_examples]
    simulate(n_workers)
    estimator.partial_fit(X[order], Y[order])
    oracle.train_delayed(examples(order), n_workers, batch)
    assert_same_weights(estimator, oracle, start)


@pytest.mark.usefixtures("at_once")
def test_the_order_of_turns_matters(simulate):
    """What the test above compares does depend on the number of workers and their batches."""
    found = []
    for n_workers, batch in [(1, 1), (2, 1), (1, 2), (4, 1), (2, 2), (60, 1)]:
        estimator = small().set_params(batch_size=batch)
        simulate(n_workers)
        found.append(estimator.partial_fit(X[:60], Y[:60]).coefs_[0].tobytes())
    assert len(set(found)) == len(found)


@pytest.mark.usefixtures("at_once", "lazy_mean")
def test_with_as_many_workers_as_examples_every_gradient_is_of_the_first_weights(simulate):
    estimator = small(momentum=0, alpha=0).set_params(batch_size=1)
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
    simulate(3)
    rate = RATES[solver] / 2  # six examples at once want smaller steps
    estimator = quick((120,), hash_search=search, solver=solver, learning_rate_init=rate)
    estimator.set_params(alpha=0.01, batch_size=2).fit(X, Y)
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
        models.append(quick(hash_search="scan", max_iter=2, batch_size=3).fit(X, Y))
    assert same_model(*models)


@pytest.mark.parametrize("divided, batch", [("examples", 7), ("layers", 4), ("batches", 4)])
def test_a_batch_that_finds_no_room_is_refused(divided, batch):
    """The memory of examples in hand is guarded by the engine itself."""
    network = quick(max_iter=1).fit(X, Y)._network
    targets = Targets(np.arange(len(X) + 1), Y.astype(np.int32))
    work = as_rows(X), targets, np.arange(len(X)), 0, len(X), 0, network.engine.workspaces(2, 3)
    with pytest.raises(ValueError, match="examples in a workspace for 3"):
        network.engine.train(*work, batch, divided)


def test_outputs_that_find_no_room_are_refused():
    """The memory of a hashed layer's outputs, with the labels of an example, is guarded, too."""
    data, y = documents()
    network = wide(output_active=10, max_iter=1).fit(data, y)._network
    targets = Targets(np.arange(len(y) + 1), y.astype(np.int32))
    work = as_rows(data), targets, np.arange(len(y)), 0, 1, 0
    with pytest.raises(ValueError, match="outputs in a workspace for"):
        network.engine.train(*work, network.engine.workspaces(1, 1), 1)
    network.engine.train(*work, network.engine.workspaces(1, 1, 1), 1)


def test_a_division_that_is_none_is_refused():
    engine = small()._network.engine
    targets = Targets(np.arange(len(X) + 1), Y.astype(np.int32))
    work = as_rows(X), targets, np.arange(len(X)), 0, len(X), 0, engine.workspaces(2, 3)
    with pytest.raises(ValueError, match="divided must be one of .*got 'rows'"):
        engine.train(*work, 3, "rows")


@pytest.mark.parametrize(
    "answers, wrong",
    [
        (lambda: Probabilities(np.empty((5, 10))), "rows 3 to 9 into 5 from 0"),
        (lambda: Probabilities(np.empty((5, 10)), 4), "rows 3 to 9 into 5 from 4"),
        (lambda: Probabilities(np.empty((9, 8))), "8 columns for 10 outputs"),
        (lambda: Best(np.empty((9, 2), np.int32), np.empty((8, 2))), r"shape \(9, 2\)"),
        (lambda: Best(np.empty((5, 2), np.int32), np.empty((5, 2)), 2), "into 5 from 2"),
    ],
)
def test_answers_have_room(answers, wrong):
    """The last guard: no caller of the library gets there."""
    engine = small()._network.engine
    with pytest.raises(ValueError, match=wrong):
        engine.predict(as_rows(X), 3, 9, answers(), engine.workspaces(1))


def test_no_rows_beyond_the_data():
    engine = small()._network.engine
    with pytest.raises(ValueError, match="rows 3 to 999 of"):
        engine.predict(as_rows(X), 3, 999, Probabilities(np.empty((996, 10)), 3),
                       engine.workspaces(1))


def test_answers_may_start_anywhere():
    """Rows 3 to 8 into arrays for rows 2 to 9; the others stay as they are."""
    estimator = small()
    engine, expected = estimator._network.engine, estimator.predict_proba(X[:10])
    p, ids, best = np.full((8, 10), -7.0), np.full((8, 3), -7, np.int32), np.full((8, 3), -7.0)
    for answers in (Probabilities(p, 2), Best(ids, best, 2)):
        engine.predict(as_rows(X), 3, 9, answers, engine.workspaces(1, 4))
    for found in (p, ids, best):
        assert (found[[0, 7]] == -7).all()
    assert_allclose(p[1:7], expected[3:9], rtol=1e-6)
    order = np.argsort(-expected[3:9], axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(ids[1:7], order)
    assert_allclose(best[1:7], np.take_along_axis(expected[3:9], order, axis=1), rtol=1e-6)


def test_recall_does_not_depend_on_how_rows_are_grouped():
    """Exact activations are computed for as many rows at once as a workspace has room for."""
    network = quick((400, 90), hash_search="scan", max_iter=4).fit(X, Y)._network
    assert not network.hidden_layers[0].selector.exhaustive
    engine, nodes = network.engine, np.random.default_rng(0).permutation(len(X))[:101]
    found = [
        engine.recall(as_rows(X), nodes, engine.workspaces(*shape))[:2]
        for shape in ((1, 1), (1, 7), (1, 200), (2 if OPENMP else 1, 32))
    ]
    assert (found[0][0] < found[0][1]).any()
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    spent = [engine.workspaces(1, n) for n in (1, 32)]
    for workspaces in spent:
        engine.recall(as_rows(X), nodes, workspaces)
    assert len({engine.spent(workspaces) for workspaces in spent}) == 1


def test_recall_goes_on_from_what_is_known():
    """Exact activations that an earlier call computed are not computed again."""
    network = quick((400, 90), hash_search="scan", max_iter=4).fit(X, Y)._network
    engine, rows, nodes = network.engine, as_rows(X), np.arange(30)
    workspaces = [engine.workspaces(1) for _ in range(3)]
    found, wanted, (bars, tops) = engine.recall(rows, nodes, workspaces[0])
    bars[:, 1] = np.nan  # as if the first layer's outputs had changed
    again = engine.recall(rows, nodes, workspaces[1], (bars, tops))
    np.testing.assert_array_equal(again[:2], (found, wanted))
    assert not np.isnan(bars).any()
    engine.recall(rows, nodes, workspaces[2], again[2])
    spent = [engine.spent(w)[0] for w in workspaces]
    stored = np.count_nonzero(X[:30], axis=1)
    read = np.where(2 * stored > X.shape[1], X.shape[1], stored)  # densely
    assert spent[0] - spent[1] == 400 * read.sum()
    assert spent[2] < spent[1] < spent[0]
    # More are selected: found by the bars alone.
    more = engine.recall(rows, nodes, engine.workspaces(1, inference="all"), again[2])[0]
    assert more[0] == wanted[0] > found[0]


@pytest.mark.parametrize("what", ["selected", "outputs"])
def test_what_layers_hold_does_not_depend_on_how_rows_are_grouped(what):
    engine = quick((120, 90), max_iter=2).fit(X, Y)._network.engine
    nodes = np.random.default_rng(0).permutation(len(X))[:50]
    for index in (0, 1):
        found = [
            engine.hidden(as_rows(X), nodes, index, what, engine.workspaces(*shape))
            for shape in ((1, 1), (1, 7), (1, 200), (2, 8))
        ]
        assert found[0][0][-1] == len(found[0][1]) == len(found[0][2]) > len(nodes)
        for other in found[1:]:
            for one, same in zip(found[0], other, strict=True):
                np.testing.assert_array_equal(one, same)
    assert all(len(part) <= 1 for part in engine.hidden(
        as_rows(X), nodes[:0], 0, what, engine.workspaces(1)))
