"""The instruction set in use, and the kernels' Python faces for the tests.

``SKLEARN_LSH_SIMD`` forces a level ("baseline", "avx2", "avx512") at import.
"""

import os

import numpy as np

from .types cimport borrow, int32_t, ints, real, reals, uint64_t

cdef extern from "simd/kernels.h":
    lsh_kernels lsh_active
    int lsh_levels(const char **names)
    int lsh_set_level(const char *name)

kernels = &lsh_active


def levels():
    """Names of the instruction-set levels this processor runs, plain to wide."""
    cdef const char *names[4]
    cdef int n = lsh_levels(names)
    return [names[i].decode() for i in range(n)]


def level():
    """Name of the level in use."""
    return kernels.level.decode()


def set_level(name):
    """Use another level from now on. For tests and benchmarks; not while a fit runs."""
    if lsh_set_level(name.encode()) != 0:
        raise ValueError(f"unknown SIMD level {name!r} here; available: {levels()}")


set_level(os.environ.get("SKLEARN_LSH_SIMD") or max(levels(), key=levels().index))


#: Coordinates in a run.
RUN_LENGTH = RUN


# ---- faces for the tests -------------------------------------------------------------

cdef int32_t* _index(object idx) except? NULL:
    return NULL if idx is None else ints(idx)


def dot(idx, val, w):
    """``sum(val * w[idx])``; idx None is dense."""
    return kernels.dot(_index(idx), reals(val), len(val), reals(w))


def gather_dots(w, ids, idx, val, out):
    """``out[:] = w[ids][:, idx] @ val`` in place; ids None stands for the first rows."""
    kernels.gather_dots(
        reals(w), w.shape[1], _index(ids), len(out), ints(idx), reals(val), len(val), reals(out)
    )


def run_dots(w, ids, run, val, out):
    """``gather_dots`` of a vector of runs."""
    kernels.run_dots(
        reals(w), w.shape[1], _index(ids), len(out), ints(run), reals(val), len(run), reals(out)
    )


def find_runs(idx, val, width, most):
    """Starts and values of a sparse vector's runs; none if it takes more than most."""
    run, run_val = np.zeros(most, np.int32), np.zeros((most + 1, RUN), np.float32)
    n = kernels.find_runs(
        ints(idx), reals(val), len(idx), width, most, ints(run), reals(run_val)
    )
    return run[:n], run_val[:n]


def run_pull_back(w, ids, a, run, out):
    """``pull_back`` to all coordinates of some runs."""
    kernels.run_pull_back(
        reals(w), w.shape[1], ints(ids), reals(a), len(a), ints(run), len(run), reals(out)
    )


def run_outer(idx, a, run, val, w):
    """Add a vector of runs, times a[t], to row idx[t]; idx None stands for the first rows."""
    kernels.run_outer(
        _index(idx), reals(a), len(a), ints(run), reals(val), len(run), reals(w), w.shape[1]
    )


def axpy(real a, idx, val, w):
    """``w[idx] += a * val`` in place."""
    kernels.axpy(a, _index(idx), reals(val), len(val), reals(w))


def pull_back(w, ids, a, idx, out):
    """``out[:] = a @ w[ids][:, idx]`` in place; idx None stands for the first ones."""
    kernels.pull_back(
        reals(w), w.shape[1], ints(ids), reals(a), len(a), _index(idx), len(out), reals(out)
    )


def row_dots(rows, ids, q, out):
    """``out[:n] = rows[ids] @ q`` in place, for n ids; ids None stands for all rows."""
    kernels.row_dots(
        reals(rows), _index(ids), len(rows if ids is None else ids), rows.shape[1], reals(q),
        reals(out),
    )


def row_sums(rows, idx, val, out):
    """``out += val @ rows[idx][:, :len(out)]`` in place; idx None stands for the first rows."""
    kernels.row_sums(
        reals(rows), rows.shape[1], len(out), _index(idx), reals(val), len(val), reals(out)
    )


def exponentials(z, real highest, out):
    """``out[:] = exp(z - highest)`` in place; returns the sum."""
    return kernels.exponentials(reals(z), highest, len(z), reals(out))


def sigmoids(z, out):
    """``out[:] = 1 / (1 + exp(-z))`` in place; returns ``log1p(exp(z)).sum()``."""
    return kernels.sigmoids(reals(z), len(z), reals(out))


def max_abs(x):
    """``max(abs(x))``, 0 if empty."""
    return kernels.max_abs(reals(x), len(x))


def sum_squares(x):
    """``x @ x``."""
    return kernels.sum_squares(reals(x), len(x))


def optimizer_step(str rule, step, idx, val, w, state):
    """One row's per-weight update; step is (delta, learning_rate, momentum, inverse_scale)."""
    cdef lsh_step s
    s.delta, s.learning_rate, s.momentum, s.inverse_scale = step
    if rule == "sgd":
        kernels.sgd(&s, _index(idx), reals(val), len(val), reals(w), reals(state))
    else:
        kernels.adagrad(&s, _index(idx), reals(val), len(val), reals(w), reals(state))


def exceeding(x, real bar):
    """Positions at which x exceeds the bar."""
    out = np.empty(len(x) + 1, dtype=np.int32)
    return out[:kernels.exceeding(reals(x), len(x), bar, ints(out))]


def entries(x):
    """Positions and values of what is not 0 in x."""
    idx, val = np.empty(len(x), np.int32), np.empty(len(x), np.float32)
    n = kernels.entries(reals(x), len(x), ints(idx), reals(val))
    return idx[:n], val[:n]


def sort_ids(ids, n_nodes):
    """Sort ids below n_nodes in place: how many distinct ones, and whether scratch is clean."""
    bits = np.zeros(SORT_WORDS(n_nodes), np.uint64)
    n = kernels.sort(ints(ids), len(ids), n_nodes, <uint64_t *> borrow(bits, "u8"))
    return n, not bits.any()


def top_ids(score, int32_t m):
    """Positions of the m highest scores, in ascending order."""
    key = np.empty(len(score) + 1, dtype=np.int32)
    out = np.empty(len(score) + 1, dtype=np.int32)
    return out[:kernels.top(reals(score), NULL, len(score), m, ints(key), ints(out))]
