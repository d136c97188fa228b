from .layer cimport Layer, Mode
from .rows cimport RowBuffer
from .types cimport Input, LayerBuffers, Scratch, int32_t, int64_t, uint64_t


# One example on its way through the network, from its input to its update.
cdef struct Example:
    RowBuffer row
    LayerBuffers *layers
    uint64_t rng            # decides its random choices, layer after layer
    Py_ssize_t number       # its row
    bint waits              # its gradients are there, and not applied yet
    bint refused            # some of its update was not applied; not counted yet
    double loss             # weighted
    double weight


# What a pass does with a layer, as its time is reported (see STAGES in engine.pyx).
cdef enum:
    SELECT
    FORWARD
    BACKWARD
    UPDATE
    N_STAGES


# What one thread works with during a pass. Nothing in it is written by others, but for examples
# that are handed on.
cdef struct Space:
    Scratch scratch
    Example *examples
    int32_t n_slots         # how many examples there is room for
    Mode inference          # how predictions select
    int64_t *n_active       # per layer: active nodes, summed over examples
    double *seconds         # per layer, N_STAGES each
    int64_t n_examples
    int64_t n_refused       # of them, with an update that was not wholly applied
    double loss             # summed over all threads' examples, in their order; so is
    double weight           # the weight of these


cdef struct Arena:
    char *base          # NULL while sizes are being added up
    size_t used


cdef class Workspace:
    cdef void *block
    cdef Space space
    cdef Py_ssize_t n_labels
    cdef Py_ssize_t n_listed            # how many outputs there is room for in a slot
    cdef size_t lay_out(self, char *base, object layers, Py_ssize_t n_slots) except 0
    cdef void lay_out_example(self, Example *example, Arena *arena, object layers)
    cdef void lay_out_whitened(self, Input *u, Layer layer, Arena *arena)
