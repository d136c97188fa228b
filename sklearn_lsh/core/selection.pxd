from .hashing cimport HashFamily, Probing
from .tables cimport CodeIndex
from .types cimport ActiveSet, LayerBuffers, Move, Scratch, SparseVec, int32_t, real
from .weights cimport WeightStore


cdef class Selector:
    cdef WeightStore store
    cdef readonly int32_t n_nodes
    cdef readonly int32_t n_active
    cdef readonly bint by_magnitude

    cdef void select(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil
    cdef void rows_moved(
        self, const int32_t *ids, int32_t n, Move *move, LayerBuffers *buf,
        Scratch *s,
    ) noexcept nogil
    cdef void best_of(
        self, SparseVec *x, const int32_t *ids, int32_t n, ActiveSet *out, Scratch *s
    ) noexcept nogil


cdef class AllNodes(Selector):
    pass


cdef class WinnerTakeAll(Selector):
    pass


cdef class LSHSelector(Selector):
    cdef readonly HashFamily family
    cdef readonly CodeIndex index       # None: the cascade ranks every node
    cdef readonly Probing probing
    cdef Ranking ranking
    cdef object arrays
    cdef readonly bint exhaustive       # every node is a candidate: nothing to hash
    cdef real *sketches                 # (n_nodes, family.dim)
    cdef unsigned char *dirty           # (n_nodes,): 1 code is stale, 2 the sketch too

    cdef int32_t candidates(self, LayerBuffers *buf, Scratch *s) noexcept nogil
    cdef void refresh_sketch(self, int32_t j, Scratch *s) noexcept nogil
    cdef void encode(self, int32_t j, Scratch *s, int32_t *codes) noexcept nogil
    cdef void complete(self, SparseVec *x, ActiveSet *out, Scratch *s) noexcept nogil


cdef class Ranking:
    cdef void choose(
        self, LSHSelector lsh, SparseVec *x, LayerBuffers *buf, Scratch *s
    ) noexcept nogil


cdef class Collisions(Ranking):
    cdef bint count(self) noexcept nogil
