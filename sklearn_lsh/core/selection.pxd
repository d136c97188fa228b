from .threshold cimport Threshold
from .types cimport ActiveSet, LayerBuffers, Scratch, SparseVec, int32_t, real
from .weights cimport WeightStore


cdef class Selector:
    cdef WeightStore store
    cdef readonly int32_t n_nodes
    cdef readonly int32_t n_active
    cdef public int32_t n_judged        # of the exact top nodes, those that recall is about
    cdef public int32_t n_busy          # in training the other nodes are left out
    cdef readonly bint by_magnitude
    cdef public Threshold threshold     # None: hard

    cdef void propose(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil
    cdef void choose(self, ActiveSet *out, Scratch *s) noexcept nogil
    cdef void keep_active(self, ActiveSet *out, Scratch *s) noexcept nogil
    cdef void keep_best(self, int32_t k, ActiveSet *out, Scratch *s) noexcept nogil
    cdef int32_t n_exact(self, const real *rank, Scratch *s) noexcept nogil
    cdef void rows_moved(
        self, int32_t first, int32_t n, LayerBuffers *buf, Scratch *s
    ) noexcept nogil


cdef class AllNodes(Selector):
    pass


cdef class WinnerTakeAll(Selector):
    pass
