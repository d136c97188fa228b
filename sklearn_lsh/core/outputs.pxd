from .types cimport ActiveSet, LayerBuffers, int32_t, int64_t, real, uint64_t


cdef class Targets:
    cdef readonly object arrays
    cdef const int64_t *indptr
    cdef const int32_t *labels
    cdef const real *sample_weight
    cdef readonly int32_t most_labels
    cdef readonly object weights
    cdef void require(self, Py_ssize_t i, ActiveSet *out) noexcept nogil


cdef bint all_finite(const real *z, int32_t n) noexcept nogil
cdef void speak_for_others(LayerBuffers *out, int32_t n_outputs) noexcept nogil
cdef void drop_small(LayerBuffers *out, uint64_t *rng) noexcept nogil
