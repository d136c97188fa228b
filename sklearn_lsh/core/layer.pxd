from .optimizers cimport Optimizer
from .selection cimport Selector
from .types cimport Input, LayerBuffers, Scratch, SparseVec, int32_t, real
from .weights cimport WeightStore
from .whitening cimport Whitening

cpdef enum Activation:
    IDENTITY, RELU, TANH, LOGISTIC


# How nodes are selected: as in training, or in one of the ways to predict.
cdef enum Mode:
    TRAINING, AUTO, EXACT, ALL, N_MODES


cdef class Layer:
    cdef readonly WeightStore store
    cdef readonly Selector selector
    cdef tuple by_mode                  # what selectors borrows
    cdef void *selectors[N_MODES]
    cdef readonly Optimizer optimizer
    cdef readonly Whitening whitening   # None: updates are along the input
    cdef Activation activation
    cdef object arrays
    cdef unsigned char *used            # (n_out,): active at least once since cleared
    cdef int32_t *visits                # (n_out,): updates, where nodes are sorted by them
    cdef readonly object claimed        # what claims borrows
    cdef unsigned char *claims          # (n_out,): rows being written; NULL where none is shared

    cdef void enter(self, SparseVec *x, Scratch *s) noexcept nogil
    cdef int32_t exact_top(self, const real *z, Scratch *s, real *bar) noexcept nogil
    cdef int32_t hits(self, LayerBuffers *buf, real bar, int32_t wanted) noexcept nogil
    cdef int32_t rows_together(self, int n_owners) noexcept nogil
    cdef void propose(
        self, Mode mode, SparseVec *x, LayerBuffers *buf, Scratch *s
    ) noexcept nogil
    cdef void activate(
        self, int32_t start, int32_t stop, SparseVec *x, LayerBuffers *buf, Scratch *s
    ) noexcept nogil
    cdef void settle(self, Mode mode, LayerBuffers *buf, Scratch *s) noexcept nogil
    cdef void pull_back(
        self, LayerBuffers *buf, SparseVec *x, LayerBuffers *below, Scratch *s
    ) noexcept nogil
    cdef void through_activation(self, LayerBuffers *buf) noexcept nogil
    cdef void describe(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil
    cdef int32_t n_units(self) noexcept nogil
    cdef int32_t units_together(self, int n_owners) noexcept nogil
    cdef int32_t update(
        self, int32_t start, int32_t stop, bint tell, LayerBuffers *buf, Scratch *s
    ) noexcept nogil
    cdef int32_t step_claimed(
        self, const int32_t *ids, const real *delta, const real *seen, int32_t n, Input *u,
        Scratch *s
    ) noexcept nogil
    cdef void tell_selector(self, LayerBuffers *buf, Scratch *s) noexcept nogil
    cdef int32_t update_features(
        self, int32_t start, int32_t stop, LayerBuffers *buf, Scratch *s
    ) noexcept nogil


cdef int32_t position(const int32_t *ids, int32_t n, int32_t bound) noexcept nogil
