from .cells cimport Cells
from .hashing cimport HashFamily, Probing
from .selection cimport Selector
from .tables cimport CodeIndex
from .types cimport ActiveSet, LayerBuffers, Scratch, int32_t, real
from .weights cimport ByNode


cdef class LSHSelector(Selector):
    cdef ByNode rows                    # the store
    cdef readonly HashFamily family
    cdef readonly CodeIndex index       # None: the cascade ranks every node
    cdef readonly Probing probing       # None where cells take its place
    cdef readonly Cells cells           # the index, if it is a partition by sketches
    cdef const int32_t *place           # where the sketches of nodes are; NULL: in their order
    cdef readonly Ranking ranking
    cdef object arrays
    cdef readonly int32_t short_list    # candidates whose exact activation is computed
    cdef public int32_t most_listed     # what renewals may make of it at most
    cdef public int32_t training_list   # how many candidates are computed in training
    cdef public real training_visits    # the share of a query's cells that training visits
    cdef public int32_t n_explored      # random nodes that are active in training besides
    cdef readonly bint exhaustive       # every node is a candidate: nothing to hash
    cdef real *sketches                 # (n_nodes, family.dim), or as cells arrange them
    cdef object frame
    cdef real *mean_sketch              # (family.dim,): of the mean input of a centred layer
    cdef real *along_sketches           # (n_along, family.dim): of the whitened directions
    cdef int32_t n_along
    cdef unsigned char *dirty           # (n_nodes,): 1 code is stale, 2 the sketch too

    cdef real* sketch_of(self, int32_t j) noexcept nogil
    cdef void learn_frame(self, real *mean, real *directions, int32_t n)
    cdef int32_t search_cells(self, Scratch *s) noexcept nogil
    cdef int32_t candidates(self, LayerBuffers *buf, Scratch *s) noexcept nogil
    cdef void refresh_sketch(self, int32_t j, Scratch *s) noexcept nogil
    cdef void encode(self, int32_t j, Scratch *s, int32_t *codes) noexcept nogil
    cdef void explore(self, ActiveSet *out, Scratch *s) noexcept nogil
    cdef void complete(self, ActiveSet *out, Scratch *s) noexcept nogil


cdef class Ranking:
    cdef void propose(self, LSHSelector lsh, LayerBuffers *buf, Scratch *s) noexcept nogil


cdef class Collisions(Ranking):
    cdef bint count(self) noexcept nogil
