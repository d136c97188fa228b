"""Renewed hash functions fit the weights, in whatever form and wherever they were interrupted.

And they find what they aim for.
"""

import itertools
import pickle
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from problems import digits, quick, same_model
from scipy.sparse import csr_array
from test_cells import assert_cells_follow_weights
from test_hashing import assert_codes_follow_weights, assert_sketches_follow_weights, hashed

from sklearn_lsh import _network, _rehash, _renewal
from sklearn_lsh._calibration import Sketching, choose_cells
from sklearn_lsh._rehash import DRIFT, Rehasher
from sklearn_lsh.core.engine import OPENMP
from sklearn_lsh.inspection import active_set_recall

X, Y = digits()
SEARCHES = {
    "scan": {"hash_search": "scan"},
    "cells": {"hash_search": "cells"},
    "tables": {"hash_search": "tables"},
    "simple_lsh": {"hash_search": "tables", "hash_family": "simple_lsh"},
    "collisions": {"hash_search": "tables", "hash_ranking": "collisions"},
    "codes": {"hash_search": "scan", "hash_ranking": "union"},
}
searches = pytest.mark.parametrize("search", SEARCHES)


def assert_in_step(estimator, x=X):
    """Hash functions, sketches, codes and cells are those of the weights, and of the pickle."""
    for index, search in enumerate(estimator._network.hash_search):
        if search == "exact":
            continue
        assert_sketches_follow_weights(estimator, index)
        if search == "cells":
            assert_cells_follow_weights(estimator, index)
        elif "index" in hashed(estimator, index)[1]:
            assert_codes_follow_weights(estimator, index)
    probabilities = estimator.predict_proba(x)
    assert np.isfinite(probabilities).all()
    assert_array_equal(pickle.loads(pickle.dumps(estimator)).predict_proba(x), probabilities)


def due_now(estimator, **clock):
    """A measurement comes before the next example; a renewal, if nothing was reached."""
    state = estimator._network.state
    hidden = len(state["layers"]) - 1
    state["rehash"].update(look_at=[state["n_seen"]] * hidden, **clock)


@pytest.fixture
def often(monkeypatch):
    """Every layer is renewed every 90 examples, in the midst of epochs."""
    for gap in ("SHORTEST_GAP", "LONGEST_GAP"):
        monkeypatch.setattr(_rehash, gap, 90)
    monkeypatch.setattr(Rehasher, "_has_drifted", lambda *_: True)


# ---- recall --------------------------------------------------------------------------------


@pytest.mark.parametrize("shock", ["inputs", "weights"])
@pytest.mark.parametrize("search", ["scan", "cells", "tables"])
def test_a_shock_is_noticed_and_mended(search, shock):
    estimator = quick((200, 150), hash_search=search, max_iter=10, batch_size=1).fit(X, Y)
    x, clock = X, estimator._network.state["rehash"]
    if shock == "inputs":
        x = 1 - X[:, np.random.default_rng(0).permutation(64)]
    else:
        for index in (0, 1):
            weights = hashed(estimator, index)[0]["weights"]
            weights[:] = np.random.default_rng(0).permutation(weights)
    drifted = active_set_recall(estimator, x) < np.array(clock["reached"]) - 2 * DRIFT
    assert drifted.any()
    before = [hashed(estimator, index)[1]["family"] for index in (0, 1)]
    due_now(estimator, look_gap=[16384, 16384])
    # With next to no learning, all recall that comes back is the renewal's.
    estimator.set_params(learning_rate_init=1e-6).partial_fit(x, Y)
    for index in np.flatnonzero(drifted):
        assert hashed(estimator, index)[1]["family"] is not before[index]
        assert 8192 <= clock["look_gap"][index] < 16384
    assert active_set_recall(estimator, x).min() > 0.85
    assert_in_step(estimator)


def concentrated(rng, n):
    """Classes around centres in an eighth of the directions, and some noise."""
    y, centres = rng.integers(0, 10, n), rng.standard_normal((10, 12))
    z = centres[y] + 0.5 * rng.standard_normal((n, 12))
    return z @ rng.standard_normal((12, 100)) + 0.1 * rng.standard_normal((n, 100)), y


def noise(rng, n):
    """Standardised and negative as often as positive; every direction alike."""
    x = rng.standard_normal((n, 100))
    return x, (x @ rng.standard_normal((100, 10))).argmax(axis=1)


def texts(rng, n):
    """Word counts times rarity, of unit length: common words, and some of the class's own."""
    y, share = rng.integers(0, 10, n), 1 / np.arange(5, 1005)
    share /= share.sum()
    counts = rng.multinomial(25, share, n)
    own = rng.multinomial(8, np.full(100, 0.01), n)
    for i in range(n):
        counts[i, 100 * y[i] : 100 * (y[i] + 1)] += own[i]
    x = counts * -np.log(share)
    return csr_array(x / np.linalg.norm(x, axis=1, keepdims=True)), y


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("inputs", [concentrated, noise, texts])
def test_recall_of_any_kind_of_inputs(inputs, activation):
    x, y = inputs(np.random.default_rng(0), 1500)
    estimator = quick((300, 300), active_fraction=0.1, activation=activation, max_iter=20)
    estimator.fit(x[:1000], y[:1000])
    assert active_set_recall(estimator, x[1000:]).min() > 0.9


def test_probes_are_as_many_as_recall_takes():
    """Measured where nodes are ranked by sketch, in a subspace; else the paper's ten."""
    few = {"hash_search": "tables", "hash_tables": 4, "hash_bits": 6, "max_iter": 20}

    def probes(**params):
        estimator = quick((200,), **few, **params).fit(X, Y)
        return hashed(estimator)[1]["n_probes"], active_set_recall(estimator, X)[0]

    (auto, found), (one, found_by_one) = probes(), probes(hash_probes=1)
    assert 1 == one < auto < 2**6
    assert found_by_one < 0.8 < 0.9 < found
    assert probes(hash_ranking="collisions")[0] == 10
    assert probes(hash_family="simple_lsh")[0] == 10
    assert probes(hash_probes=3)[0] == 3


# ---- forms ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    "solver, n_jobs", [("rowwise_adagrad", None), ("adagrad", None), ("rowwise_adagrad", 2)]
)
@pytest.mark.usefixtures("centring")
@pytest.mark.parametrize("search", ["auto", "scan", "cells", "tables"])
def test_any_form_may_follow_any_other(monkeypatch, search, solver, n_jobs):
    """Sketches grow and shrink, searches come and go, in the buffers of one pass."""
    if n_jobs and not OPENMP:
        pytest.skip("built without OpenMP")
    forms = itertools.cycle(["cells", "scan", "exact", "cells", "exact"])
    lengths, prices, chosen = itertools.cycle((16, 64, 48, 32)), {"cells": 0}, []

    def sketching(sample, queries, rows, recall, bounds, may_be_exact):
        form, dim = next(forms), min(next(lengths), rows.shape[1])
        chosen.append((form, dim))
        exact = form == "exact" and may_be_exact
        ranks = sample.ranks(queries[:, :dim] @ rows[:, :dim].T)
        return Sketching(dim, len(rows) if exact else 40, 0.0, ranks), 0

    def priced(*args):
        cells, cell, _, spent = choose_cells(*args)
        return cells, cell, prices.get(chosen[-1][0], np.inf), spent

    monkeypatch.setattr(_renewal, "choose_sketching", sketching)
    monkeypatch.setattr(_renewal, "choose_cells", priced)
    monkeypatch.setattr(_renewal, "CELLS_WIDTH", 1)
    params = {"hash_search": search, "active_fraction": 10, "solver": solver}
    estimator = quick((120, 90), n_jobs=n_jobs, max_iter=5, **params).fit(X, Y)
    assert len(set(chosen)) > 8
    assert estimator.score(X, Y) > 0.7
    if n_jobs is None:  # threads without locks lose a bit of a sketch now and then
        assert_in_step(estimator)
        assert_in_step(estimator.partial_fit(X, Y))


@pytest.mark.usefixtures("often")
@searches
def test_neither_chance_nor_pace_decides(monkeypatch, search):
    """Where work is cut for Ctrl-C: example by example, or not at all."""
    models = []
    for seconds in (0.1, 0, 1e9):
        monkeypatch.setattr("sklearn_lsh._pace.CALL_SECONDS", seconds)
        models.append(quick((120, 90), max_iter=2, **SEARCHES[search]).fit(X, Y))
    assert same_model(models[0], models[1])
    assert same_model(models[0], models[2])


# ---- interrupts ----------------------------------------------------------------------------

# Where a renewal changes what the network consists of; elsewhere it computes.
CHANGING = {module.__file__ for module in (_network, _rehash, _renewal)}


class Interrupting:
    """Notes the lines that ``Rehasher.run`` runs; a KeyboardInterrupt comes before the at-th."""

    def __init__(self, monkeypatch):
        self.run = Rehasher.run
        self.start()
        monkeypatch.setattr(Rehasher, "run", lambda *args: self.traced(*args))

    def start(self, at=None):
        self.lines, self.at = [], at

    def traced(self, *args):
        sys.settrace(self.enter)
        try:
            self.run(*args)
        finally:
            sys.settrace(None)

    def enter(self, frame, event, arg):
        return self.line if frame.f_code.co_filename in CHANGING else None

    def line(self, frame, event, arg):
        if event == "line":
            self.lines.append((frame.f_code.co_name, frame.f_lineno))
            if len(self.lines) - 1 == self.at:
                raise KeyboardInterrupt  # which also ends the tracing
        return self.line


@pytest.mark.parametrize("search", ["cells", "tables", "simple_lsh"])
def test_an_interrupt_anywhere_leaves_a_consistent_network(monkeypatch, search):
    """Before any line of a renewal, the first time that it is run."""
    params = {"active_fraction": 5, "max_iter": 1, **SEARCHES[search]}
    x, y = X[:80], Y[:80]
    estimator = quick((60,), **params).fit(x, y)
    due_now(estimator, reached=[0.0])
    saved = pickle.dumps(estimator)
    interrupting, broken = Interrupting(monkeypatch), []
    estimator.partial_fit(x, y)
    course = interrupting.lines
    places = [at for at, line in enumerate(course) if line not in course[:at]]
    assert len(places) > 50
    for at in places:
        estimator = pickle.loads(saved)
        interrupting.start(at)
        with pytest.raises(KeyboardInterrupt):
            estimator.partial_fit(x, y)
        try:
            assert_in_step(estimator, x)
            assert_in_step(estimator.partial_fit(x, y), x)
        except AssertionError:
            broken.append(course[at])
    assert broken == []
