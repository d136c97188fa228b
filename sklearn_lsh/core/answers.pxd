from .losses cimport Loss
from .types cimport LayerBuffers, Scratch, int32_t


cdef class Answers:
    cdef object arrays
    cdef readonly Py_ssize_t start
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t width
    cdef double *p                      # (n_rows, width)

    cdef bint write(self, Py_ssize_t i, LayerBuffers *out, Loss loss, Scratch *s) noexcept nogil
    cdef void fill(
        self, double *p, Py_ssize_t i, LayerBuffers *out, Loss loss, Scratch *s
    ) noexcept nogil


cdef class Best(Answers):
    cdef int32_t *ids                   # (n_rows, width)
