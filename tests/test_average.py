"""``average=True``: training that ends with the mean of the weights after its epochs."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import digits, documents, quick, same_model, wide
from scipy.sparse import csr_array
from sklearn.base import clone
from test_cells import assert_cells_follow_weights
from test_hashing import assert_codes_follow_weights, assert_sketches_follow_weights

from sklearn_lsh._network import Network
from sklearn_lsh._rehash import Rehasher

X, Y = digits()
DOCUMENTS, CLASSES = documents(600)


def in_place(estimator):
    """All parameters, each node in the place it started in."""
    below, found = slice(None), []
    for w, layer in zip(estimator.coefs_, estimator._network.state["layers"], strict=True):
        place = np.argsort(layer["nodes"]) if "nodes" in layer else slice(None)
        found += [w[below][:, place].copy(), layer["intercepts"][place].copy()]
        found.append(layer.get("threshold", np.zeros(2)).copy())
        below = place
    return found


def mean_of_epochs(estimator, X, y):
    """Section 4 of Shamir and Zhang 2013, eta = 3, over epochs of partial_fit."""
    estimator = clone(estimator).set_params(average=False)
    mean = None
    for t in range(1, estimator.max_iter + 1):
        now = in_place(estimator.partial_fit(X, y, classes=np.unique(y)))
        mean = now if t == 1 else [
            (1 - 4 / (t + 3)) * old + 4 / (t + 3) * new for old, new in zip(mean, now, strict=True)
        ]
    return mean


@pytest.fixture(params=["as usual", "often"])
def sorting(request):
    """Nodes are sorted as usual, or after every 32 examples."""
    if request.param == "often":
        request.getfixturevalue("sorted_often")


@pytest.mark.usefixtures("sorting")
@pytest.mark.parametrize("n_epochs", [1, 2, 7])
@pytest.mark.parametrize("solver", ["rowwise_adagrad", "adagrad", "sgd"])
@pytest.mark.parametrize("sizes", [(120,), (120, 90)])
def test_it_is_the_mean_of_epochs(sizes, solver, n_epochs):
    estimator = quick(sizes, solver=solver, average=True, max_iter=n_epochs)
    wanted = mean_of_epochs(estimator, X, Y)
    for found, expected in zip(in_place(estimator.fit(X, Y)), wanted, strict=True):
        assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "estimator, data, y",
    [
        (quick(selection="all"), X, Y),
        (quick((120, 90), active_fraction=1.0, activation="tanh"), X, Y),
        (quick((), max_iter=3), X, Y),
        (quick(n_whitened=8), X, Y),
        (wide(max_iter=4), DOCUMENTS, CLASSES),  # weights by feature, hashed outputs
        (quick(max_iter=4), DOCUMENTS, CLASSES % 7),
    ],
)
def test_it_is_the_mean_of_epochs_however_weights_lie(estimator, data, y):
    estimator.set_params(average=True)
    wanted = mean_of_epochs(estimator, data, y)
    for found, expected in zip(in_place(estimator.fit(data, y)), wanted, strict=True):
        assert_allclose(found, expected, atol=1e-6)


def test_large_layers_are_copied_in_pieces(monkeypatch):
    whole = quick((120, 90), average=True).fit(X, Y)
    monkeypatch.setattr("sklearn_lsh._network.COPIED_TOGETHER", 500)  # 7 rows, and 4
    assert same_model(whole, quick((120, 90), average=True).fit(X, Y))


def test_one_epoch_is_its_own_mean():
    one = quick((120, 90), max_iter=1, average=True).fit(X, Y)
    other = quick((120, 90), max_iter=1).fit(X, Y)
    for found, expected in zip(in_place(one), in_place(other), strict=True):
        assert_array_equal(found, expected)


@pytest.mark.parametrize("search, check", [
    ("scan", assert_sketches_follow_weights), ("cells", assert_cells_follow_weights),
    ("tables", assert_codes_follow_weights),
])
def test_hash_tables_follow_the_mean(search, check):
    estimator = quick(hash_search=search, average=True, max_iter=15).fit(X, Y)
    check(estimator)
    last = quick(hash_search=search, max_iter=15).fit(X, Y)
    assert not np.allclose(estimator.coefs_[1], last.coefs_[1], atol=1e-3)


@pytest.mark.parametrize("room, step", [(Network, "restore"), (Rehasher, "rebuild")])
@pytest.mark.parametrize("kept", ["average", "early_stopping"])
def test_ctrl_c_does_not_leave_half_of_it(monkeypatch, kept, room, step):
    params = {kept: True, "hash_search": "scan", "max_iter": 8}
    whole, estimator = quick((120, 90), **params).fit(X, Y), quick((120, 90), **params)

    def interrupted(owner, *snapshot):
        monkeypatch.undo()
        if snapshot:
            owner.weights[0][:] = snapshot[0][0]["weights"]  # the first layer's alone
        raise KeyboardInterrupt

    monkeypatch.setattr(room, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, Y)
    for found, expected in zip(in_place(estimator), in_place(whole), strict=True):
        assert_array_equal(found, expected)
    for index in (0, 1):
        assert_sketches_follow_weights(estimator, index)


def test_training_goes_on_from_the_mean():
    estimator = quick(average=True).fit(X, Y)
    mean = in_place(estimator)
    tiny = {"warm_start": True, "max_iter": 1, "learning_rate_init": 1e-12}
    estimator.set_params(**tiny).fit(X, Y)
    assert_allclose(in_place(estimator)[0], mean[0], atol=1e-6)


def test_reports_are_of_the_epochs():
    estimator, last = quick(average=True).fit(X, Y), quick().fit(X, Y)
    assert estimator.loss_curve_ == last.loss_curve_
    assert estimator.n_iter_ == last.n_iter_ and estimator.t_ == last.t_


def test_sparse_rows_do_the_same():
    assert same_model(quick(average=True).fit(X, Y), quick(average=True).fit(csr_array(X), Y))


def test_what_it_does_not_go_with():
    with pytest.raises(ValueError, match="set one of them to False"):
        quick(average=True, early_stopping=True).fit(X, Y)
    estimator = quick().fit(X, Y)
    before = quick().fit(X, Y)
    with pytest.raises(ValueError, match="partial_fit does not support average=True"):
        estimator.set_params(average=True).partial_fit(X, Y)
    assert same_model(estimator, before)
