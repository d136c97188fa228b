from .types cimport Scratch, SparseVec, int32_t, real


cdef class WeightStore:
    cdef readonly int32_t n_out, n_in
    cdef object arrays
    # The weight itself is scale[j] * weights[j, i] + shift[j] * mean[i].
    cdef real *weights          # (n_out, n_in)
    cdef real *intercepts       # (n_out,)
    cdef real *scale            # (n_out,)
    cdef real *shift            # (n_out,); zeros where there is no mean
    cdef real *mean             # (n_in,): the mean input that updates subtract, or NULL
    cdef real mean_norm2, mean_largest
    cdef real *bound            # (n_out,): no |weight| of the row or its intercept exceeds it
    cdef readonly object bounds  # the array of it

    cdef void activations(
        self, SparseVec *x, const int32_t *ids, int32_t n, real *z
    ) noexcept nogil
    cdef void pull_back(
        self, const int32_t *ids, const real *delta, int32_t n, SparseVec *x, Scratch *s,
        real *out
    ) noexcept nogil
    cdef bint admit(self, int32_t j, real step) noexcept nogil
    cdef void shrink(self, int32_t j, real factor) noexcept nogil
    cdef void subtract(
        self, int32_t j, real a, SparseVec *x, real intercept_input
    ) noexcept nogil
    cdef real row_bound(self, int32_t j) noexcept nogil
    cdef void fold(self, int32_t j) noexcept nogil
    cdef real* row(self, int32_t j) noexcept nogil
