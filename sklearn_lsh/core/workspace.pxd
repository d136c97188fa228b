from .rows cimport RowBuffer
from .types cimport LayerBuffers, Scratch, int64_t


# What one thread works with during a pass. Nothing in it is shared.
cdef struct Space:
    Scratch scratch
    RowBuffer row
    LayerBuffers *layers
    int64_t *n_active       # per layer: active nodes, summed over examples
    double loss             # weighted, summed over examples
    double weight           # of those examples
    int64_t n_examples
    int64_t n_refused       # examples with an update that was not applied


cdef class Workspace:
    cdef void *block
    cdef Space space
    cdef size_t lay_out(self, char *base, object layers) except 0
