"""Partial whitening: updates of a first layer as if its input had been whitened.

Without directions it is centring, of dense input: little is saved there by subtracting the mean
lazily (see weights.pyx), and threads that do not wait for each other lose updates now and then. If
the part along the mean is lost and the rest is not, or the other way round, weights move far along
the mean.

With U the whitened principal directions, orthonormal, the network is trained as if its input were
``c M (x - mu)``, ``M = I - U (I - S) U'``: less its mean, and of each direction the share s left.
Its weights w' belong to that input; the layer stores ``w = c M w'`` and reads x as it is. Of a
gradient delta, w' moves along ``c M (x - mu)``, so w along ``c^2 M^2 (x - mu)``, and ``M^2 =
I - U (I - S^2) U'``. Directions of the input are not changed for anyone but the optimizer.

Which directions those are is decided in _whitening.py.
"""

import numpy as np

from libc.math cimport fabsf

from .kernels cimport kernels
from .types cimport Input, SparseVec, int32_t, int64_t, real, reals


cdef class Whitening:
    """What updates of a whitened layer are along.

    Parameters
    ----------
    arrays : dict of ndarray, float32
        ``mean`` (n_in,), the mean input; ``directions`` (n_directions, n_in), orthonormal rows;
        ``reduction`` (n_directions,), the variance taken from each, as a share: 1 - s^2; and
        ``gain`` (1,), c^2.
    """

    def __init__(self, arrays):
        self.arrays = arrays
        self.n_directions, self.n_in = arrays["directions"].shape
        self.mean = reals(arrays["mean"])
        self.directions = reals(arrays["directions"])
        self.reduction = reals(arrays["reduction"])
        self.gain = arrays["gain"][0]
        self.mean_sum = np.abs(arrays["mean"]).sum()

    cdef int64_t whiten(self, SparseVec *x, Input *u) noexcept nogil:
        """Make u the input of an update along the whitened x. Returns the multiplications.

        u.whitened and u.along have room for it.
        """
        cdef int32_t i, k, n = self.n_in
        cdef real *v = u.whitened.val
        cdef real norm2
        for i in range(n):
            v[i] = -self.mean[i]
        kernels.axpy(1, x.idx, x.val, x.n, v)
        norm2 = kernels.sum_squares(v, n)
        kernels.row_dots(self.directions, NULL, self.n_directions, n, v, u.along)
        for k in range(self.n_directions):
            norm2 -= self.reduction[k] * u.along[k] * u.along[k]
            u.along[k] *= self.reduction[k]
            kernels.axpy(-u.along[k], NULL, self.directions + <Py_ssize_t> k * n, n, v)
        for i in range(n):
            v[i] *= self.gain
        u.x, u.mean, u.mean_sum = &u.whitened, self.mean, self.mean_sum
        # As of a layer that is centred lazily, see Optimizer.describe.
        u.intercept_input = 1 - kernels.dot(NULL, v, n, self.mean)
        u.squared_norm = 1 + self.gain * max(<real> 0, norm2)
        u.largest = max(max(<real> 1, kernels.max_abs(v, n)), fabsf(u.intercept_input))
        return <int64_t> (2 * self.n_directions + 3) * n
