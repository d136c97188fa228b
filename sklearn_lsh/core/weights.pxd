from .types cimport SparseVec, int32_t, real


cdef class WeightStore:
    cdef readonly int32_t n_out, n_in
    cdef object arrays
    cdef real *weights          # (n_out, n_in); the weight itself is scale[j] * weights[j, i]
    cdef real *intercepts       # (n_out,)
    cdef real *scale            # (n_out,)
    cdef real *bound            # (n_out,): no |weight| of the row or its intercept exceeds it

    cdef real activation(self, int32_t j, SparseVec *x) noexcept nogil
    cdef void activations(
        self, SparseVec *x, const int32_t *ids, int32_t n, real *z
    ) noexcept nogil
    cdef void pull_back(
        self, const int32_t *ids, const real *delta, int32_t n, SparseVec *x, real *out
    ) noexcept nogil
    cdef bint admit(self, int32_t j, real step) noexcept nogil
    cdef void shrink(self, int32_t j, real factor) noexcept nogil
    cdef void subtract(self, int32_t j, real a, SparseVec *x) noexcept nogil
    cdef real row_bound(self, int32_t j) noexcept nogil
    cdef void fold_scale(self, int32_t j) noexcept nogil
    cdef real* row(self, int32_t j) noexcept nogil
