"""Input matrices: whatever the storage, the same values give the same bits."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from problems import digits, quick

from sklearn_lsh._data import as_rows, ascends

X, Y = digits()
X = X.astype(np.float32)  # so that float64 copies hold the same values
WIDE = np.column_stack([X, np.zeros((len(X), 200), np.float32)])  # rows below half full


def unsorted(csr):
    """The same matrix with each row's entries in reverse."""
    csr = csr.copy()
    for start, stop in zip(csr.indptr, csr.indptr[1:], strict=False):
        csr.indices[start:stop] = csr.indices[start:stop][::-1].copy()
        csr.data[start:stop] = csr.data[start:stop][::-1].copy()
    csr.has_sorted_indices = csr.has_canonical_format = False
    return csr


def duplicated(csr):
    """The same matrix, every entry stored as two halves."""
    found = sp.csr_matrix(csr.shape, dtype=csr.dtype)
    found.indptr = 2 * csr.indptr
    found.indices, found.data = np.repeat(csr.indices, 2), np.repeat(csr.data / 2, 2)
    found.has_canonical_format = False
    return found


def explicit_zeros(csr):
    """The same matrix, zeros stored in about half of the free places."""
    dense, mask = csr.toarray(), np.random.default_rng(0).random(csr.shape) < 0.5
    rows, columns = np.nonzero((dense != 0) | mask)
    return sp.csr_matrix((dense[rows, columns], (rows, columns)), shape=csr.shape)


def long_indices(csr):
    csr = csr.copy()
    csr.indices, csr.indptr = csr.indices.astype(np.int64), csr.indptr.astype(np.int64)
    return csr


def mixed_indices(csr):
    csr = csr.copy()
    csr.indptr = csr.indptr.astype(np.int64)
    return csr


LAYOUTS = {
    "float64": lambda x: x.astype(np.float64),
    "fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "list": lambda x: x.tolist(),
    "csr_matrix": sp.csr_matrix,
    "csr_array": sp.csr_array,
    "csc_matrix": sp.csc_matrix,
    "csc_array": sp.csc_array,
    "coo_matrix": sp.coo_matrix,
    "coo_array": sp.coo_array,
    "csr_float64": lambda x: sp.csr_matrix(x.astype(np.float64)),
    "csr_int64": lambda x: long_indices(sp.csr_array(x)),
    "csr_int64_float64": lambda x: long_indices(sp.csr_array(x.astype(np.float64))),
    "csr_mixed": lambda x: mixed_indices(sp.csr_array(x)),
    "unsorted": lambda x: unsorted(sp.csr_matrix(x)),
    "duplicates": lambda x: duplicated(sp.csr_matrix(x)),
    "explicit_zeros": lambda x: explicit_zeros(sp.csr_matrix(x)),
}


@pytest.fixture(scope="module", params=["half full", "sparse"])
def trained(request):
    data = X if request.param == "half full" else WIDE
    return data, quick().fit(data, Y)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_predictions_do_not_depend_on_the_layout(trained, layout):
    data, estimator = trained
    given = LAYOUTS[layout](data)
    assert_array_equal(estimator.predict_proba(given), estimator.predict_proba(data))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_does_not_depend_on_the_layout(trained, layout):
    data, estimator = trained
    again = quick().fit(LAYOUTS[layout](data), Y)
    for a, b in zip(again.coefs_, estimator.coefs_, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("layout", ["unsorted", "duplicates", "explicit_zeros"])
def test_input_is_left_as_it_was(trained, layout):
    data, estimator = trained
    given = LAYOUTS[layout](data)
    before = given.data.copy(), given.indices.copy(), given.indptr.copy()
    estimator.predict(given)
    quick(max_iter=1).partial_fit(given, Y, range(10))
    for a, b in zip(before, (given.data, given.indices, given.indptr), strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float16, bool])
def test_number_types(dtype):
    data = (X > 0.5).astype(dtype)
    estimator = quick(max_iter=2).fit(data, Y)
    assert_array_equal(estimator.predict_proba(data), estimator.predict_proba(X > 0.5))


def test_long_double_is_computed_in_float32():
    estimator = quick(max_iter=2).fit(X, Y)
    wide = X.astype(np.longdouble)
    assert_array_equal(estimator.predict_proba(wide), estimator.predict_proba(X))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("value", [1e39, -1e39])
def test_values_beyond_float32_are_refused(value, sparse):
    estimator = quick(max_iter=1).fit(X, Y)
    data = X.astype(np.float64)
    data[7, 3] = value
    data = sp.csr_array(data) if sparse else data
    for call in (estimator.predict, lambda x: estimator.partial_fit(x, Y)):
        with pytest.raises(ValueError, match="too large for float32"):
            call(data)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value, sparse):
    data = X.copy()
    data[7, 3] = value
    data = sp.csr_array(data) if sparse else data
    with pytest.raises(ValueError, match="NaN|infinity"):
        quick().fit(data, Y)


@pytest.mark.parametrize("broken", ["indices", "negative", "indptr", "end", "empty"])
def test_csr_that_points_elsewhere_is_refused(broken):
    """scikit-learn does not look, and the engine reads in place."""
    estimator = quick(max_iter=1).fit(X, Y)
    data = sp.csr_array(X)
    if broken == "indptr":
        data.indptr[3] = data.indptr[-1] + 1000
    elif broken == "end":
        data.indptr[-1] += 1000
    elif broken == "empty":
        data = sp.csr_array(X.shape)
        data.indptr[3] = 2 * 10**8
    else:
        data.indices[7] = X.shape[1] + 10**6 if broken == "indices" else -5
    before = estimator.predict_proba(X)
    for call in (
        estimator.predict, estimator.predictor(), lambda x: estimator.partial_fit(x, Y),
        lambda x: quick().fit(x, Y),
    ):
        with pytest.raises(ValueError):
            call(data)
    assert_array_equal(estimator.predict_proba(X), before)


def test_flags_of_a_matrix_are_not_believed():
    """They outlive an exchange of its arrays: a row would be longer than there is room for."""
    estimator = quick(max_iter=1).fit(X, Y)
    data = sp.csr_matrix(X[:3])
    assert data.has_canonical_format
    wanted = estimator.predict_proba(2000 * X[:3])
    data.indices, data.data = np.tile(data.indices, 2000), np.tile(data.data, 2000)
    order = np.argsort(np.tile(np.repeat(range(3), np.diff(data.indptr)), 2000), kind="stable")
    data.indices, data.data = data.indices[order], data.data[order]
    data.indptr = data.indptr * 2000
    assert data.has_canonical_format
    for call in (estimator.predict_proba, estimator.predictor()):
        np.testing.assert_allclose(call(data), wanted, atol=1e-3)
    assert len(data.data) == data.indptr[-1]  # the caller's is as it was


@pytest.mark.parametrize("indptr, indices, ascending", [
    ([0], [], True), ([0, 0, 0], [], True), ([0, 3], [0, 1, 5], True), ([0, 2], [1, 1], False),
    ([0, 2], [1, 0], False), ([0, 1, 2], [1, 0], True), ([0, 1, 1, 1, 2], [3, 3], True),
    ([0, 0, 2, 4], [0, 1, 1, 0], False),
])
def test_ascending_columns(indptr, indices, ascending):
    shape = (len(indptr) - 1, 6)
    matrix = sp.csr_array((np.ones(len(indices)), indices, indptr), shape=shape)
    assert ascends(matrix) == ascending == matrix.has_canonical_format


@pytest.mark.parametrize("layout", ["float64", "csr_matrix", "explicit_zeros", "csr_int64"])
def test_sampled_rows_are_the_rows(layout):
    given = LAYOUTS[layout](WIDE)
    ids = np.array([5, 0, 5, 399])
    indptr, indices, data = as_rows(given).sample(ids)
    found = sp.csr_array((data, indices, indptr), shape=(4, WIDE.shape[1]))
    assert_array_equal(found.toarray(), WIDE[ids])
    assert data.all()
