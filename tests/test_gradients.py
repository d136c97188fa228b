"""Training steps against the NumPy reference, and the reference against finite differences."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose
from problems import digits, multilabel, quick

from sklearn_lsh.core.layer import ACTIVATIONS
from sklearn_lsh.core.losses import LOSSES
from sklearn_lsh.core.optimizers import SOLVERS
from sklearn_lsh.core.selection import SELECTIONS
from sklearn_lsh.inspection import active_sets

RATES = {"rowwise_adagrad": 0.2, "adagrad": 0.02, "sgd": 0.05}
WARM_UP = 40  # rows: the first one renews the hash functions, the 64th re-encodes
TARGETS = {
    "binary": lambda: (digits()[0], digits()[1] % 2),
    "multiclass": digits,
    "multilabel_sigmoid": multilabel,
    "multilabel_softmax": multilabel,
    "multilabel_decoupled_softmax": multilabel,
}


def twin(estimator):
    """The reference in the state of a fitted estimator."""
    network = estimator._network
    settings, arrays = network.settings, network.state["layers"]
    activations = [settings.activation] * len(settings.hidden_layer_sizes) + ["identity"]
    layers = []
    for layer, w, activation in zip(arrays, network.weights, activations, strict=True):
        b, state = layer["intercepts"], layer["optimizer"]
        momentum = 0.0 if settings.solver == "rowwise_adagrad" else estimator.momentum
        rule = reference.RULES[settings.solver](
            w.shape, estimator.learning_rate_init, momentum, estimator.alpha
        )
        if settings.solver == "sgd":
            rule.v = np.column_stack([state["state"], state["intercept_state"]])
        elif settings.solver == "adagrad":
            pairs = np.concatenate([state["state"], state["intercept_state"][:, None]], axis=1)
            rule.v, rule.total = np.moveaxis(pairs.astype(float), -1, 0).copy()
            sizes = (*settings.hidden_layer_sizes, 0)  # outputs are never thin
            thin = settings.n_active[len(layers)] < sizes[len(layers)]
            rule.intercept_rate = 10 if thin and settings.selection != "dropout" else 1
        elif "feature_squares" in state:
            layers.append(reference.LayerByFeature(w, b, activation, rule, **state))
            continue
        else:
            rule.total = state["row_squares"].astype(float)
        rule.mean = layer.get("mean", 0.0)
        if "whitening" in layer:
            rule.mean = layer["whitening"]["mean"]
            if len(layer["whitening"]["directions"]):
                rule.map = reference.whitening_map(layer["whitening"])
        layers.append(reference.Layer(w, b, activation, rule))
    oracle = reference.Network(layers, settings.loss)
    follow_thresholds(oracle, estimator)
    return oracle


def follow_thresholds(oracle, estimator):
    """Soft layers' thresholds move from step to step; test_threshold.py says how."""
    network = estimator._network
    for index, layer in enumerate(oracle.layers):
        if network.settings.softens(index):
            value, _ = network.state["layers"][index]["threshold"]
            layer.soft = value, network.settings.most_active(index)


def selected_before(estimator, x):
    """The nodes that training is going to select for x."""
    return [s.indices for s in active_sets(estimator, x)]


def selected_by(estimator):
    """The nodes that the last one-row epoch selected."""
    return [np.flatnonzero(a["used"]) for a in estimator._network.state["layers"][:-1]]


def assert_steps_agree(estimator, X, y, n_steps=10, sample_weight=None):
    """Ten one-row epochs of the estimator and of its twin end in the same weights."""
    classes = np.unique(y) if y.ndim == 1 else None
    estimator.partial_fit(X[:WARM_UP], y[:WARM_UP], classes=classes)
    oracle, start = twin(estimator), [w.copy() for w in estimator.coefs_]
    weights = np.ones(len(y)) if sample_weight is None else sample_weight
    for i in range(WARM_UP, WARM_UP + n_steps):
        before = selected_before(estimator, X[[i]])
        follow_thresholds(oracle, estimator)
        estimator.partial_fit(X[[i]], y[[i]], sample_weight=weights[[i]])
        active = selected_by(estimator)
        if "dropout" not in estimator.selection:
            for expected, found in zip(before, active, strict=True):
                assert set(expected) == set(found)
        if estimator.n_outputs_ == 1:
            labels = [0] if y[i] else []
        else:
            labels = np.flatnonzero(y[i]) if y.ndim == 2 else [y[i]]
        loss = oracle.step(X[i].astype(np.float32), labels, active, weights[i])
        assert_allclose(estimator.loss_ * weights[i], loss, rtol=1e-4, atol=1e-6)
    for layer, w, b, w0 in zip(
        oracle.layers, estimator.coefs_, estimator.intercepts_, start, strict=True
    ):
        moved = np.abs(w - w0).max()
        assert moved > 1e-4
        assert_allclose(w.T, layer.w, rtol=2e-4, atol=1e-3 * moved)
        assert_allclose(b, layer.b, rtol=2e-4, atol=1e-3 * moved)


def stepper(task="multiclass", **params):
    params = {"solver": "sgd", "selection": "lsh", "shuffle": False, **params}
    if task.startswith("multilabel"):
        params["multilabel_loss"] = task.removeprefix("multilabel_")
    return quick(learning_rate_init=RATES[params["solver"]], **params)


@pytest.mark.usefixtures("centring")
@pytest.mark.parametrize("sizes", [(120,), (120, 90)])
@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_ten_steps_agree_with_the_reference(solver, activation, task, sizes):
    X, y = TARGETS[task]()
    estimator = stepper(task, solver=solver, activation=activation, hidden_layer_sizes=sizes)
    assert_steps_agree(estimator, X, y)


@pytest.mark.usefixtures("centring")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("selection", SELECTIONS)
def test_every_selection_shares_the_step(selection, solver):
    X, y = digits()
    estimator = stepper(selection=selection, solver=solver, hidden_layer_sizes=(120, 90))
    assert_steps_agree(estimator, X, y)


@pytest.mark.parametrize("hash_search", ["auto", "scan", "tables"])
@pytest.mark.parametrize("threshold", ["soft", "hard"])
def test_thresholds(threshold, hash_search):
    """Soft is what the other tests of relu networks compare, hard what the paper has."""
    X, y = digits()
    estimator = stepper(
        active_threshold=threshold, hash_search=hash_search, hidden_layer_sizes=(120, 100, 90),
        solver="rowwise_adagrad",
    )
    assert_steps_agree(estimator, X, y)
    soft = [layer.soft is not None for layer in twin(estimator).layers]
    assert soft == [threshold == "soft", threshold == "soft", False, False]


@pytest.mark.usefixtures("centring")
@pytest.mark.parametrize("solver", SOLVERS)
def test_weight_decay_touches_the_updated_rows_only(solver):
    X, y = digits()
    assert_steps_agree(stepper(solver=solver, alpha=0.3, hidden_layer_sizes=(120, 90)), X, y)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("n_whitened", [1, 5, 64])
@pytest.mark.parametrize("solver", SOLVERS)
def test_whitened_inputs(solver, n_whitened, selection, alpha):
    X, y = digits()
    estimator = stepper(selection=selection, solver=solver, n_whitened=n_whitened, alpha=alpha)
    assert_steps_agree(estimator, X, y)
    assert 0 < estimator.n_whitened_ <= n_whitened


@pytest.mark.usefixtures("centring")
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("solver", ["sgd", "adagrad"])
def test_momentum(solver, momentum):
    X, y = digits()
    assert_steps_agree(stepper(solver=solver, momentum=momentum), X, y)


@pytest.mark.usefixtures("centring")
@pytest.mark.parametrize("solver", SOLVERS)
def test_dense_rows_take_the_same_step(solver):
    """More than half of the entries set: rows are handed on dense, every coordinate counts."""
    X, y = digits()
    X = X + 0.1 * (np.arange(64) % 3 > 0)  # some entries stay zero
    assert_steps_agree(stepper(solver=solver, activation="tanh"), X, y)


@pytest.mark.parametrize("solver", SOLVERS)
def test_sample_weights_scale_the_gradient(solver):
    X, y = digits()
    weights = np.random.default_rng(0).uniform(0.2, 3, len(y))
    assert_steps_agree(stepper(solver=solver), X, y, sample_weight=weights)


def test_weight_zero_is_no_example():
    X, y = digits(60)
    some = np.arange(60) % 3 > 0
    same = {"selection": "winner_take_all", "alpha": 0.1}
    weighted, shorter = (stepper(**same).partial_fit(X, y, range(10)) for _ in range(2))
    weighted.partial_fit(X, y, sample_weight=some.astype(float))
    shorter.partial_fit(X[some], y[some])
    for a, b in zip(weighted.coefs_, shorter.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["identity", "tanh", "logistic", "relu"])
def test_reference_gradients_agree_with_finite_differences(activation, loss):
    rng = np.random.default_rng(0)
    shapes = [(7, 5), (6, 7), (3, 6)]
    kinds = [activation, activation, "identity"]
    layers = [
        reference.Layer(rng.standard_normal(s), rng.standard_normal(s[0]), kind, None)
        for s, kind in zip(shapes, kinds, strict=True)
    ]
    network = reference.Network(layers, loss)
    x, labels, everyone = rng.standard_normal(5), [0, 2], [np.arange(7), np.arange(6)]

    def value():
        return reference.loss_and_delta(network.logits(x, everyone), labels, loss)[0]

    for layer, gradients in zip(layers, network.gradients(x, labels, everyone), strict=True):
        for array, gradient in zip((layer.w, layer.b), gradients, strict=True):
            flat, found = array.reshape(-1), np.zeros(array.size)
            for i in range(array.size):
                here = flat[i]
                flat[i] = here + 1e-6
                up = value()
                flat[i] = here - 1e-6
                found[i] = (up - value()) / 2e-6
                flat[i] = here
            assert_allclose(gradient.ravel(), found, rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("lazy_mean")
def test_library_gradients_agree_with_finite_differences():
    """One plain gradient step with every node active moves the weights by -lr * gradient."""
    X, y = digits()
    lr = 1e-2
    estimator = quick(
        selection="all", solver="sgd", momentum=0, learning_rate_init=lr, activation="tanh",
        hidden_layer_sizes=(9, 8),
    )
    estimator.partial_fit(X[:1], y[:1], classes=range(10))
    oracle = twin(estimator)
    estimator.partial_fit(X[1:2], y[1:2])
    everyone = [np.arange(9), np.arange(8)]
    gradients = oracle.gradients(X[1].astype(np.float32), [y[1]], everyone)
    for layer, (dw, db), w, b in zip(
        oracle.layers, gradients, estimator.coefs_, estimator.intercepts_, strict=True
    ):
        assert_allclose((layer.w - w.T) / lr, dw, rtol=1e-3, atol=2e-5)
        assert_allclose((layer.b - b) / lr, db, rtol=1e-3, atol=2e-5)
