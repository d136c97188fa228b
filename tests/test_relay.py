"""Threads that divide layers: no bit differs from what one thread computes."""

import os
import subprocess
import sys

import numpy as np
import pytest
from problems import digits, quick, same_model
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

from sklearn_lsh import LSHMLPClassifier
from sklearn_lsh._pace import Crew
from sklearn_lsh.core.engine import OPENMP, Engine
from sklearn_lsh.core.optimizers import SOLVERS
from sklearn_lsh.core.relay import shares
from sklearn_lsh.core.selection import SELECTIONS
from sklearn_lsh.core.weights import ByFeature

X, Y = digits()
pytestmark = pytest.mark.skipif(not OPENMP, reason="built without OpenMP")
DEEP = (60, 50, 40, 30)


@pytest.fixture
def divisions(monkeypatch):
    """What threads divided, call by call, and how many there were; no other way is tried."""
    made = []

    class Watched(Engine):
        def train(self, *args):
            made.append(args[-2:])
            super().train(*args)

    monkeypatch.setattr("sklearn_lsh._network.Engine", Watched)
    monkeypatch.setattr(Crew, "note", lambda *args: None)
    return made


def assert_threads_change_nothing(divisions, hidden, n_threads, fit, **params):
    """In relay with so many threads, and with one."""
    params = {"max_iter": 2, **params}
    one = fit(quick(hidden, **params))
    divisions.clear()
    other = fit(quick(hidden, n_jobs=n_threads, **params))
    assert set(divisions) == {("layers", n_threads)}
    other.n_jobs = None
    assert same_model(one, other)
    return one


def on_digits(estimator):
    return estimator.fit(X, Y)


@pytest.mark.usefixtures("centring")
@pytest.mark.parametrize("n_threads", [2, 3, 4, 5])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 32, 60, 1000])
def test_any_number_of_stages_and_any_batch(divisions, batch_size, n_threads):
    """Portions of one example and of eight, batches that end within one, a pass that is one.

    The fifth thread selects nodes for the first layer.
    """
    assert_threads_change_nothing(divisions, DEEP, n_threads, on_digits, batch_size=batch_size)


@pytest.mark.parametrize("hashed, n_stages, expected", [
    ([True, False], 2, [(0, 1, False), (1, 2, False)]),
    ([True, False, False], 2, [(0, 1, False), (1, 3, False)]),
    ([True, True, True], 2, [(0, 1, False), (1, 3, True)]),
    ([True, True, True], 3, [(0, 1, False), (1, 2, False), (2, 3, False)]),
    ([True, True, True, True], 3, [(0, 1, False), (1, 2, False), (2, 4, True)]),
    ([True, True, False], 4, [(0, 0, False), (0, 1, True), (1, 2, False), (2, 3, False)]),
    ([True], 2, [(0, 0, False), (0, 1, True)]),
    ([False] * 5, 2, [(0, 2, False), (2, 5, False)]),
])
def test_layers_are_shared_out(hashed, n_stages, expected):
    assert shares(hashed, n_stages) == expected


@pytest.mark.parametrize("n_threads, depth", [(2, 2), (2, 3), (2, 5), (3, 4), (3, 5), (4, 7)])
@pytest.mark.parametrize("params", [{}, {"alpha": 0.01, "batch_size": 9}], ids=str)
def test_stages_select_for_those_that_have_more_layers(divisions, params, depth, n_threads):
    """All layers hashed."""
    model = assert_threads_change_nothing(
        divisions, (120, *[90] * (depth - 1)), n_threads, on_digits, hash_search="scan",
        active_fraction=10, **params,
    )
    assert model._network.hash_search[:-1] == ["scan"] * depth


HASHED = [
    *({"solver": solver} for solver in SOLVERS),
    *({"hash_search": search, "alpha": 0.01} for search in ("scan", "cells", "tables")),
    {"hash_search": "tables", "hash_ranking": "union", "activation": "tanh"},
]


@pytest.mark.parametrize("params", HASHED, ids=str)
def test_a_thread_that_selects_for_the_other(divisions, params):
    """Told of updates, it hashes alike."""
    assert_threads_change_nothing(divisions, (120,), 2, on_digits, **params)


@pytest.mark.parametrize(
    "params", [*HASHED, *({"selection": selection} for selection in SELECTIONS)], ids=str
)
def test_any_layers(divisions, params):
    assert_threads_change_nothing(divisions, (120, 90), 2, on_digits, **params)


@pytest.mark.parametrize("n_examples", [1, 7, 8, 9, 33])
def test_few_examples(divisions, n_examples):
    def fit(estimator):
        for _ in range(3):
            estimator.partial_fit(X[:n_examples], Y[:n_examples], classes=np.arange(10))
        return estimator

    assert_threads_change_nothing(divisions, DEEP, 3, fit)


def test_weights_of_examples_and_those_of_none(divisions):
    weight = np.random.default_rng(0).integers(3, size=len(X)) / 2
    model = assert_threads_change_nothing(
        divisions, DEEP, 2, lambda estimator: estimator.fit(X, Y, sample_weight=weight)
    )
    assert not same_model(model, quick(DEEP, max_iter=2).fit(X, Y))


@pytest.mark.parametrize("rows", [X, csr_array(X)], ids=["dense", "sparse"])
def test_hashed_outputs(divisions, rows):
    """An output layer that takes examples one by one, above two that take portions."""
    labels = np.arange(len(X)) % 200

    def fit(estimator):
        return estimator.fit(rows, labels)

    model = assert_threads_change_nothing(
        divisions, (60, 50), 2, fit, output_active=20, active_fraction=1.0
    )
    assert model._network.settings.hashes_outputs


def test_layers_by_feature(divisions):
    """A first layer whose updates are divided by feature."""
    rng = np.random.default_rng(0)
    words = csr_array(
        (np.ones(4000), rng.integers(3000, size=4000), np.arange(0, 4001, 10)), shape=(400, 3000)
    )
    model = assert_threads_change_nothing(
        divisions, (60, 50), 2, lambda estimator: estimator.fit(words, Y), active_fraction=1.0
    )
    assert model._network.settings.stores[0] is ByFeature


def test_updates_that_are_refused(divisions):
    """Whichever stage finds out."""
    huge = X.copy()
    huge[::9] *= 1e25
    messages = []

    def fit(estimator):
        with pytest.warns(ConvergenceWarning, match="of 400 updates would have made") as caught:
            estimator.fit(huge, Y)
        messages.append([str(warning.message) for warning in caught])
        return estimator

    assert_threads_change_nothing(
        divisions, DEEP[:3], 3, fit, solver="sgd", learning_rate_init=0.1, alpha=0.01,
        hash_search="scan", max_iter=1,
    )
    assert messages[0] == messages[1]


def test_a_layer_of_which_all_is_computed_has_no_relay(divisions):
    quick((120,), n_jobs=2, selection="winner_take_all").fit(X, Y)
    assert {divided for divided, _ in divisions} == {"examples"}


@pytest.mark.parametrize("params", [{}, {"output_active": 20}], ids=str)
def test_no_hidden_layer_has_no_relay(divisions, params):
    """Hashed or not, the output layer is no stage."""
    quick((), n_jobs=2, **params).fit(X, np.arange(len(X)) % 200)
    assert {divided for divided, _ in divisions} == {"examples"}


def test_stages_need_not_be_granted_a_thread_each():
    """A stage that waited for one that never starts would wait for ever."""
    program = (
        "import numpy as np; from problems import digits, quick, same_model\n"
        "X, y = digits(); a, b = (quick((60, 50), n_jobs=n).fit(X, y) for n in (2, None))\n"
        "a.n_jobs = None; assert same_model(a, b)"
    )
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1", "PYTHONPATH": os.path.dirname(__file__)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=300)


def test_more_stages_than_processors_end():
    """Waiting threads let others run."""
    model = LSHMLPClassifier((20,) * 12, n_jobs=12, max_iter=1, random_state=0).fit(X, Y)
    one = LSHMLPClassifier((20,) * 12, max_iter=1, random_state=0).fit(X, Y)
    model.n_jobs = None
    assert same_model(one, model)
