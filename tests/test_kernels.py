"""Every kernel at every instruction-set level against one line of NumPy."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import top_k
from scipy.linalg.blas import dnrm2

from sklearn_lsh.core import kernels

# Around every vector length there is: 4, 8 and 16 floats, blocks of 16, and empty.
SIZES = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 1000, 1003]


@pytest.fixture(params=kernels.levels(), autouse=True)
def level(request):
    before = kernels.level()
    kernels.set_level(request.param)
    yield request.param
    kernels.set_level(before)


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def problem(n, indexed, seed=0):
    """(rng, idx, selector, width): coordinates 0..n-1, or n scattered over a wider vector."""
    rng = np.random.default_rng([seed, n])
    if not indexed:
        return rng, None, slice(n), n + 3
    width = 3 * n + 5
    idx = rng.permutation(width)[:n].astype(np.int32)
    return rng, idx, idx, width


over_shapes = pytest.mark.parametrize("indexed", [False, True])
over_sizes = pytest.mark.parametrize("n", SIZES)


@over_shapes
@over_sizes
def test_dot(n, indexed):
    rng, idx, sel, width = problem(n, indexed)
    val, w = floats(rng, n), floats(rng, width)
    terms = val.astype(float) * w[sel]
    assert_allclose(kernels.dot(idx, val, w), terms.sum(), atol=1e-6 * (1 + abs(terms).sum()))


@over_sizes
@pytest.mark.parametrize("m", [0, 1, 7, 8, 9, 20])
@pytest.mark.parametrize("numbered", [False, True])
def test_gather_dots(n, m, numbered):
    rng, idx, _, width = problem(n, True)
    val, w, out = floats(rng, n), floats(rng, 25, width), np.full(m, np.nan, np.float32)
    ids = rng.permutation(25)[:m].astype(np.int32) if numbered else None
    kernels.gather_dots(w, ids, idx, val, out)
    terms = (w[:m] if ids is None else w[ids])[:, idx].astype(float) * val
    assert_allclose(out, terms.sum(axis=1), atol=1e-6 * (1 + abs(terms).sum()))


@pytest.mark.parametrize("n", [1, 7, 8, 9])
def test_a_row_is_added_up_alike_in_any_company(n):
    """In every bit, or predictions would depend on which rows are computed together."""
    rng, idx, _, width = problem(100, True)
    val, w, out = floats(rng, 100), floats(rng, n, width), np.zeros(n, np.float32)
    kernels.gather_dots(w, None, idx, val, out)
    for j in range(n):
        alone = np.zeros(1, np.float32)
        kernels.gather_dots(w, np.array([j], np.int32), idx, val, alone)
        assert alone[0] == out[j]


# ---- runs ------------------------------------------------------------------------------------


def clustered(width, n, seed=0):
    """A sparse vector of n entries, and as runs."""
    rng = np.random.default_rng([seed, width, n])
    idx = np.sort(rng.permutation(width)[:n]).astype(np.int32)
    val = floats(rng, n)
    run, run_val = kernels.find_runs(idx, val, width, n + 1)
    return rng, idx, val, run, run_val


vectors = pytest.mark.parametrize(
    "width, n", [(16, 0), (16, 1), (16, 16), (17, 17), (40, 5), (100, 60), (784, 150), (1003, 9)]
)


@vectors
def test_runs_hold_the_vector(width, n):
    _, idx, val, run, run_val = clustered(width, n)
    whole, wanted = np.zeros(width, np.float32), np.zeros(width, np.float32)
    wanted[idx] = val
    for start, values in zip(run, run_val, strict=True):
        assert 0 <= start <= width - kernels.RUN_LENGTH
        whole[start : start + kernels.RUN_LENGTH] += values
    assert_array_equal(whole, wanted)
    assert n == 0 or len(run) <= -(-width // kernels.RUN_LENGTH)
    if len(run):
        assert len(kernels.find_runs(idx, val, width, len(run) - 1)[0]) == 0


@vectors
@pytest.mark.parametrize("m", [0, 1, 3, 4, 5, 9])
@pytest.mark.parametrize("numbered", [False, True])
def test_run_dots(width, n, m, numbered):
    rng, idx, val, run, run_val = clustered(width, n)
    w, out = floats(rng, 12, width), np.full(m, np.nan, np.float32)
    ids = rng.permutation(12)[:m].astype(np.int32) if numbered else None
    kernels.run_dots(w, ids, run, run_val, out)
    terms = (w[:m] if ids is None else w[ids])[:, idx].astype(float) * val
    assert_allclose(out, terms.sum(axis=1), atol=1e-6 * (1 + abs(terms).sum()))
    for j in range(m):
        alone = np.zeros(1, np.float32)
        ids_alone = np.array([j if ids is None else ids[j]], np.int32)
        kernels.run_dots(w, ids_alone, run, run_val, alone)
        assert alone[0] == out[j]


@vectors
@pytest.mark.parametrize("n_rows", [0, 1, 7])
@pytest.mark.parametrize("numbered", [False, True])
def test_run_outer(width, n, n_rows, numbered):
    rng, idx, val, run, run_val = clustered(width, n)
    w, a = floats(rng, 12, width), floats(rng, n_rows)
    rows = rng.permutation(12)[:n_rows].astype(np.int32) if numbered else None
    wanted = w.copy()
    for row, factor in zip(range(n_rows) if rows is None else rows, a, strict=True):
        wanted[row, idx] += factor * val
    untouched = np.ones(width, bool)
    untouched[idx] = False
    kernels.run_outer(rows, a, run, run_val, w)
    assert_allclose(w, wanted, rtol=1e-6, atol=1e-6)
    assert_array_equal(w[:, untouched], wanted[:, untouched])


@vectors
@pytest.mark.parametrize("n_rows", [0, 1, 2, 3, 8])
def test_run_pull_back(width, n, n_rows):
    rng, _, _, run, _ = clustered(width, n)
    w, a = floats(rng, 12, width), floats(rng, n_rows)
    ids = rng.permutation(12)[:n_rows].astype(np.int32)
    out = np.full((len(run), kernels.RUN_LENGTH), np.nan, np.float32)
    kernels.run_pull_back(w, ids, a, run, out)
    for start, found in zip(run, out, strict=True):
        terms = a[:, None].astype(float) * w[ids][:, start : start + kernels.RUN_LENGTH]
        assert_allclose(found, terms.sum(axis=0), atol=1e-6 * (1 + abs(terms).sum()))


@pytest.mark.parametrize("n_nodes", [1, 63, 64, 65, 1000, 4095, 4096, 9001])
@pytest.mark.parametrize("share", [0, 0.1, 1])
def test_sort(n_nodes, share):
    ids = np.random.default_rng(n_nodes).permutation(n_nodes)[: int(share * n_nodes)]
    ids = ids.astype(np.int32)
    wanted = np.sort(ids)
    assert kernels.sort_ids(ids, n_nodes) == (len(wanted), True)
    assert_array_equal(ids, wanted)


@pytest.mark.parametrize("n_nodes", [1, 63, 64, 65, 1000, 4095, 4096, 9001])
def test_sort_drops_repeated_ids(n_nodes):
    ids = np.random.default_rng(n_nodes).integers(n_nodes, size=150).astype(np.int32)
    wanted = np.unique(ids)
    assert kernels.sort_ids(ids, n_nodes) == (len(wanted), True)
    assert_array_equal(ids[: len(wanted)], wanted)


@pytest.mark.parametrize("n", [0, 1, 7, 16, 31, 33, 255, 257, 1000])
def test_exponentials(n):
    """And their sum; what is below the smallest float is next to nothing."""
    z = (30 * np.random.default_rng(n).standard_normal(n)).astype(np.float32)
    highest, out = z.max(initial=-3), np.full(n, np.nan, np.float32)
    wanted = np.exp(z.astype(float) - highest)
    assert_allclose(kernels.exponentials(z, highest, out), wanted.sum(), rtol=1e-6, atol=1e-30)
    assert_allclose(out, wanted, rtol=5e-6, atol=1e-37)


@pytest.mark.parametrize("n", [0, 1, 7, 16, 31, 33, 255, 257, 1000])
def test_sigmoids(n):
    z = (20 * np.random.default_rng(n).standard_normal(n)).astype(np.float32)
    z[: n // 10] *= 1000  # saturated
    out = np.full(n, np.nan, np.float32)
    with np.errstate(over="ignore"):
        wanted = 1 / (1 + np.exp(-z.astype(float)))
    total = np.logaddexp(0, z.astype(float)).sum()
    assert_allclose(kernels.sigmoids(z, out), total, rtol=1e-6, atol=1e-6)
    assert_allclose(out, wanted, rtol=1e-6, atol=1e-37)


@over_shapes
@over_sizes
def test_axpy_leaves_other_coordinates_alone(n, indexed):
    rng, idx, sel, width = problem(n, indexed)
    val, w = floats(rng, n), floats(rng, width)
    wanted = w.copy()
    wanted[sel] += np.float32(0.7) * val
    kernels.axpy(0.7, idx, val, w)
    assert_allclose(w, wanted, rtol=1e-6, atol=1e-6)


@over_shapes
@over_sizes
@pytest.mark.parametrize("n_rows", [0, 1, 7, 8, 9, 20])
def test_pull_back(n, n_rows, indexed):
    rng, idx, sel, width = problem(n, indexed)
    w, a, out = floats(rng, 25, width), floats(rng, n_rows), np.full(n, np.nan, np.float32)
    ids = rng.permutation(25)[:n_rows].astype(np.int32)
    kernels.pull_back(w, ids, a, idx, out)
    terms = a[:, None].astype(float) * w[ids][:, sel]
    assert_allclose(out, terms.sum(axis=0), atol=1e-6 * (1 + abs(terms).sum()))


@pytest.mark.parametrize("d", [1, 3, 15, 16, 17, 32, 100])
@pytest.mark.parametrize("n", [0, 1, 2, 17, 100])
@pytest.mark.parametrize("numbered", [False, True])
def test_row_dots(n, d, numbered):
    rng = np.random.default_rng([n, d])
    rows, q, out = floats(rng, n, d), floats(rng, d), floats(rng, n + 1)
    last = out[n]
    ids = rng.permutation(n).astype(np.int32) if numbered else None
    wanted = (rows if ids is None else rows[ids]).astype(float) @ q
    kernels.row_dots(rows, ids, q, out)
    assert_allclose(out[:n], wanted, rtol=1e-4, atol=1e-5)
    assert out[n] == last


@pytest.mark.parametrize("d", [1, 8, 17, 100])
def test_a_rows_dot_does_not_depend_on_its_neighbours(d):
    """Else a layer's activations would depend on how its rows are divided among threads."""
    rng = np.random.default_rng(d)
    rows, q, whole, part = floats(rng, 21, d), floats(rng, d), floats(rng, 21), floats(rng, 21)
    kernels.row_dots(rows, None, q, whole)
    for chosen in ([3], [20, 3, 7], range(1, 12), range(21)):
        ids = np.array(chosen, np.int32)
        kernels.row_dots(rows, ids, q, part[: len(ids)])
        np.testing.assert_array_equal(part[: len(ids)], whole[ids])


@pytest.mark.parametrize("d", [1, 7, 8, 9, 15, 16, 17, 32, 48, 63, 64, 65, 88, 100, 200])
@pytest.mark.parametrize("n", [0, 1, 2, 50])
@pytest.mark.parametrize("numbered", [False, True])
def test_row_sums(n, d, numbered):
    rng = np.random.default_rng([n, d])
    rows, val, out = floats(rng, 60, d + n % 3), floats(rng, n), floats(rng, d + 1)
    idx = rng.permutation(60)[:n].astype(np.int32) if numbered else None
    wanted = out.astype(float)
    wanted[:d] += val @ rows[np.arange(n) if idx is None else idx][:, :d].astype(float)
    kernels.row_sums(rows, idx, val, out[:d])
    assert_allclose(out, wanted, rtol=1e-4, atol=1e-5)


def test_row_sums_depend_on_nothing_beside_them():
    """Sums over some columns are, bit by bit, those over more, from every 16th column on."""
    rng = np.random.default_rng(0)
    rows, val, out = floats(rng, 60, 200), floats(rng, 50), np.zeros(200, np.float32)
    kernels.row_sums(rows, None, val, out)
    for start in range(0, 200, 16):
        some = np.zeros(200 - start, np.float32)
        kernels.row_sums(np.ascontiguousarray(rows[:, start:]), None, val, some)
        assert_array_equal(some, out[start:])


@over_sizes
def test_max_abs_and_sum_squares(n):
    x = floats(np.random.default_rng(n), n)
    assert kernels.max_abs(x) == np.abs(x).max(initial=0)
    assert_allclose(kernels.sum_squares(x), (x.astype(float) ** 2).sum(), rtol=1e-5)


@pytest.mark.parametrize("rule", ["sgd", "adagrad"])
@over_shapes
@over_sizes
def test_optimizer_step(n, indexed, rule):
    rng, idx, sel, width = problem(n, indexed)
    val, w = floats(rng, n), floats(rng, width)
    state = np.abs(floats(rng, width, 2 if rule == "adagrad" else 1))
    delta, lr, momentum, inverse_scale = 0.3, 0.1, 0.5, 1.25
    wanted_w, wanted = w.astype(float), state.astype(float)
    v = momentum * wanted[sel, 0]
    if rule == "sgd":
        v += lr * delta * val
    else:
        wanted[sel, 1] += (delta * val) ** 2
        v += lr * delta * val / np.sqrt(wanted[sel, 1] + 1e-3)
    wanted[sel, 0] = v
    wanted_w[sel] -= inverse_scale * v
    kernels.optimizer_step(rule, (delta, lr, momentum, inverse_scale), idx, val, w, state)
    assert_allclose(w, wanted_w, rtol=1e-5, atol=1e-6)
    assert_allclose(state, wanted, rtol=1e-5, atol=1e-6)


def scores(kind, n):
    rng = np.random.default_rng(n)
    x = floats(rng, n)
    if kind == "ties":
        x = np.round(x)
    elif kind == "equal":
        x[:] = -2.5
    elif kind == "nan":
        x[rng.random(n) < 0.3] = np.nan
    elif kind == "infinite":
        x[rng.random(n) < 0.2] = np.inf
    elif kind == "ascending":
        x.sort()
    elif kind == "tiny":
        x *= np.float32(1e-38)
    return x - 10 if kind == "negative" else x


@pytest.mark.parametrize(
    "kind",
    ["plain", "ties", "equal", "nan", "infinite", "negative", "ascending", "tiny"],
)
@over_sizes
def test_top_ids_is_the_head_of_a_stable_sort(n, kind):
    x = scores(kind, n)
    before = x.copy()
    for m in {1, 2, 15, 16, 17, n // 2, n - 1, n, n + 3}:
        if m > 0:
            assert_array_equal(kernels.top_ids(x, m), top_k(x, m), err_msg=f"{m} of {n}")
    assert_array_equal(x, before)


@over_sizes
def test_top_leaves_the_x87_unit_to_others(n):
    """GCC 12 used a register of it at the baseline: BLAS's norms were NaN from then on."""
    kernels.top_ids(scores("plain", n), 5)
    assert dnrm2(np.array([3.0, 4.0])) == 5


@pytest.mark.parametrize("share", [0, 0.01, 0.2, 0.9, 1])
@over_sizes
def test_entries_are_what_is_not_zero(n, share):
    rng = np.random.default_rng(n)
    x = rng.choice([1e-45, -2.5, np.inf, np.nan, 3], n).astype(np.float32)
    x[rng.random(n) >= share] = rng.choice([0.0, -0.0])
    idx, val = kernels.entries(x)
    assert_array_equal(idx, np.flatnonzero(x))
    assert_array_equal(val, x[np.flatnonzero(x)])


@pytest.mark.parametrize("kind", ["plain", "ties", "equal", "nan", "infinite", "negative", "tiny"])
@over_sizes
def test_exceeding_lists_positions(n, kind):
    x = scores(kind, n)
    for bar in {0.0, -2.5, 1.0, np.inf, -np.inf, *map(float, x[:2])}:
        assert_array_equal(kernels.exceeding(x, bar), np.flatnonzero(x > np.float32(bar)))


def test_levels_start_with_the_plain_one(level):
    assert kernels.levels()[0] == "baseline"
    assert kernels.level() == level


def test_unknown_level_is_refused_and_changes_nothing(level):
    with pytest.raises(ValueError, match="mmx.*available.*baseline"):
        kernels.set_level("mmx")
    assert kernels.level() == level


def in_subprocess(level):
    code = "from sklearn_lsh.core import kernels; print(kernels.level())"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "SKLEARN_LSH_SIMD": level},
    )


def test_environment_variable_picks_the_level(level):
    assert in_subprocess(level).stdout.strip() == level


@pytest.mark.parametrize("level", ["baseline"], indirect=True)
def test_environment_variable_is_optional_and_checked(level):
    assert in_subprocess("").stdout.strip() == kernels.levels()[-1]
    assert "unknown SIMD level 'mmx'" in in_subprocess("mmx").stderr
