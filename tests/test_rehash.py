"""When hash functions are renewed: the policy, played to a rehasher, and its budget."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from problems import digits, quick

from sklearn_lsh import _rehash
from sklearn_lsh._calibration import RECALL
from sklearn_lsh._data import as_rows
from sklearn_lsh._rehash import (
    AGED,
    BUDGET,
    CALM_GAP,
    CALM_GAPS,
    CAUTION,
    DRIFT,
    LONG_LIST,
    LONGEST_GAP,
    SHORTEST_GAP,
    SURPLUS,
    Rehasher,
)
from sklearn_lsh._renewal import Renewal

X, Y = digits()
EVERY = np.arange(len(X))


class Course:
    """Tells a rehasher a course of recalls. Renewals are noted, and restore what they aim for."""

    def __init__(self, monkeypatch, sizes=(120,), **params):
        params = {"hash_search": "scan", "max_iter": 1, **params}
        self.network = quick(sizes, **params).fit(X, Y)._network
        self.network.state.pop("rehash")
        for arrays, n_active in zip(
            self.network.state["layers"], self.network.settings.n_active, strict=True
        ):
            arrays.get("hashing", {})["short_list"] = n_active  # none calls for a renewal
        self.rehasher = Rehasher(self.network, self.network.engine.workspaces(1))
        self.clock, self.renewed = self.network.state["rehash"], []
        monkeypatch.setattr(_rehash, "Renewal", self.renewal)
        monkeypatch.setattr(Rehasher, "_recall", lambda *_: (list(self.recall), None))
        self.measure(*[0.5] * len(sizes))

    def renewal(self, network, index, *_):
        self.renewed.append(index)
        self.recall[index] = self.after
        return SimpleNamespace(run=lambda: None, multiplications=0, hasty=False)

    def measure(self, *recall, after=0.97):
        """The layers that are renewed at the next measurement, which finds these recalls."""
        self.recall, self.after, self.renewed = list(recall), after, []
        self.network.state["n_seen"] = max(self.clock["look_at"])
        self.rehasher.run(as_rows(X), EVERY)
        return self.renewed

    def calm(self, gap):
        while self.clock["look_gap"][0] < gap:
            assert self.measure(*self.clock["reached"]) == []


def test_hash_functions_rest_while_recall_holds(monkeypatch):
    course, gaps = Course(monkeypatch), []
    assert course.renewed == [0]  # before the first example
    for _ in range(8):
        assert course.measure(0.97) == []
        gaps.append(course.clock["look_gap"][0])
    assert gaps == [min(SHORTEST_GAP * 2**i, LONGEST_GAP) for i in range(1, 9)]


@pytest.mark.parametrize(
    "reached, found, renewed",
    [
        (0.97, 0.97 - DRIFT + 0.001, []), (0.97, 0.97 - DRIFT - 0.001, [0]),
        (0.97, 0.97 + SURPLUS - 0.001, []), (0.97, 0.97 + SURPLUS + 0.001, [0]),
        # More than was aimed for may be lost again.
        (0.995, RECALL - DRIFT + 0.001, []), (0.995, RECALL - DRIFT - 0.001, [0]),
        (0.4, 0.39, []), (0.4, 0.37, [0]),  # where more cannot be reached
    ],
)
def test_drift_is_renewed(monkeypatch, reached, found, renewed):
    course = Course(monkeypatch)
    course.clock["reached"] = [reached]
    assert course.measure(found, after=0.96) == renewed
    assert course.clock["reached"] == [0.96 if renewed else reached]


def test_a_fall_halves_the_gap_and_aims_higher(monkeypatch):
    course = Course(monkeypatch)
    course.calm(4096)
    course.measure(0.94)
    assert course.clock["look_gap"][0] == 2048
    assert course.clock["aim"] == [RECALL + CAUTION * (1 - RECALL)]
    for _ in range(5):
        course.measure(0.5)
    assert course.clock["look_gap"][0] == SHORTEST_GAP


def test_a_rise_quarters_the_gap_and_aims_as_usual(monkeypatch):
    course = Course(monkeypatch)
    course.measure(0.8)
    course.calm(4096)
    assert course.clock["aim"][0] > RECALL
    assert course.measure(0.995, after=0.975) == [0]
    assert course.clock["aim"] == [RECALL]
    assert course.clock["look_gap"][0] == 1024


def test_calm_layers_aim_as_usual_again(monkeypatch):
    course = Course(monkeypatch)
    course.measure(0.8)
    course.calm(CALM_GAP)
    assert course.measure(0.969) == [0]
    assert course.clock["aim"] == [RECALL]
    assert course.clock["look_gap"][0] == CALM_GAP // 4  # it will find less from now on
    assert course.measure(0.969) == []


def test_calm_is_a_gap_that_is_long_for_the_layer(monkeypatch):
    """Of very many classes every gap is longer than CALM_GAP."""
    course = Course(monkeypatch)
    course.measure(0.8)
    monkeypatch.setattr(course.rehasher, "_gaps", lambda index: (CALM_GAP, 10**6))
    while course.clock["look_gap"][0] < CALM_GAPS * CALM_GAP:
        assert course.measure(0.969) == []
    assert course.measure(0.969) == [0]
    assert course.clock["aim"] == [RECALL]


@pytest.mark.parametrize("n_classes, first, shortest",
                         [(10**3, 512, 512), (50_000, 1562, 1562), (10**6, 2048, 31250)])
def test_looks_at_very_many_classes_are_rare_but_for_the_first(
    monkeypatch, n_classes, first, shortest
):
    course = Course(monkeypatch)
    course.network.settings = replace(course.network.settings, n_outputs=n_classes)
    for seen, gap in ((0, first), (2047, first), (2048, shortest)):
        course.network.state["n_seen"] = seen
        assert course.rehasher._gaps(1)[0] == gap
    assert course.rehasher._gaps(0)[0] == SHORTEST_GAP


@pytest.mark.parametrize("longer, earlier, renewed", [(1, 0, [0]), (0, 0, []), (1, 1, [])])
def test_long_lists_of_layers_that_have_learned_more(monkeypatch, longer, earlier, renewed):
    """Though recall holds: a shorter one may do by now. Aims stay as they are."""
    course = Course(monkeypatch)
    course.measure(0.8)
    aim, at = course.clock["aim"][0], course.clock["look_at"][0]
    listed = LONG_LIST * course.network.settings.most_active(0) + longer
    course.network.state["layers"][0]["hashing"]["short_list"] = listed
    course.clock["renewed_at"] = [at // AGED + earlier]
    assert course.measure(0.97) == renewed
    assert course.clock["renewed_at"] == ([at] if renewed else [at // AGED + earlier])
    assert course.clock["aim"] == [aim]


def test_the_list_of_an_output_layer_may_be_long():
    """It is for predictions alone."""
    network = quick(hash_search="scan", output_active=4, max_iter=1).fit(X, Y)._network
    for layer in network.state["layers"]:
        layer["hashing"]["short_list"] = len(layer["intercepts"])
    rehasher = Rehasher(network, network.engine.workspaces(1))
    assert rehasher.hashed == [0, 1]
    assert [rehasher._has_aged(index) for index in (0, 1)] == [True, False]


def test_only_the_layers_that_drifted_are_renewed(monkeypatch):
    course = Course(monkeypatch, (120, 90))
    assert course.renewed == [0, 1]
    assert course.measure(0.97, 0.9) == [1]
    assert course.clock["reached"] == [0.97, 0.97]
    assert course.clock["aim"][0] == RECALL < course.clock["aim"][1]
    assert course.clock["look_gap"] == [2 * SHORTEST_GAP, SHORTEST_GAP]
    # The second is looked at more often now, and the first only when it is its turn.
    course.recall, course.after, course.renewed = [0.9, 0.9], 0.97, []
    course.network.state["n_seen"] = course.clock["look_at"][1]
    course.rehasher.run(as_rows(X), EVERY)
    assert course.renewed == [1]
    assert course.measure(0.9, 0.97) == [0]


def test_layers_computed_exactly_are_looked_at_every_time(monkeypatch):
    """Hashing may save something by now; exact activations find everything meanwhile."""
    course = Course(monkeypatch, hash_search="auto", active_fraction=0.9)
    assert course.network.hash_search == ["exact", "exact"]
    for _ in range(3):
        assert course.measure(1.0, after=1.0) == [0]
    assert course.clock["look_gap"][0] == SHORTEST_GAP * 2**4


@pytest.mark.parametrize("search", ["scan", "tables"])
@pytest.mark.parametrize("ranking", ["union", "collisions"])
def test_rankings_of_the_paper_are_renewed_by_the_clock(monkeypatch, ranking, search):
    """They do not aim for the top nodes: their recall, however low, calls for nothing."""
    seen = []
    renew = Renewal.run
    monkeypatch.setattr(
        Renewal, "run", lambda self: (seen.append(self.network.state["n_seen"]), renew(self))
    )
    monkeypatch.setattr("sklearn_lsh._rehash.BUDGET", 1e9)
    # Epochs and gaps are whole batches of eight.
    params = {"hash_ranking": ranking, "hash_search": search, "batch_size": 8}
    estimator = quick(max_iter=9, **params).fit(X, Y)
    assert seen == [0, 2 * SHORTEST_GAP, 6 * SHORTEST_GAP]
    assert estimator._network.state["rehash"]["look_gap"][0] == 8 * SHORTEST_GAP
    assert estimator._network.state["rehash"]["aim"] == [RECALL]


@pytest.mark.parametrize("size", [400, 50, 1])
def test_renewals_stay_within_their_budget(monkeypatch, size):
    """Though every measurement finds that recall fell, whatever the calls of partial_fit."""
    recall, spent = itertools.cycle([0.5, 0.9]), []
    renew = Renewal.run

    def run(self):
        renew(self)
        spent.append(self.multiplications)

    monkeypatch.setattr(Renewal, "run", run)
    monkeypatch.setattr(Rehasher, "_recall", lambda *_: ([next(recall)], None))
    x = np.random.default_rng(0).standard_normal((400, 500))
    estimator = quick((300,), hash_search="scan")
    for start in [*range(0, 400, size)] * 8:
        rows = slice(start, start + size)
        estimator.partial_fit(x[rows], Y[rows], classes=range(10))
    dense = estimator._network.settings.dense_multiplications
    total = estimator.history_["multiplications"].sum() * size * dense
    assert len(spent) > 1
    assert sum(spent[1:]) <= BUDGET * total  # the first comes before any training


@pytest.mark.parametrize("search", ["scan", "cells", "tables"])
def test_run_leaves_time_for_training(monkeypatch, search):
    """Also where a layer that was scanned, its sketches exact, needs codes from now on."""
    network = quick(hash_search="scan", max_iter=1).fit(X, Y)._network
    rehasher = Rehasher(network, network.engine.workspaces(1))
    assert not rehasher.encodes
    other = quick(hash_search=search, max_iter=1).fit(X, Y)._network.state["layers"][0]["hashing"]
    monkeypatch.setattr(Renewal, "run", lambda self: network.replace_hashing(0, other))
    network.state["n_seen"] = 5000
    rehasher.clock.update(look_at=[5000], reached=[0.0])
    rehasher.run(as_rows(X), EVERY)
    assert rehasher.encodes == (search != "scan")
    assert rehasher.due > 0
