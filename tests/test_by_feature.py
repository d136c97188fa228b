"""Weights by feature, above wide sparse input."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from problems import N_FEATURES, documents, indicator, quick, same_model, wide
from scipy.sparse import csr_array
from test_gradients import WARM_UP, follow_thresholds, selected_by, twin

from sklearn_lsh.core.engine import OPENMP

X, Y = documents()


def test_wide_sparse_input_lies_by_feature():
    estimator = wide(max_iter=1).fit(X, Y)
    assert estimator._network.state["layers"][0]["weights"].shape == (N_FEATURES, 32)
    dense = wide(max_iter=1).fit(X.toarray(), Y)
    assert same_model(estimator, dense)  # what counts are the values, not how they are stored


@pytest.mark.parametrize("alpha", [0.0, 0.05])
@pytest.mark.parametrize("sizes, k", [((32,), 1.0), ((33, 20), 1.0), ((90,), 10), ((), 1.0)])
def test_steps_by_feature(sizes, k, alpha):
    """Against NumPy: dense and sparse hidden layers, none, odd widths, decay, a full row."""
    rows = np.vstack([X[:60].toarray(), np.ones((2, N_FEATURES)) / 40])
    y = np.append(Y[:60] % 7, [0, 1])
    estimator = wide(
        hidden_layer_sizes=sizes, active_fraction=k if sizes else "auto", output_active=None,
        learning_rate_init=0.2, alpha=alpha, max_iter=1,
    )
    estimator.partial_fit(rows[:WARM_UP], y[:WARM_UP], classes=np.arange(7))
    assert estimator._network.settings.by_input[0]
    oracle, start = twin(estimator), [w.copy() for w in estimator.coefs_]
    for i in range(WARM_UP, len(y)):
        follow_thresholds(oracle, estimator)
        estimator.partial_fit(rows[[i]], y[[i]])
        loss = oracle.step(rows[i].astype(np.float32), [y[i]], selected_by(estimator))
        assert_allclose(estimator.loss_, loss, rtol=1e-3)
    for layer, w, b, w0 in zip(
        oracle.layers, estimator.coefs_, estimator.intercepts_, start, strict=True
    ):
        atol = 1e-3 * np.abs(layer.w.T - w0).max()
        assert_allclose(w.T, layer.w, rtol=2e-4, atol=atol)
        assert_allclose(b, layer.b, rtol=2e-4, atol=atol)


def test_rows_with_most_features_set_are_learned_from_as_well():
    """Such a row reaches the layer in its dense form."""
    full = csr_array(np.ones((3, N_FEATURES), np.float32) / 40)
    mixed = csr_array(np.vstack([X[:300].toarray(), full.toarray()]))
    y = np.append(Y[:300], [1, 2, 3])
    models = [wide(max_iter=2, n_jobs=n).fit(mixed, y) for n in (None, 2 if OPENMP else None)]
    models[1].n_jobs = None
    assert same_model(*models)
    assert np.isfinite(models[0].coefs_[0]).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_huge_values_do_no_harm():
    """Updates that could overflow are refused, whatever the layout."""
    wild = X[:200].copy()
    wild.data[::7] = 1e30
    estimator = wide(max_iter=1)
    try:
        estimator.fit(wild, Y[:200])
    except ValueError as error:
        assert "diverged" in str(error)
    else:
        assert all(np.isfinite(w).all() for w in (*estimator.coefs_, *estimator.intercepts_))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("value, weight", [(1e20, 3e-3), (1.0, 1e20)])
def test_accumulators_do_not_overflow(value, weight):
    """Squares of a feature, and of an intercept's gradient, beyond float32."""
    wild, weights = X.copy(), np.ones(len(Y))
    for i in range(0, len(Y), 40):
        wild.data[wild.indptr[i]] = value
        weights[i] = weight
    estimator = wide(max_iter=1).fit(wild, Y, weights)
    assert "feature_squares" in estimator._network.state["layers"][0]["optimizer"]
    for layer in estimator._network.state["layers"]:
        assert all(np.isfinite(array).all() for array in layer["optimizer"].values())


@pytest.mark.filterwarnings("ignore")
def test_gradients_that_overflow_leave_no_nan():
    """All steps are refused, and nothing times an infinite gradient is NaN."""
    estimator = quick((64,), selection="all", batch_size=1).partial_fit(X, indicator(Y))
    assert estimator._network.settings.stores[0].__name__ == "ByFeature"
    estimator._network.state["layers"][1]["weights"][:] *= 100
    weights = np.full(len(Y), 1e-30, np.float32)
    weights[:3] = 3e37
    estimator.partial_fit(X, indicator(Y), sample_weight=weights)
    assert all(np.isfinite(w).all() for w in estimator.coefs_)
