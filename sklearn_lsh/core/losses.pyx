"""Losses of the output layer: the loss, its gradient at the logits, and probabilities.

The target of an example is the list of its labels: one class, or any number of labels.
"""

from libc.math cimport exp, fabs, log, log1p

from .types cimport int32_t, real


cdef class Loss:
    """Base: no loss."""

    cdef double gradient(
        self, const real *z, int32_t n, const int32_t *labels, int32_t n_labels, real *delta
    ) noexcept nogil:
        """The loss of one example; its gradient at the n logits goes to delta."""
        return 0

    cdef void probabilities(self, const real *z, int32_t n, double *out) noexcept nogil:
        pass


cdef class Softmax(Loss):
    """Cross-entropy of the softmax against a target that is uniform over the labels.

    An example without labels has no gradient.
    """

    cdef double gradient(
        self, const real *z, int32_t n, const int32_t *labels, int32_t n_labels, real *delta
    ) noexcept nogil:
        cdef double highest = z[0], total = 0, loss = 0
        cdef int32_t t
        for t in range(n):
            highest = max(highest, <double> z[t])
        for t in range(n):
            total += exp(z[t] - highest)
        for t in range(n):
            delta[t] = 0 if n_labels == 0 else <real> (exp(z[t] - highest) / total)
        for t in range(n_labels):
            delta[labels[t]] -= <real> 1 / n_labels
            loss += (log(total) + highest - z[labels[t]]) / n_labels
        return loss

    cdef void probabilities(self, const real *z, int32_t n, double *out) noexcept nogil:
        cdef double highest = z[0], total = 0
        cdef int32_t t
        for t in range(n):
            highest = max(highest, <double> z[t])
        for t in range(n):
            out[t] = exp(z[t] - highest)
            total += out[t]
        for t in range(n):
            out[t] /= total


cdef class Sigmoid(Loss):
    """Sum over the outputs of the binary cross-entropy; the labels are the ones."""

    cdef double gradient(
        self, const real *z, int32_t n, const int32_t *labels, int32_t n_labels, real *delta
    ) noexcept nogil:
        cdef double loss = 0
        cdef int32_t t
        for t in range(n):
            # log(1 + exp(z)), without overflow
            loss += max(<double> z[t], 0.0) + log1p(exp(-fabs(z[t])))
            delta[t] = <real> (1 / (1 + exp(-<double> z[t])))
        for t in range(n_labels):
            loss -= z[labels[t]]
            delta[labels[t]] -= 1
        return loss

    cdef void probabilities(self, const real *z, int32_t n, double *out) noexcept nogil:
        cdef int32_t t
        for t in range(n):
            out[t] = 1 / (1 + exp(-<double> z[t]))


LOSSES = {"softmax": Softmax, "sigmoid": Sigmoid}
