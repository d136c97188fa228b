"""The weight store of one layer: the only room that knows how weights lie in memory.

Today: by neuron, a C-contiguous row of float32 for each node, so that ``coefs_`` is a
transposed view of it. Two changes of whole rows are lazy, a scalar per row each, and are folded
in when a pass ends: weight decay, as a factor, and the multiple of the mean input that centred
updates have added. So an update of a centred layer still costs the non-zeros of its input.
"""

import numpy as np

from libc.math cimport fabsf, isfinite

from .kernels cimport RUN, kernels
from .types cimport CHECK, Scratch, SparseVec, int32_t, real, reals

# A row whose weights could pass this bound is not updated (see ``admit``). Far below float32's
# largest number, so that no product with a sane input overflows unnoticed.
cdef real LIMIT = 1e30
# A scale below this is folded into the row at once, before precision suffers.
cdef real SMALLEST_SCALE = 1e-3


cdef class WeightStore:
    """Weights (n_out, n_in) and intercepts (n_out,), float32, owned by the caller.

    Parameters
    ----------
    weights, intercepts : ndarray of float32, C-contiguous
    mean : ndarray of shape (n_in,), float32, or None
        The mean input of a centred layer.
    """

    def __init__(self, weights, intercepts, mean=None):
        n_out = len(intercepts)
        scale, shift = np.ones(n_out, np.float32), np.zeros(n_out, np.float32)
        bound = np.full(n_out, np.inf, np.float32)
        self.arrays = (weights, intercepts, mean, scale, shift)
        self.bounds = bound
        self.n_out, self.n_in = weights.shape
        self.weights = reals(weights)
        self.intercepts = reals(intercepts)
        self.scale = reals(scale)
        self.shift = reals(shift)
        self.bound = reals(bound)
        self.mean = NULL
        if mean is not None:
            self.mean = reals(mean)
            self.mean_norm2 = kernels.sum_squares(self.mean, self.n_in)
            self.mean_largest = kernels.max_abs(self.mean, self.n_in)

    cdef real* row(self, int32_t j) noexcept nogil:
        """The stored weights of node j; the weights themselves after ``fold``."""
        CHECK(0 <= j < self.n_out, "node index")
        return self.weights + <Py_ssize_t> j * self.n_in

    cdef void activations(
        self, SparseVec *x, const int32_t *ids, int32_t n, real *z
    ) noexcept nogil:
        """Pre-activations of the given nodes (ids NULL: the first n) into z."""
        cdef int32_t t, j
        if x.idx == NULL:
            for t in range(n):
                z[t] = kernels.dot(NULL, x.val, x.n, self.row(t if ids == NULL else ids[t]))
        elif x.n_runs > 0:
            kernels.run_dots(self.weights, self.n_in, ids, n, x.run, x.run_val, x.n_runs, z)
        else:
            kernels.gather_dots(self.weights, self.n_in, ids, n, x.idx, x.val, x.n, z)
        for t in range(n):
            j = t if ids == NULL else ids[t]
            CHECK(0 <= j < self.n_out, "node index")
            z[t] = self.scale[j] * z[t] + self.shift[j] * x.mean_product + self.intercepts[j]

    cdef void pull_back(
        self, const int32_t *ids, const real *delta, int32_t n, SparseVec *x, Scratch *s,
        real *out
    ) noexcept nogil:
        """out[t] = sum over the given nodes of delta * weight from x's t-th coordinate."""
        cdef int32_t t, r = 0
        cdef real *scaled = s.score
        for t in range(n):
            scaled[t] = delta[t] * self.scale[ids[t]]
        if x.n_runs == 0:
            kernels.pull_back(self.weights, self.n_in, ids, scaled, n, x.idx, x.n, out)
            return
        kernels.run_pull_back(self.weights, self.n_in, ids, scaled, n, x.run, x.n_runs, s.sum)
        for t in range(x.n):
            while x.idx[t] >= x.run[r] + RUN:
                r += 1
            out[t] = s.sum[r * RUN + x.idx[t] - x.run[r]]

    cdef real row_bound(self, int32_t j) noexcept nogil:
        cdef real m
        self.fold(j)
        m = kernels.max_abs(self.row(j), self.n_in)
        return max(m, fabsf(self.intercepts[j]))

    cdef bint admit(self, int32_t j, real step) noexcept nogil:
        """May every weight of row j move by up to |step| and stay finite?

        A running bound costs one addition; only when it passes the limit is the row read.
        NaN and infinite steps fail every comparison and are refused.
        """
        cdef real bound = self.bound[j] + step
        if not bound < LIMIT:
            if not (isfinite(step) and step < LIMIT):
                return False
            bound = self.row_bound(j) + step
            if not bound < LIMIT:
                return False
        self.bound[j] = bound
        return True

    cdef void shrink(self, int32_t j, real factor) noexcept nogil:
        """Multiply the weights (not the intercept) of row j, lazily."""
        self.scale[j] *= factor
        self.shift[j] *= factor
        if self.scale[j] < SMALLEST_SCALE:
            self.fold(j)

    cdef void fold(self, int32_t j) noexcept nogil:
        """Make the stored weights of row j its weights."""
        cdef real *w = self.row(j)
        cdef int32_t i
        cdef real s = self.scale[j]
        if s != 1:
            for i in range(self.n_in):
                w[i] *= s
            self.scale[j] = 1
        if self.shift[j] != 0:
            kernels.axpy(self.shift[j], NULL, self.mean, self.n_in, w)
            self.shift[j] = 0

    cdef void subtract(
        self, int32_t j, real a, SparseVec *x, real intercept_input
    ) noexcept nogil:
        """Subtract a times x, less the mean input if there is one, from the weights of row j."""
        if x.n_runs > 0:
            kernels.run_axpy(-a / self.scale[j], x.run, x.run_val, x.n_runs, self.row(j))
        else:
            kernels.axpy(-a / self.scale[j], x.idx, x.val, x.n, self.row(j))
        if self.mean != NULL:
            self.shift[j] += a
        self.intercepts[j] -= a * intercept_input

    def fold_all(self):
        """Fold all that is lazy in: the stored weights are the weights until the next pass."""
        cdef int32_t j
        for j in range(self.n_out):
            self.fold(j)
