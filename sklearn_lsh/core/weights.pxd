from .types cimport Scratch, SparseVec, int32_t, real


cdef class WeightStore:
    cdef readonly int32_t n_out, n_in
    cdef object arrays
    cdef real *weights          # the weight itself: scale[j] * stored + shift[j] * mean[i]
    cdef int32_t stride         # between rows of them
    cdef int32_t stretch        # nodes that are worth a visit
    cdef real *intercepts       # (n_out,)
    cdef real *scale            # (n_out,)
    cdef real *shift            # (n_out,); zeros where there is no mean
    cdef real *mean             # (n_in,): the mean input that updates subtract, or NULL
    cdef real mean_norm2, mean_largest
    cdef real *bound            # a unit: no |weight| of the node or its intercept exceeds it
    cdef readonly object bounds  # the array of it

    cdef void activations(
        self, SparseVec *x, const int32_t *ids, int32_t n, real *z
    ) noexcept nogil
    cdef void pull_back(
        self, const int32_t *ids, const real *delta, int32_t n, SparseVec *x, Scratch *s,
        real *out
    ) noexcept nogil
    cdef void subtract(
        self, const int32_t *ids, const real *multiples, int32_t n, SparseVec *x, Scratch *s
    ) noexcept nogil
    cdef void fold(self, int32_t j) noexcept nogil
    cdef real largest(self, int32_t j) noexcept nogil

    cdef void move_intercepts(
        self, const int32_t *ids, const real *multiples, int32_t n, real intercept_input
    ) noexcept nogil
    cdef bint admit(self, int32_t j, real step) noexcept nogil
    cdef void shrink(self, int32_t j, real factor) noexcept nogil


cdef class ByNode(WeightStore):
    cdef real* row(self, int32_t j) noexcept nogil


cdef class ByInput(WeightStore):
    cdef void over_nodes(
        self, SparseVec *v, const int32_t *ids, int32_t n, Scratch *s
    ) noexcept nogil


cdef class ByFeature(ByInput):
    pass
