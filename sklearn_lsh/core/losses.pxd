from .types cimport int32_t, real


cdef class Loss:
    cdef double gradient(
        self, const real *z, int32_t n, const int32_t *labels, int32_t n_labels, real *delta
    ) noexcept nogil
    cdef void probabilities(
        self, const real *z, int32_t n, const int32_t *chosen, int32_t m, double *out
    ) noexcept nogil
