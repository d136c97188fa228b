"""What is asked of an output layer for one example, and what becomes of its logits and gradients.

The engine calls in between: the loss sees logits and labels alone. With a hashed output layer
the logits are those of the active classes.
"""

import numpy as np

from libc.math cimport fabsf, isfinite, logf

from .types cimport (
    ActiveSet, LayerBuffers, borrow, int32_t, int64_t, ints, real, reals, rng_uniform, uint64_t,
)

# Gradients of many outputs below this are dropped or rounded up to it.
cdef real SMALL_GRADIENT = 1.0 / 64


cdef class Targets:
    """Labels of the examples: those of example i are labels[indptr[i]:indptr[i + 1]].

    Parameters
    ----------
    indptr : ndarray of shape (n + 1,), int64
    labels : ndarray, int32
    sample_weight : ndarray of shape (n,), float32, or None

    Attributes
    ----------
    most_labels : int
        That an example has.
    arrays : tuple of (indptr, labels, sample_weight)
    weights : ndarray or None
        ``sample_weight``.
    """

    def __init__(self, indptr, labels, sample_weight=None):
        self.arrays = (indptr, labels, sample_weight)
        self.weights = sample_weight
        self.indptr = <const int64_t *> borrow(indptr, "i8")
        self.labels = ints(labels)
        self.most_labels = int(np.diff(indptr).max(initial=0))
        self.sample_weight = NULL if sample_weight is None else reals(sample_weight)

    cdef void require(self, Py_ssize_t i, ActiveSet *out) noexcept nogil:
        """Name the labels of example i as required."""
        out.required = self.labels + self.indptr[i]
        out.n_required = <int32_t> (self.indptr[i + 1] - self.indptr[i])


cdef bint all_finite(const real *z, int32_t n) noexcept nogil:
    cdef int32_t t
    cdef bint finite = True
    for t in range(n):
        finite = finite and isfinite(z[t])
    return finite


cdef void speak_for_others(LayerBuffers *out, int32_t n_outputs) noexcept nogil:
    """Give the drawn classes the weight of all that were not found.

    A weight is added to the logit as its logarithm, which makes a softmax over few classes an
    estimate of that over all (Jean et al. 2015, section 3).
    """
    cdef int32_t t, d = 0
    cdef real weight
    if out.active.n_drawn == 0:
        return
    weight = logf(<real> (n_outputs - out.active.n) / out.active.n_drawn + 1)
    for t in range(out.out.n):
        if d < out.active.n_drawn and out.out_idx[t] == out.active.drawn[d]:
            out.out.val[t] += weight
            d += 1


cdef void drop_small(LayerBuffers *out, uint64_t *rng) noexcept nogil:
    """Leave small gradients out, at random: those that stay are as much larger.

    Their expectation is what it was. Of the classes that compete with the labels most have next
    to no probability, and moving their rows would take most of the time.
    """
    cdef int32_t t, n = 0
    cdef real size
    for t in range(out.out.n):
        size = fabsf(out.delta[t])
        if size < SMALL_GRADIENT:
            if rng_uniform(rng) * SMALL_GRADIENT >= size:
                continue
            out.delta[t] = SMALL_GRADIENT if out.delta[t] > 0 else -SMALL_GRADIENT
        out.delta[n] = out.delta[t]
        out.out_idx[n] = out.out_idx[t]
        if out.seen != NULL:
            out.seen[n] = out.seen[t]
        n += 1
    out.out.n = n
