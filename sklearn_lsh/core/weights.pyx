"""The weight store of one layer: the only room that knows how weights lie in memory.

By node, a row of fan-in weights for each: what a few nodes touch of all inputs is few rows. By
input, a row of a weight to every node for each: what all nodes read of a few inputs is few rows,
each from end to end. By feature is the same for a first layer above wide sparse input, where a
row is the unit of updates, too. A store is one class.

Two changes of all weights of a node are lazy, a scalar per node each, and are folded in when a
pass ends: weight decay, as a factor, and the multiple of the mean input that centred updates have
added. So an update of a centred layer still costs the non-zeros of its input.
"""

import numpy as np

from libc.math cimport fabsf, isfinite
from libc.string cimport memset

from .kernels cimport RUN, kernels, write_runs
from .types cimport CHECK, Scratch, SparseVec, int32_t, real, reals

# A node whose weights could pass this bound is not updated (see ``admit``). Far below float32's
# largest number, so that no product with a sane input overflows unnoticed.
cdef real LIMIT = 1e30
# A scale below this is folded into the weights at once, before precision suffers.
cdef real SMALLEST_SCALE = 1e-3

#: Rows by input are as long as the next multiple of this: they start with a cache line, and no
#: run of nodes crosses the border between two owners (``Layer.rows_together``).
ROW_UNIT = 16


cdef class WeightStore:
    """Base: intercepts, and what is lazy. Weights and intercepts are the caller's.

    Parameters
    ----------
    weights : ndarray of float32, C-contiguous
        As the class stores them.
    intercepts : ndarray of shape (n_out,), float32
    mean : ndarray of shape (n_in,), float32, or None
        The mean input of a centred layer.
    """

    def __init__(self, weights, intercepts, mean=None):
        n_out = len(intercepts)
        scale, shift = np.ones(n_out, np.float32), np.zeros(n_out, np.float32)
        bound = np.full(self.n_units(weights, n_out), np.inf, np.float32)
        self.arrays = (weights, intercepts, mean, scale, shift)
        self.bounds = bound
        self.n_out, self.n_in = self.view(weights, n_out).shape
        self.stride = weights.shape[1]
        self.stretch = self.nodes_to_read_ahead
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

    #: Nodes whose weights must be visited together for the processor to read ahead.
    nodes_to_read_ahead = 1

    @staticmethod
    def n_units(weights, n_out):
        """How many there are of what updates are divided by and bounds are kept for: nodes."""
        return n_out

    @staticmethod
    def shape(n_out, n_in):
        """Of the stored array."""
        raise NotImplementedError

    @staticmethod
    def view(weights, n_out):
        """The stored array as (n_out, n_in)."""
        raise NotImplementedError

    cdef void activations(
        self, SparseVec *x, const int32_t *ids, int32_t n, real *z
    ) noexcept nogil:
        """Pre-activations of the given nodes (ids NULL: the first n) into z."""
        pass

    cdef void pull_back(
        self, const int32_t *ids, const real *delta, int32_t n, SparseVec *x, Scratch *s,
        real *out
    ) noexcept nogil:
        """out[t] = sum over the given nodes of delta * weight from x's t-th coordinate."""
        pass

    cdef void subtract(
        self, const int32_t *ids, const real *multiples, int32_t n, SparseVec *x, Scratch *s
    ) noexcept nogil:
        """Subtract multiples[t] times x, less the mean input, from the weights of node ids[t]."""
        pass

    cdef void fold(self, int32_t j) noexcept nogil:
        """Make the stored weights of node j its weights."""
        pass

    cdef real largest(self, int32_t j) noexcept nogil:
        """The largest stored magnitude of node j."""
        pass

    cdef void move_intercepts(
        self, const int32_t *ids, const real *multiples, int32_t n, real intercept_input
    ) noexcept nogil:
        """``subtract`` for the intercepts, and what it leaves to be folded in."""
        cdef int32_t t
        for t in range(n):
            self.intercepts[ids[t]] -= multiples[t] * intercept_input
            if self.mean != NULL:
                self.shift[ids[t]] += multiples[t]

    cdef bint admit(self, int32_t j, real step) noexcept nogil:
        """May every weight of node j move by up to |step| and stay finite?

        A running bound costs one addition; only when it passes the limit are they all read.
        NaN and infinite steps fail every comparison and are refused.
        """
        cdef real bound = self.bound[j] + step
        if not bound < LIMIT:
            if not (isfinite(step) and step < LIMIT):
                return False
            self.fold(j)
            bound = max(self.largest(j), fabsf(self.intercepts[j])) + step
            if not bound < LIMIT:
                return False
        self.bound[j] = bound
        return True

    cdef void shrink(self, int32_t j, real factor) noexcept nogil:
        """Multiply the weights (not the intercept) of node j, lazily."""
        self.scale[j] *= factor
        self.shift[j] *= factor
        if self.scale[j] < SMALLEST_SCALE:
            self.fold(j)

    def fold_all(self):
        """Fold all that is lazy in: the stored weights are the weights until the next pass."""
        cdef int32_t j
        for j in range(self.n_out):
            self.fold(j)


cdef class ByNode(WeightStore):
    """(n_out, n_in): a row for each node."""

    @staticmethod
    def shape(n_out, n_in):
        return n_out, n_in

    @staticmethod
    def view(weights, n_out):
        return weights

    cdef real* row(self, int32_t j) noexcept nogil:
        """The stored weights of node j; the weights themselves after ``fold``."""
        CHECK(0 <= j < self.n_out, "node index")
        return self.weights + <Py_ssize_t> j * self.n_in

    cdef void activations(
        self, SparseVec *x, const int32_t *ids, int32_t n, real *z
    ) noexcept nogil:
        cdef int32_t t, j
        if x.idx == NULL:
            CHECK(x.n == self.n_in, "a dense input of the fan-in")
            kernels.row_dots(self.weights, ids, n, self.n_in, x.val, z)
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
        cdef int32_t t, r = 0
        cdef real *scaled = s.score
        cdef real *sums = s.runs.val
        for t in range(n):
            scaled[t] = delta[t] * self.scale[ids[t]]
        if x.n_runs == 0:
            kernels.pull_back(self.weights, self.n_in, ids, scaled, n, x.idx, x.n, out)
            return
        kernels.run_pull_back(self.weights, self.n_in, ids, scaled, n, x.run, x.n_runs, sums)
        for t in range(x.n):
            while x.idx[t] >= x.run[r] + RUN:
                r += 1
            out[t] = sums[r * RUN + x.idx[t] - x.run[r]]

    cdef void subtract(
        self, const int32_t *ids, const real *multiples, int32_t n, SparseVec *x, Scratch *s
    ) noexcept nogil:
        cdef int32_t t
        cdef real *a = s.score
        for t in range(n):
            CHECK(0 <= ids[t] < self.n_out, "node index")
            a[t] = -multiples[t] / self.scale[ids[t]]
        if x.n_runs > 0:
            kernels.run_outer(ids, a, n, x.run, x.run_val, x.n_runs, self.weights, self.n_in)
            return
        for t in range(n):
            kernels.axpy(a[t], x.idx, x.val, x.n, self.row(ids[t]))

    cdef void fold(self, int32_t j) noexcept nogil:
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

    cdef real largest(self, int32_t j) noexcept nogil:
        return kernels.max_abs(self.row(j), self.n_in)


cdef class ByInput(WeightStore):
    """(n_in, n_out and some that are not used): a row for each input."""

    nodes_to_read_ahead = 1024

    @staticmethod
    def shape(n_out, n_in):
        return n_in, -(-n_out // ROW_UNIT) * ROW_UNIT

    @staticmethod
    def view(weights, n_out):
        return weights[:, :n_out].T

    cdef void activations(
        self, SparseVec *x, const int32_t *ids, int32_t n, real *z
    ) noexcept nogil:
        """The given nodes must be consecutive, as those of a selector that names all are."""
        cdef int32_t t, start = 0 if ids == NULL or n == 0 else ids[0]
        cdef const real *scale = self.scale + start
        cdef const real *shift = self.shift + start
        cdef const real *intercepts = self.intercepts + start
        CHECK(ids == NULL or n == 0 or ids[n - 1] == start + n - 1, "consecutive nodes")
        memset(z, 0, n * sizeof(real))
        kernels.row_sums(self.weights + start, self.stride, n, x.idx, x.val, x.n, z)
        for t in range(n):
            z[t] = scale[t] * z[t] + shift[t] * x.mean_product + intercepts[t]

    cdef void pull_back(
        self, const int32_t *ids, const real *delta, int32_t n, SparseVec *x, Scratch *s,
        real *out
    ) noexcept nogil:
        cdef int32_t t
        cdef SparseVec v
        self.over_nodes(&v, ids, n, s)
        for t in range(n):
            v.val[t] = delta[t] * self.scale[ids[t]]
        write_runs(&v, &s.runs, self.stride)
        if v.n_runs > 0:
            kernels.run_dots(
                self.weights, self.stride, x.idx, x.n, v.run, v.run_val, v.n_runs, out
            )
        else:
            kernels.gather_dots(self.weights, self.stride, x.idx, x.n, v.idx, v.val, n, out)

    cdef void subtract(
        self, const int32_t *ids, const real *multiples, int32_t n, SparseVec *x, Scratch *s
    ) noexcept nogil:
        cdef int32_t t, i
        cdef SparseVec v
        self.over_nodes(&v, ids, n, s)
        for t in range(n):
            v.val[t] = -multiples[t] / self.scale[ids[t]]
        write_runs(&v, &s.runs, self.stride)
        if v.n_runs > 0:
            kernels.run_outer(
                x.idx, x.val, x.n, v.run, v.run_val, v.n_runs, self.weights, self.stride
            )
            return
        for t in range(x.n):
            i = t if x.idx == NULL else x.idx[t]
            CHECK(0 <= i < self.n_in, "input index")
            kernels.axpy(
                x.val[t], v.idx, v.val, n, self.weights + <Py_ssize_t> i * self.stride
            )

    cdef void over_nodes(
        self, SparseVec *v, const int32_t *ids, int32_t n, Scratch *s
    ) noexcept nogil:
        """A vector over some nodes, its values yet to be written."""
        v.idx, v.val, v.n = <int32_t *> ids, s.score, n

    cdef void fold(self, int32_t j) noexcept nogil:
        cdef real *w = self.weights + j
        cdef int32_t i
        cdef real s = self.scale[j], a = self.shift[j]
        CHECK(0 <= j < self.n_out, "node index")
        if s == 1 and a == 0:
            return
        for i in range(self.n_in):
            w[0] = s * w[0] + (a * self.mean[i] if self.mean != NULL else 0)
            w += self.stride
        self.scale[j] = 1
        self.shift[j] = 0

    def fold_all(self):
        """As for each node, but row by row: a column is a cache line for every number."""
        cdef real *w = self.weights
        cdef real mean
        cdef int32_t i, j
        cdef bint lazy = False
        for j in range(self.n_out):
            lazy = lazy or self.scale[j] != 1 or self.shift[j] != 0
        if not lazy:
            return
        for i in range(self.n_in):
            mean = 0 if self.mean == NULL else self.mean[i]
            for j in range(self.n_out):
                w[j] = self.scale[j] * w[j] + self.shift[j] * mean
            w += self.stride
        for j in range(self.n_out):
            self.scale[j] = 1
            self.shift[j] = 0

    cdef real largest(self, int32_t j) noexcept nogil:
        cdef real m = 0
        cdef int32_t i
        for i in range(self.n_in):
            m = max(m, fabsf(self.weights[<Py_ssize_t> i * self.stride + j]))
        return m


cdef class ByFeature(ByInput):
    """By input, and nothing lazy: updates, decay and bounds are a feature's, not a node's."""

    @staticmethod
    def n_units(weights, n_out):
        return len(weights)

    cdef real largest(self, int32_t j) noexcept nogil:
        return kernels.max_abs(self.weights + <Py_ssize_t> j * self.stride, self.n_out)

    cdef bint admit(self, int32_t j, real step) noexcept nogil:
        cdef real bound = self.bound[j] + step
        CHECK(0 <= j < self.n_in, "feature index")
        if not bound < LIMIT:
            bound = self.largest(j) + step
            if not bound < LIMIT:
                return False
        self.bound[j] = bound
        return True

    cdef void shrink(self, int32_t j, real factor) noexcept nogil:
        cdef real *w = self.weights + <Py_ssize_t> j * self.stride
        cdef int32_t t
        for t in range(self.n_out):
            w[t] *= factor

    cdef void fold(self, int32_t j) noexcept nogil:
        pass

    def fold_all(self):
        """Nothing is lazy here."""
