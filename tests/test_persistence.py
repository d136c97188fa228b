"""A fitted model is arrays and builtins: it survives pickle, joblib, maps and processes."""

import gc
import io
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from problems import digits, multilabel, quick, same_model
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_lsh._network import Network

X, Y = digits()
MODELS = {
    "scan": {},
    "tables": {"hash_search": "tables", "hash_ranking": "collisions", "solver": "adagrad"},
    "simple_lsh": {"hash_family": "simple_lsh", "hash_search": "scan", "solver": "sgd"},
    "cells": {"hash_search": "cells", "active_fraction": 10},
    "dropout": {"selection": "dropout"},
}


@pytest.fixture(params=MODELS)
def trained(request):
    return quick((120, 90), **MODELS[request.param]).fit(X, Y)


def leaves(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from (*leaves(key), *leaves(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def test_state_holds_arrays_and_builtins_only(trained):
    plain = (bool, int, float, str, type(None), np.ndarray)
    assert {type(v) for v in leaves(trained.__getstate__())} <= set(plain)
    assert all(v.dtype != object for v in leaves(trained.__getstate__())
               if isinstance(v, np.ndarray))


def test_joblib_round_trip(trained, tmp_path):
    joblib.dump(trained, tmp_path / "model", compress=3)
    again = joblib.load(tmp_path / "model")
    assert same_model(again, trained)
    assert_array_equal(again.predict_proba(X), trained.predict_proba(X))


def test_loaded_model_goes_on_as_the_original_would(trained):
    again = pickle.loads(pickle.dumps(trained))
    assert same_model(again.partial_fit(X, Y), trained.partial_fit(X, Y))


def test_multilabel_and_binary_round_trip():
    for y in (multilabel()[1], Y % 2, np.where(Y % 2, "odd", "even")):
        estimator = quick().fit(X, y)
        again = pickle.loads(pickle.dumps(estimator))
        assert_array_equal(again.predict(X), estimator.predict(X))
        again.partial_fit(X, y)


def test_copies_share_nothing(trained):
    before = trained.predict_proba(X)
    pickle.loads(pickle.dumps(trained)).partial_fit(X, Y)
    assert_array_equal(trained.predict_proba(X), before)


SERVE = """
import sys, joblib, numpy as np
model = joblib.load(sys.argv[1], mmap_mode="r")
assert not model.coefs_[0].flags.writeable
np.save(sys.argv[3], model.predict_proba(np.load(sys.argv[2])))
"""


def test_read_only_map_predicts_alike_in_another_process(trained, tmp_path):
    joblib.dump(trained, tmp_path / "model")
    np.save(tmp_path / "x.npy", X)
    subprocess.run(
        [sys.executable, "-c", SERVE, *(tmp_path / n for n in ("model", "x.npy", "p.npy"))],
        check=True,
    )
    assert_array_equal(np.load(tmp_path / "p.npy"), trained.predict_proba(X))


def test_read_only_map_can_be_trained_further(trained, tmp_path):
    joblib.dump(trained, tmp_path / "model")
    bytes_before = (tmp_path / "model").read_bytes()
    mapped = joblib.load(tmp_path / "model", mmap_mode="r").partial_fit(X, Y)
    assert same_model(mapped, trained.partial_fit(X, Y))
    assert (tmp_path / "model").read_bytes() == bytes_before


@pytest.mark.parametrize("search", ["scan", "tables", "cells"])
def test_read_only_map_that_cannot_be_copied(tmp_path, monkeypatch, search):
    """What is compiled must not point to maps that are gone."""
    joblib.dump(quick((300,), hash_search=search).fit(X, Y), tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    before, network = mapped.predict_proba(X), mapped._network
    state = network.state

    def assemble():
        if network.state is not state:
            raise MemoryError
        Network._assemble(network)

    monkeypatch.setattr(network, "_assemble", assemble)
    with pytest.raises(MemoryError):
        mapped.partial_fit(X, Y)
    monkeypatch.undo()
    gc.collect()
    assert network.state is state and not mapped.coefs_[0].flags.writeable
    assert_array_equal(mapped.predict_proba(X), before)
    assert mapped.partial_fit(X, Y).coefs_[0].flags.writeable


def test_unknown_format_is_refused():
    state = quick(max_iter=1).fit(X, Y).__getstate__()
    state["_network"] = {**state["_network"], "format": 99}
    with pytest.raises(ValueError, match="format 99"):
        quick().__setstate__(state)


def damaged(state, path, how):
    *parts, last = path
    for part in parts:
        state = state[part]
    array = state[last]
    state[last] = {
        "shorter": lambda: array[:-1].copy(), "longer": lambda: np.concatenate([array, array]),
        "flat": lambda: array.ravel(), "listed": lambda: array.tolist(),
    }[how]()


@pytest.mark.parametrize("how", ["shorter", "longer", "flat", "listed"])
@pytest.mark.parametrize("path", [
    (0, "weights"), (1, "weights"), (0, "intercepts"), (1, "used"), (0, "nodes"), (0, "visits"),
    (0, "threshold"), (0, "mean"), (0, "optimizer", "row_squares"), (0, "hashing", "dirty"),
    (0, "hashing", "sketches"),
], ids=str)
def test_damaged_states_are_refused(path, how):
    X, y = digits(100)
    state = pickle.loads(pickle.dumps(
        quick((90,), n_whitened=0, max_iter=1).fit(X * (X > 0.9), y).__getstate__()
    ))
    layers = state["_network"]["layers"]
    before = layers[path[0]]
    for part in path[1:]:
        before = before[part]
    damaged(layers, path, how)
    if how == "flat" and before.ndim == 1:
        quick().__setstate__(state)  # as it was
        return
    with pytest.raises(ValueError, match="is no array" if how == "listed" else "has the shape"):
        quick().__setstate__(state)


@pytest.mark.parametrize("name", ["node_codes", "head", "count", "after", "before"])
def test_damaged_tables_are_refused(name):
    state = quick((90,), hash_search="tables", max_iter=1).fit(X, Y).__getstate__()
    state = pickle.loads(pickle.dumps(state))
    damaged(state["_network"]["layers"], (0, "hashing", "index", name), "shorter")
    with pytest.raises(ValueError, match=f"index {name} of layer 0 has the shape"):
        quick().__setstate__(state)


def test_whitened_and_busy_states():
    X, y = digits(100)
    whitened = quick((90,), n_whitened=3, max_iter=1, solver="adagrad").fit(X, y).__getstate__()
    for name in ("mean", "directions", "reduction", "gain"):
        state = pickle.loads(pickle.dumps(whitened))
        damaged(state["_network"]["layers"], (0, "whitening", name), "longer")
        with pytest.raises(ValueError, match="shape"):
            quick().__setstate__(state)
    state = pickle.loads(pickle.dumps(whitened))
    state["_network"]["layers"][0]["busy"] = 91
    with pytest.raises(ValueError, match="busy of layer 0 is 91"):
        quick().__setstate__(state)
    del state["_network"]["layers"][1]
    with pytest.raises(ValueError, match="1 layers in this state, the network wants 2"):
        quick().__setstate__(state)


@pytest.fixture(scope="module")
def states():
    """States of networks in which nodes are found in all ways that there are, pickled."""
    ways = {
        "scan": {}, "tables": {"hash_search": "tables"}, "cells": {"hash_search": "cells"},
        "codes": {"hash_search": "scan", "hash_ranking": "union", "hash_probes": 3},
        "paper": {"hash_family": "simple_lsh", "solver": "adagrad"},
    }
    return {
        name: pickle.dumps(quick((120,), active_fraction=10, **params).fit(X, Y).__getstate__())
        for name, params in ways.items()
    }


def test_states_are_sound(states):
    for pickled in states.values():
        estimator = quick()
        estimator.__setstate__(pickle.loads(pickled))
        assert estimator.score(X, Y) > 0.5


def put(place, number):
    def change(array):
        array.flat[place] = number
    return change


def swap(array):
    flat = array.reshape(-1)
    other = np.flatnonzero(flat != flat[0])[0]
    flat[[0, other]] = flat[[other, 0]]


@pytest.mark.parametrize("name", ["node_codes", "head", "after", "before", "count"])
@pytest.mark.parametrize("change", [put(0, 10**6), put(0, -2), put(-1, 10**6), swap])
def test_tables_that_contradict_themselves_are_refused(states, name, change):
    state = pickle.loads(states["tables"])
    change(state["_network"]["layers"][0]["hashing"]["index"][name])
    with pytest.raises(ValueError, match="nodes of layer 0 are not each in one place"):
        quick().__setstate__(state)


def test_rings_are_refused(states):
    """Nodes before and after each other, whose list would have no end."""
    state = pickle.loads(states["tables"])
    index = state["_network"]["layers"][0]["hashing"]["index"]
    code = np.flatnonzero(index["count"][0] > 1)[0]
    head = index["head"][0, code]
    last = head
    while index["after"][0, last] >= 0:
        last = index["after"][0, last]
    index["after"][0, last], index["before"][0, head] = head, last
    with pytest.raises(ValueError, match="nodes of layer 0 are not each in one place"):
        quick().__setstate__(state)


@pytest.mark.parametrize("name", ["node_codes", "start", "count", "place", "group_start"])
@pytest.mark.parametrize("change", [put(0, 10**6), put(0, -2), put(-1, 10**6), swap])
def test_cells_that_contradict_themselves_are_refused(states, name, change):
    state = pickle.loads(states["cells"])
    hashing = state["_network"]["layers"][0]["hashing"]
    change(hashing["cells" if name == "group_start" else "index"][name])
    with pytest.raises(ValueError, match="nodes of layer 0 are not each in one place"):
        quick().__setstate__(state)


def test_cells_whose_starts_ascend_by_overflow_only(states):
    state = pickle.loads(states["cells"])
    start = state["_network"]["layers"][0]["hashing"]["index"]["start"]
    start[1:3] = 2**31 - 1, -(2**31)
    with pytest.raises(ValueError, match="nodes of layer 0 are not each in one place"):
        quick().__setstate__(state)


@pytest.mark.parametrize("node", [-1, 6, 10**6])
def test_nodes_that_are_not_where_they_are_said_to_be(states, node):
    state = pickle.loads(states["cells"])
    index = state["_network"]["layers"][0]["hashing"]["index"]
    index["ids"][index["place"][5]] = node
    with pytest.raises(ValueError, match="nodes of layer 0 are not each in one place"):
        quick().__setstate__(state)


@pytest.mark.parametrize("way", ["scan", "tables", "cells", "codes", "paper"])
@pytest.mark.parametrize("how", ["shorter", "longer", "flat"])
def test_arrays_of_hashing_have_their_shapes(states, way, how):
    for part in ("family", "cells", "index"):
        hashing = pickle.loads(states[way])["_network"]["layers"][0]["hashing"]
        for name, array in hashing.get(part, {}).items():
            if not isinstance(array, np.ndarray) or array.ndim == 1 and how == "flat":
                continue
            state = pickle.loads(states[way])
            damaged(state["_network"]["layers"], (0, "hashing", part, name), how)
            with pytest.raises(ValueError, match="has the shape"):
                quick().__setstate__(state)


@pytest.mark.parametrize("path, value", [
    (("settings", "n_active"), (121, 10)), (("settings", "n_active"), (10,)),
    (("settings", "n_features"), 0), (("settings", "n_outputs"), 2.0),
    (("settings", "hash_tables"), -1), (("settings", "hash_bits"), (60, 2)),
    (("settings", "hash_probes"), 0), (("settings", "hash_search"), ("scan", "scan")),
    (("n_seen",), -1), (("rehash", "encode_gap"), 0), (("rehash", "example_cost"), np.nan),
    (("rehash", "sort_at"), 0), (("rehash", "look_gap"), [-1]), (("rehash", "look_gap"), []),
    (("rehash", "aim"), [2.0]), (("layers", 0, "hashing", "short_list"), 10**6),
    (("layers", 0, "hashing", "n_probes"), None), (("layers", 0, "hashing", "search"), "trees"),
    (("layers", 0, "hashing", "cells", "n_probes"), 10**6),
], ids=str)
def test_numbers_out_of_range_are_refused(states, path, value):
    state = pickle.loads(states["cells"])
    *parts, last = path
    holder = state["_network"]
    for part in parts:
        holder = holder[part]
    holder[last] = value
    with pytest.raises(ValueError, match="in this state|by the state alone"):
        quick().__setstate__(state)


@pytest.mark.parametrize("way, other", [
    ("tables", "scan"), ("cells", "scan"), ("scan", "tables"), ("codes", "tables"),
])
def test_ways_to_search_are_those_of_the_arrays(states, way, other):
    state = pickle.loads(states[way])
    state["_network"]["layers"][0]["hashing"]["search"] = other
    with pytest.raises(ValueError, match="in this state"):
        quick().__setstate__(state)


@pytest.mark.parametrize("change", [
    {"classes_": np.arange(9)}, {"n_features_in_": 3}, {"_multilabel": True, "classes_": [0]}
])
def test_networks_of_other_estimators_are_refused(states, change):
    state = pickle.loads(states["scan"])
    with pytest.raises(ValueError, match="whose classes want"):
        quick().__setstate__(state | change)


def test_unfitted_round_trip():
    again = pickle.loads(pickle.dumps(quick(max_iter=7)))
    assert again.max_iter == 7
    again.fit(X, Y)


def test_clone_is_unfitted_and_learns_the_same(trained):
    copy = clone(trained)
    assert not hasattr(copy, "classes_")
    assert same_model(copy.fit(X, Y), trained)


def test_pipeline_and_cross_validation():
    pipeline = make_pipeline(StandardScaler(), quick(max_iter=20))
    assert cross_val_score(pipeline, X, Y, cv=3).mean() > 0.8
    pipeline.fit(X, Y)
    file = io.BytesIO()
    joblib.dump(pipeline, file)
    file.seek(0)
    assert_array_equal(joblib.load(file).predict_proba(X), pipeline.predict_proba(X))


def test_grid_search_in_two_processes():
    grid = {"active_fraction": [5, 30], "solver": ["sgd", "rowwise_adagrad"]}
    search = GridSearchCV(quick(max_iter=10), grid, cv=2, n_jobs=2).fit(X, Y)
    assert search.best_score_ > 0.7
    assert_array_equal(
        search.best_estimator_.predict(X), clone(search.best_estimator_).fit(X, Y).predict(X)
    )


def test_calibration():
    calibrated = CalibratedClassifierCV(quick(max_iter=10), cv=2).fit(X, Y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    assert calibrated.score(X, Y) > 0.8


def test_inference_may_change_after_fit():
    estimator = quick(active_fraction=5, hash_ranking="union").fit(X, Y)
    found = {}
    for inference in ("auto", "exact", "all", "auto"):
        found.setdefault(inference, []).append(
            estimator.set_params(inference=inference).predict_proba(X)
        )
    assert_array_equal(*found["auto"])
    assert (found["auto"][0] != found["exact"][0]).any()
    assert (found["all"][0] != found["exact"][0]).any()
    everyone = estimator.set_params(inference="all")
    again = pickle.loads(pickle.dumps(everyone))
    assert_array_equal(again.predict_proba(X), found["all"][0])


def test_inference_has_no_influence_on_training():
    a, b = quick(inference="all").fit(X, Y), quick().fit(X, Y)
    a.predict(X)
    a.partial_fit(X, Y), b.partial_fit(X, Y)
    for u, v in zip(a.coefs_, b.coefs_, strict=True):
        assert_array_equal(u, v)
