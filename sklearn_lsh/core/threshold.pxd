cimport cython

from .types cimport int32_t, int64_t


@cython.final  # so that methods can be called without the GIL
cdef class Threshold:
    cdef object array
    cdef double *state                  # the threshold, and how many examples it has followed
    cdef readonly int32_t n_active
    cdef readonly int32_t fewest
    cdef readonly int32_t most

    cpdef int32_t within(self, int32_t n_above) noexcept nogil
    cdef void learn(
        self, int32_t n_examples, int64_t n_active, double outputs, double thresholds
    ) noexcept nogil
