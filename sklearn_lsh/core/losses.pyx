"""Losses of the output layer: the loss, its gradient at the logits, and probabilities.

The target of an example is the list of its labels: one class, or any number of labels. Logits
are those of all classes or, with a hashed output layer, of the active ones, all labels among
them; labels are their positions there.
"""

from libc.math cimport exp, log

from .kernels cimport kernels
from .types cimport int32_t, real


# So many probabilities are added up in double precision; of more, some digits will do.
cdef int32_t MANY = 4096
# What a difference of sums in single precision may be off by, relative to them.
cdef double ROUNDING = 1e-6


cdef real highest_of(const real *z, int32_t n) noexcept nogil:
    cdef real highest = z[0]
    cdef int32_t t
    for t in range(n):
        highest = max(highest, z[t])
    return highest


cdef class Loss:
    """Base: no loss."""

    cdef double gradient(
        self, const real *z, int32_t n, const int32_t *labels, int32_t n_labels, real *delta
    ) noexcept nogil:
        """The loss of one example; its gradient at the n logits goes to delta."""
        return 0

    cdef void probabilities(
        self, const real *z, int32_t n, const int32_t *chosen, int32_t m, double *out
    ) noexcept nogil:
        """The probabilities of m of the n outputs: those at the chosen positions, NULL: all."""
        pass


cdef class Softmax(Loss):
    """Cross-entropy of the softmax against a target that is uniform over the labels.

    An example without labels has no gradient.
    """

    cdef double gradient(
        self, const real *z, int32_t n, const int32_t *labels, int32_t n_labels, real *delta
    ) noexcept nogil:
        cdef double total, loss = 0
        cdef real highest = highest_of(z, n)
        cdef int32_t t
        total = kernels.exponentials(z, highest, n, delta)
        for t in range(n):
            delta[t] = 0 if n_labels == 0 else <real> (delta[t] / total)
        for t in range(n_labels):
            delta[labels[t]] -= <real> 1 / n_labels
            loss += (log(total) + highest - z[labels[t]]) / n_labels
        return loss

    cdef void probabilities(
        self, const real *z, int32_t n, const int32_t *chosen, int32_t m, double *out
    ) noexcept nogil:
        cdef double total = 0
        cdef real highest = highest_of(z, n)
        cdef real block[256]
        cdef int32_t t
        if n <= MANY:
            for t in range(n):
                total += exp(<double> z[t] - highest)
        else:
            for t in range(0, n, 256):
                total += kernels.exponentials(z + t, highest, min(256, n - t), block)
        for t in range(m):
            out[t] = exp(<double> z[t if chosen == NULL else chosen[t]] - highest) / total


cdef class DecoupledSoftmax(Softmax):
    """Cross-entropy of a softmax for each label, against the classes that are none; their mean.

    Labels do not compete with each other (Gupta et al. 2024, "Dual-encoders for extreme
    multi-label classification"), where ``Softmax`` pushes a label down that has more than its
    share of the probability.
    """

    cdef double gradient(
        self, const real *z, int32_t n, const int32_t *labels, int32_t n_labels, real *delta
    ) noexcept nogil:
        cdef double total, others, rest, scale = 0, loss = 0
        cdef real highest = highest_of(z, n)
        cdef int32_t t
        total = others = kernels.exponentials(z, highest, n, delta)
        for t in range(n_labels):
            others -= delta[labels[t]]
        others = max(others, ROUNDING * total)
        for t in range(n_labels):
            rest = others + delta[labels[t]]
            scale += 1 / (rest * n_labels)
            loss += (log(rest) + highest - z[labels[t]]) / n_labels
        for t in range(n_labels):  # told apart from the others by their sign
            delta[labels[t]] = -<real> (others / ((others + delta[labels[t]]) * n_labels))
        for t in range(n):
            if delta[t] > 0:
                delta[t] *= <real> scale
        return loss


cdef class Sigmoid(Loss):
    """Sum over the outputs of the binary cross-entropy; the labels are the ones."""

    cdef double gradient(
        self, const real *z, int32_t n, const int32_t *labels, int32_t n_labels, real *delta
    ) noexcept nogil:
        cdef double loss = kernels.sigmoids(z, n, delta)
        cdef int32_t t
        for t in range(n_labels):
            loss -= z[labels[t]]
            delta[labels[t]] -= 1
        return loss

    cdef void probabilities(
        self, const real *z, int32_t n, const int32_t *chosen, int32_t m, double *out
    ) noexcept nogil:
        cdef int32_t t
        for t in range(m):
            out[t] = 1 / (1 + exp(-<double> z[t if chosen == NULL else chosen[t]]))


LOSSES = {"softmax": Softmax, "decoupled_softmax": DecoupledSoftmax, "sigmoid": Sigmoid}
