"""The estimator: scikit-learn's conventions, parameters, stopping, errors, interruption."""

import _thread
import pickle
import signal
import threading
import time
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from problems import digits, quick, same_model
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_hashing import assert_codes_follow_weights

from sklearn_lsh import LSHMLPClassifier
from sklearn_lsh.core.engine import OPENMP

X, Y = digits()

# scikit-learn grants these to SGDClassifier too: order and number of updates matter.
UPDATES_PER_EXAMPLE = {
    f"check_sample_weight_equivalence_on_{kind}_data": "one update an example"
    for kind in ("dense", "sparse")
}


@parametrize_with_checks(
    [
        LSHMLPClassifier(),
        LSHMLPClassifier((60,), active_fraction=15, max_iter=30),
        LSHMLPClassifier((60,), active_fraction=15, max_iter=30, solver="adagrad",
                         hash_ranking="collisions", hash_search="tables"),
    ],
    expected_failed_checks=lambda estimator: UPDATES_PER_EXAMPLE,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# ---- fitted attributes ---------------------------------------------------------------------


def test_fitted_attributes():
    estimator = quick((120, 90), active_fraction=[20, 0.5], max_iter=4).fit(X, Y)
    assert [w.shape for w in estimator.coefs_] == [(64, 120), (120, 90), (90, 10)]
    assert [b.shape for b in estimator.intercepts_] == [(120,), (90,), (10,)]
    assert {a.dtype for a in estimator.coefs_ + estimator.intercepts_} == {np.dtype("f4")}
    assert (estimator.n_layers_, estimator.n_outputs_, estimator.n_features_in_) == (4, 10, 64)
    assert (estimator.n_iter_, estimator.t_) == (4, 1600)
    assert estimator.out_activation_ == "softmax"
    # Of 20 inputs, half of the exact activations cost less than all sketches.
    assert estimator.hash_search_ == ["scan", "exact"]
    assert len(estimator.loss_curve_) == 4
    assert estimator.loss_ == estimator.loss_curve_[-1]
    assert estimator.best_loss_ == min(estimator.loss_curve_)
    assert estimator.validation_scores_ is None
    assert estimator.best_validation_score_ is None
    assert quick().fit(X, Y % 2).out_activation_ == "logistic"


def test_history_has_a_row_an_epoch():
    history = quick((120, 90), active_fraction=[20, 0.3], max_iter=4).fit(X, Y).history_
    assert {k: v.shape for k, v in history.items()} == {
        "loss": (4,), "seconds": (4,), "active_fraction": (4, 2), "multiplications": (4,),
        "dead_nodes": (4, 2), "validation_score": (4,), "stage_seconds": (4, 3, 4),
    }
    assert (history["seconds"] > 0).all()
    assert (history["stage_seconds"] > 0).all()
    assert (history["stage_seconds"].sum(axis=(1, 2)) < history["seconds"]).all()
    assert (history["multiplications"] > 0).all()
    assert (history["dead_nodes"] < [120, 90]).all()
    assert np.isnan(history["validation_score"]).all()


@pytest.mark.usefixtures("lazy_mean")
def test_standard_network_multiplies_as_the_formula_says():
    """Dense input, every node active: the share is 1 where no zero is skipped.

    With a solver that does not centre, which takes a product with the mean input as well.
    """
    data = X + 0.5
    params = {"selection": "all", "activation": "tanh", "solver": "sgd"}
    history = quick((30, 20), **params).fit(data, Y).history_
    np.testing.assert_allclose(history["multiplications"], 1)
    sparse = quick((30, 20), **params).fit(X, Y).history_["multiplications"]
    assert (sparse < 1).all()


def test_multiplications_fall_with_the_active_fraction():
    def spent(k):
        return quick((1000,), active_fraction=k, max_iter=4).fit(X, Y).history_["multiplications"]

    assert (spent(10) < spent(50)).all()
    assert spent(50)[-1] < spent(200)[-1] < 0.5
    assert spent(10)[-1] < 0.2


def test_dead_nodes_are_those_never_used():
    params = {"selection": "winner_take_all", "active_threshold": "hard"}
    history = quick((50,), active_fraction=1, **params).fit(X[:20], Y[:20])
    assert (history.history_["dead_nodes"] >= 30).all()
    assert (quick((50,), selection="all").fit(X, Y).history_["dead_nodes"] == 0).all()


def test_not_fitted():
    for call in ("predict", "predict_proba", "predict_log_proba"):
        with pytest.raises(NotFittedError):
            getattr(quick(), call)(X)
    assert not hasattr(quick(), "coefs_")
    assert not hasattr(quick(), "intercepts_")


# ---- parameters ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes, given, expected",
    [
        ((1000,), "auto", [50]),
        ((2000, 600, 30), "auto", [100, 50, 30]),
        ((1000,), 0.05, [50]),
        ((200, 100), 0.1, [20, 10]),
        ((200, 100), 7, [7, 7]),
        ((200, 100), [7, 0.5], [7, 50]),
        ((200, 100), ("auto", 1.0), [50, 100]),
        ((200, 100), np.array([3, 4]), [3, 4]),
        ((200,), 1, [1]),  # a node, not everything
        ((200,), 1.0, [200]),
        ((10,), 1e-9, [1]),
        ((), "auto", []),
        (200, 9, [9]),
        (np.int64(200), 9, [9]),
    ],
)
def test_active_fraction(sizes, given, expected):
    params = {"active_fraction": given, "active_threshold": "hard", "max_iter": 2}
    estimator = quick(sizes, **params).fit(X, Y)
    widths = [w.shape[1] for w in estimator.coefs_[:-1]]
    assert_array_equal(estimator.history_["active_fraction"], [np.divide(expected, widths)] * 2)


@pytest.mark.parametrize(
    "given",
    [0, 0.0, -1, -0.5, 1.5, 101, [5], [5, 5, 5], [5, 0], [5, "half"], "half", None, [True, 5]],
)
def test_active_fraction_out_of_range(given):
    with pytest.raises(ValueError, match="active_fraction"):
        quick((200, 100), active_fraction=given).fit(X, Y)


@pytest.mark.parametrize("sizes", [(0,), (10, -1), (10.5,), 0, -3, ("a",), None, [[5, 5]]])
def test_hidden_layer_sizes_out_of_range(sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        quick(sizes).fit(X, Y)


@pytest.mark.parametrize(
    "params",
    [
        {"activation": "sine"}, {"selection": "best"}, {"inference": "fast"},
        {"hash_family": "minhash"}, {"hash_search": "graph"}, {"hash_ranking": "none"},
        {"hash_bits": 0}, {"hash_bits": 25}, {"hash_bits": 2.5}, {"hash_tables": 0},
        {"hash_probes": 0}, {"solver": "adam"}, {"alpha": -1}, {"alpha": np.nan},
        {"learning_rate": "fast"}, {"learning_rate_init": 0}, {"learning_rate_init": "fast"},
        {"momentum": 1.0}, {"momentum": -0.1}, {"multilabel_loss": "hinge"}, {"max_iter": 0},
        {"max_iter": 1.5}, {"shuffle": "yes"}, {"tol": -1}, {"n_iter_no_change": 0},
        {"early_stopping": 1.5}, {"validation_fraction": 0}, {"validation_fraction": 1},
        {"class_weight": "even"}, {"warm_start": None}, {"n_jobs": 1.5}, {"n_jobs": 0},
        {"random_state": "x"}, {"verbose": -1}, {"learning_rate_init": np.inf},
        {"alpha": np.inf},
    ],
    ids=str,
)
def test_invalid_parameters(params):
    for fit in (lambda e: e.fit(X, Y), lambda e: e.partial_fit(X, Y, range(10))):
        estimator = quick(**params)
        with pytest.raises((InvalidParameterError, ValueError)):
            fit(estimator)
        assert not hasattr(estimator, "classes_")


@pytest.mark.parametrize("n_bits", [1, 2, 12, 24])
def test_any_number_of_bits(n_bits):
    """More probes than buckets are all buckets; few long lists, or many short ones."""
    estimator = quick(hash_bits=n_bits, hash_tables=2, hash_probes=100, hash_search="tables")
    assert estimator.fit(X, Y).score(X, Y) > 0.5


# ---- epochs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {}, {"solver": "adagrad"}, {"solver": "sgd", "alpha": 0.01}, {"selection": "dropout"},
        {"selection": "adaptive_dropout"}, {"hash_search": "tables", "hash_ranking": "union"},
        {"learning_rate": "invscaling"}, {"shuffle": False}, {"class_weight": {3: 5.0}},
        {"learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1},
    ],
    ids=str,
)
def test_partial_fit_calls_continue_as_epochs(params):
    at_once = quick(max_iter=6, **params).fit(X, Y)
    in_turn = quick(**params)
    for _ in range(at_once.n_iter_):
        in_turn.partial_fit(X, Y, classes=range(10))
    assert same_model(at_once, in_turn)


def test_partial_fit_after_fit_goes_on():
    whole = quick(max_iter=6).fit(X, Y)
    half = quick(max_iter=4).fit(X, Y).partial_fit(X, Y).partial_fit(X, Y)
    assert same_model(whole, half)


def test_fit_starts_anew():
    estimator = quick().fit(X, Y)
    assert same_model(estimator.fit(X, Y), quick().fit(X, Y))
    estimator.fit(X[:, :30], Y % 3)
    assert same_model(estimator, quick().fit(X[:, :30], Y % 3))


def test_order_of_examples_without_shuffle():
    plain = {"shuffle": False, "selection": "all", "max_iter": 1}
    a, b = quick(**plain).fit(X, Y), quick(**plain).fit(X[::-1], Y[::-1])
    assert (a.coefs_[0] != b.coefs_[0]).any()
    c = quick(**{**plain, "shuffle": True}).fit(X, Y)
    assert (a.coefs_[0] != c.coefs_[0]).any()


def test_stops_when_the_loss_no_longer_improves():
    estimator = quick(max_iter=500, tol=1e-3, n_iter_no_change=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.fit(X, Y)
    assert estimator.n_iter_ < 500
    recent, before = estimator.loss_curve_[-6:], estimator.loss_curve_[:-6]
    assert min(recent) > min(before) - 6 * 1e-3


def test_warns_when_it_did_not_converge():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\)"):
        quick(max_iter=3).fit(X, Y)


@pytest.mark.parametrize("rate, alpha", [(0.5, 2), (0.1, 10.0), ("auto", 1e300), (1e-46, 1e39)])
def test_alpha_leaves_something_of_the_weights(rate, alpha):
    """With 1 - learning_rate * alpha below 0 weights would grow, at -1 without bound."""
    estimator = quick(max_iter=2).fit(X, Y)
    before = pickle.dumps(estimator)
    estimator.set_params(learning_rate_init=rate, alpha=alpha)
    with pytest.raises(ValueError, match="alpha must be below"):
        estimator.partial_fit(X, Y)
    estimator.set_params(learning_rate_init="auto", alpha=0.0)
    assert pickle.dumps(estimator) == before
    estimator.set_params(learning_rate_init=0.5, alpha=1.99).partial_fit(X, Y)
    assert all(np.isfinite(w).all() for w in estimator.coefs_)


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": np.nan}, {"alpha": -1.0}, {"learning_rate_init": -0.5}, {"batch_size": 0},
        {"tol": "a"}, {"solver": "none"}, {"learning_rate": "none"},
    ],
)
def test_parameters_set_after_fit_are_validated(wrong):
    """scikit-learn does not for the partial_fit of a fitted estimator; NaN crashed it."""
    estimator = quick(max_iter=1).fit(X, Y)
    right = {name: estimator.get_params()[name] for name in wrong}
    before = pickle.dumps(estimator)
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}"):
        estimator.set_params(**wrong).partial_fit(X, Y)
    assert pickle.dumps(estimator.set_params(**right)) == before


def test_inference_set_after_fit_is_validated():
    estimator = quick(max_iter=1).fit(X, Y).set_params(inference="exct")
    for call in (lambda: estimator.predict(X), estimator.predictor):
        with pytest.raises(ValueError, match="inference must be one of.*'exct'"):
            call()


def test_warm_start_goes_on():
    warm = quick(warm_start=True, max_iter=2).fit(X, Y)
    first = warm.loss_
    warm.fit(X, Y)
    assert warm.loss_curve_[0] < first
    assert (warm.n_iter_, warm.t_) == (2, 4 * len(X))
    with pytest.raises(ValueError, match="same classes"):
        warm.fit(X, Y % 5)
    with pytest.raises(ValueError, match="features"):
        warm.fit(X[:, :10], Y)


def test_constant_schedule_differs_from_the_others():
    weights = {
        schedule: quick(learning_rate=schedule, solver="sgd", max_iter=8).fit(X, Y).coefs_[0]
        for schedule in ("constant", "invscaling", "adaptive")
    }
    assert (weights["constant"] == weights["adaptive"]).all()  # while the loss improves
    assert (weights["constant"] != weights["invscaling"]).any()


def test_adaptive_schedule_divides_by_five_until_the_step_is_tiny():
    estimator = quick(
        learning_rate="adaptive", learning_rate_init=0.1, tol=100.0, n_iter_no_change=1,
        max_iter=200,
    ).fit(X[:50], Y[:50])
    # After the first, every third epoch: 0.1 / 5^8 is above 1e-7, and then it stops.
    assert 16 <= estimator.n_iter_ <= 30


def test_adaptive_schedule_reduces_the_rate_that_is_set():
    estimator = quick(selection="all", learning_rate="adaptive", learning_rate_init=0.5).fit(X, Y)
    before = [w.copy() for w in estimator.coefs_]
    estimator.set_params(learning_rate_init=1e-9).partial_fit(X, Y)
    for now, then in zip(estimator.coefs_, before, strict=True):
        np.testing.assert_allclose(now, then, atol=1e-6)


def test_verbose(capsys):
    quick(verbose=True, max_iter=2).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["Iteration 1", "Iteration 2"]
    quick(max_iter=2).fit(X, Y)
    assert capsys.readouterr().out == ""


# ---- weights -------------------------------------------------------------------------------


def test_class_weight_is_a_sample_weight():
    balanced = compute_class_weight("balanced", classes=np.arange(10), y=Y)
    found = [
        quick(class_weight="balanced").fit(X, Y),
        quick(class_weight=dict(enumerate(balanced))).fit(X, Y),
        quick().fit(X, Y, sample_weight=balanced[Y]),
    ]
    for other in found[1:]:
        assert_array_equal(found[0].predict_proba(X), other.predict_proba(X))
    assert (found[0].predict_proba(X) != quick().fit(X, Y).predict_proba(X)).any()


@pytest.mark.parametrize("params", [
    {}, {"early_stopping": True}, {"n_whitened": 3}, {"class_weight": "balanced"},
])
@pytest.mark.parametrize("sparse", [False, True])
def test_examples_of_weight_0_are_as_if_they_were_not_there(params, sparse):
    weights = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    weights[5] = 1e-60  # 0 in the numbers that are computed with
    there = weights > 1e-45
    x = sp.csr_array(X) if sparse else X
    if sparse and "n_whitened" in params:
        params = {}
    fitted = quick(**params).fit(x, Y, sample_weight=weights)
    without = quick(**params).fit(x[there], Y[there], sample_weight=weights[there])
    assert same_model(fitted, without)


def test_examples_of_weight_0_in_partial_fit():
    weights = (np.arange(len(X)) % 3).astype(float)
    one = quick().partial_fit(X, Y, classes=range(10), sample_weight=weights)
    there = weights > 0
    other = quick().partial_fit(X[there], Y[there], range(10), weights[there])
    assert same_model(one, other)
    before = [w.copy() for w in one.coefs_]
    one.partial_fit(X, Y, sample_weight=np.full(len(X), 1e-60))  # none has any: none is left out
    for now, then in zip(one.coefs_, before, strict=True):
        # The order of nodes is another's matter.
        assert_array_equal(np.sort(now, axis=None), np.sort(then, axis=None))


def test_classes_of_weight_0_are_classes():
    estimator = quick().fit(X, Y, sample_weight=(Y != 3).astype(float))
    assert estimator.classes_.tolist() == [*range(10)]


def test_class_weight_moves_the_decision():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 3))
    y = (x[:, 0] + rng.standard_normal(400) > 1.5).astype(int)
    plain, heavy = (
        quick(class_weight=w, max_iter=20).fit(x, y).predict(x).mean() for w in (None, {1: 20})
    )
    assert heavy > plain


def test_balanced_needs_all_of_y():
    with pytest.raises(ValueError, match="balanced"):
        quick(class_weight="balanced").partial_fit(X, Y, range(10))


@pytest.mark.parametrize("weights", [np.full(len(Y), -1.0), np.ones(3), np.full(len(Y), np.nan)])
def test_invalid_sample_weights(weights):
    with pytest.raises(ValueError):
        quick().fit(X, Y, sample_weight=weights)


# ---- degenerate data -----------------------------------------------------------------------

RNG = np.random.default_rng(0)
DEGENERATE = {
    "zero rows": (np.vstack([X[:50], np.zeros((50, 64))]), Y[:100]),
    "only zeros": (np.zeros((40, 6)), Y[:40]),
    "no entries": (sp.csr_array((40, 6)), Y[:40]),
    "one class": (X[:40], np.zeros(40, int)),
    "one sample": (X[:1], Y[:1]),
    "two samples": (X[:2], Y[:2]),
    "constant features": (np.full((40, 6), 3.0), Y[:40]),
    "equal rows": (np.repeat(X[:1], 40, axis=0), Y[:40]),
    "one feature": (RNG.standard_normal((40, 1)), Y[:40] % 2),
    "large": (1e6 * X[:100], Y[:100]),
    "small": (1e-12 * X[:100], Y[:100]),
    "denormal": (1e-41 * X[:100], Y[:100]),
}


@pytest.mark.parametrize("params", [{}, {"hash_search": "tables", "hash_family": "simple_lsh"},
                                    {"selection": "adaptive_dropout"}, {"solver": "adagrad"},
                                    {"hash_search": "cells"}], ids=str)
@pytest.mark.parametrize("kind", DEGENERATE)
def test_degenerate_data(kind, params):
    x, y = DEGENERATE[kind]
    estimator = quick(max_iter=3, **params).fit(x, y)
    probabilities = estimator.predict_proba(x)
    assert np.isfinite(probabilities).all()
    assert set(estimator.predict(x)) <= set(y)
    if kind == "one class":
        assert (estimator.predict(x) == 0).all()
    assert quick(max_iter=3, **params).partial_fit(x, y, range(10)).predict(x).shape == y.shape


# ---- consistency after failures ------------------------------------------------------------


@pytest.mark.parametrize("search", ["tables", "scan"])
def test_failed_calls_change_nothing(search):
    estimator = quick(hash_search=search, hash_ranking="collisions").fit(X, Y)
    before = pickle.dumps(estimator)
    spoilt = X.copy()
    spoilt[5, 5] = np.nan
    bad = [
        (spoilt, Y, None), (X, Y + 1, None), (X[:, :9], Y, None), (X, Y[:9], None),
        (X, Y, -np.ones(len(Y))), (X, Y, np.ones(5)), (X * 1e40, Y, None),
        (np.hstack([X, X]), Y, None), (X, np.column_stack([Y, Y]), None), (X[:0], Y[:0], None),
    ]
    for x, y, weights in bad:
        with pytest.raises(ValueError):
            estimator.partial_fit(x, y, sample_weight=weights)
        assert pickle.dumps(estimator) == before
    for x in (spoilt, X[:, :9], np.hstack([X, X]), X * 1e40):
        with pytest.raises(ValueError):
            estimator.predict(x)
        assert pickle.dumps(estimator) == before


@pytest.mark.parametrize(
    "x, y",
    [
        (X[:, :9], Y + 0.5), (np.hstack([X, X]), Y + 0.5), (np.hstack([X, X]) * 1e40, Y),
        (np.hstack([X, X]), np.column_stack([Y, Y])),
    ],
)
def test_failed_fit_leaves_the_fitted_estimator_as_it_was(x, y):
    """Above all its number of features: the network would read beyond its memory."""
    estimator = quick().fit(X, Y)
    before = pickle.dumps(estimator)
    with pytest.raises(ValueError):
        estimator.fit(x, y)
    assert pickle.dumps(estimator) == before


def test_failed_first_fit_leaves_no_trace():
    for fit in (lambda e: e.fit(X * 1e40, Y), lambda e: e.partial_fit(X * 1e40, Y, range(10))):
        estimator = quick()
        with pytest.raises(ValueError):
            fit(estimator)
        with pytest.raises(NotFittedError):
            estimator.predict(X)


@pytest.mark.parametrize("selection", ["lsh", "all", "adaptive_dropout"])
@pytest.mark.parametrize("solver", ["sgd", "adagrad", "rowwise_adagrad"])
@pytest.mark.parametrize(
    "rate, scale",
    [(1e6, 1), (1e30, 1), (1, 1e18), (0.1, 1e19), (0.1, 1e20), (1e10, 1e36), (0.1, 1e38)],
)
def test_divergence_is_reported_and_never_nan(rate, scale, solver, selection):
    """Either training raises, or every prediction is a number (or refused with its reason)."""
    x = np.clip(scale * X, None, 3e38)
    estimator = quick(learning_rate_init=rate, solver=solver, selection=selection)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(x, Y)
    except ValueError as error:
        assert "diverged" in str(error)
        with pytest.raises(NotFittedError):
            estimator.predict(X)
        return
    assert np.isfinite(estimator.loss_curve_).all()
    assert all(np.isfinite(w).all() for w in estimator.coefs_ + estimator.intercepts_)
    for layer in estimator._network.state["layers"]:
        assert all(np.isfinite(array).all() for array in layer["optimizer"].values())
    for data in (X, x):
        try:
            assert np.isfinite(estimator.predict_proba(data)).all()
        except ValueError as error:
            assert "overflow" in str(error)


def test_some_refused_updates_are_a_warning():
    x = X.copy()
    x[::50] *= 1e37
    with pytest.warns(ConvergenceWarning, match="updates would have made weights overflow"):
        estimator = quick(solver="sgd", learning_rate_init=0.05).fit(x, Y)
    assert np.isfinite(estimator.predict_proba(X)).all()


@pytest.mark.parametrize("scale", [1e18, 1e19, 1e20, 1e37])
@pytest.mark.parametrize("solver", ["adagrad", "rowwise_adagrad"])
def test_accumulators_do_not_overflow(solver, scale):
    """A node that had an infinite one would never move again, and nobody would know."""
    x = X.copy()
    x[::9] *= scale
    estimator = quick((120, 90), solver=solver, n_whitened=0)
    with pytest.warns(ConvergenceWarning, match="updates would have made weights overflow"):
        estimator.fit(x, Y)
    for layer in estimator._network.state["layers"]:
        assert all(np.isfinite(array).all() for array in layer["optimizer"].values())


def test_diverging_update_of_a_good_model_leaves_it_finite():
    for go_on in ("partial_fit", "fit"):
        estimator = quick(warm_start=True, solver="sgd").fit(X, Y)
        with pytest.raises(ValueError, match="diverged"):
            getattr(estimator, go_on)(3e38 * X, Y)
        assert np.isfinite(estimator.predict_proba(X)).all()
        assert same_model(pickle.loads(pickle.dumps(estimator)), estimator)


# ---- Ctrl-C and threads --------------------------------------------------------------------


@pytest.fixture
def ctrl_c():
    """Ctrl-C as in a terminal: shells start background jobs, and so some CI, without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("search", ["tables", "scan"])
def test_interrupted_fit_leaves_a_consistent_estimator(search, warm):
    estimator = quick(
        (2000,), active_fraction=100, max_iter=100_000, n_iter_no_change=100_000,
        hash_search=search, solver="adagrad", hash_ranking="collisions", warm_start=warm,
    )
    if warm:
        estimator.set_params(max_iter=1).fit(X, Y).set_params(max_iter=100_000)
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        _thread.interrupt_main()

    timer = threading.Timer(0.7, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, Y)
    assert time.perf_counter() - sent[0] < 5  # a second, on a machine that is not busy
    probabilities = estimator.predict_proba(X)
    assert np.isfinite(probabilities).all()
    assert_array_equal(pickle.loads(pickle.dumps(estimator)).predict_proba(X), probabilities)
    assert_codes_follow_weights(estimator)
    assert estimator.partial_fit(X, Y).score(X, Y) > 0.8


@pytest.mark.usefixtures("ctrl_c")
def test_interrupt_before_the_first_epoch_ends():
    estimator = quick((4000,), selection="all", max_iter=1, n_whitened=0)  # trains at once
    # More than a fast machine trains on before the interrupt, or it would come to whoever is next.
    data, labels = np.tile(X.astype(np.float32), (300, 1)), np.tile(Y, 300)
    threading.Timer(0.3, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(data, labels)
    assert estimator.n_iter_ == 0
    assert 0 < estimator.t_ < len(data)
    assert np.isfinite(estimator.predict_proba(X)).all()
    assert np.isnan(estimator.loss_)
    pickle.loads(pickle.dumps(estimator)).predict(X)


def test_interrupt_before_training_changes_nothing(monkeypatch):
    """Not even the number of features, which the old network's memory depends on."""
    estimator = quick(max_iter=1).fit(X, Y)
    before = estimator.predict_proba(X)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sklearn_lsh._network.Network.create", interrupted)
    wider = np.hstack([X, X])
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(wider, Y)
    assert_array_equal(estimator.predict_proba(X), before)
    with pytest.raises(ValueError, match="features"):
        estimator.predict(wider)


def test_interrupt_of_the_last_moment(monkeypatch):
    """When training is over: what the estimator says is what the network has learned."""
    estimator = quick().partial_fit(X, Y, classes=np.arange(10))
    keep, calls = LSHMLPClassifier._keep, []

    def interrupted(self, *args):
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt
        keep(self, *args)

    monkeypatch.setattr(LSHMLPClassifier, "_keep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        estimator.partial_fit(X, Y)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 2
    assert estimator.t_ == 2 * len(X)
    assert estimator.loss_ == estimator.loss_curve_[-1]


def test_engine_refuses_rows_of_another_width():
    estimator = quick(max_iter=1).fit(X, Y)
    estimator.n_features_in_ *= 2  # whatever led to it
    with pytest.raises(ValueError, match="128 features in a network for 64"):
        estimator.predict(np.hstack([X, X]))


@pytest.mark.skipif(not OPENMP, reason="built without OpenMP")
@pytest.mark.parametrize("search", ["tables", "scan"])
def test_two_threads_learn_as_well(search):
    params = {"max_iter": 20, "hash_search": search, "hash_ranking": "collisions"}
    one, two = (quick(n_jobs=n, **params).fit(X, Y).score(X, Y) for n in (None, 2))
    assert one > 0.9
    assert two > one - 0.05


def test_feature_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    estimator = quick(max_iter=1).fit(frame, Y)
    assert_array_equal(estimator.feature_names_in_, frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(frame[frame.columns[::-1]])
