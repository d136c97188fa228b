"""Per-thread workspaces: allocated once per pass, never inside it."""

from libc.stdlib cimport calloc, free

from .layer cimport Layer
from .lsh cimport LSHSelector
from .types cimport LayerBuffers, int32_t, int64_t, real, uint32_t

from .hashing import MOST_PROBES, Subspace


cdef struct Arena:
    char *base          # NULL while sizes are being added up
    size_t used


cdef void* take(Arena *arena, size_t n, size_t size) noexcept:
    """n items from the arena, on a cache line of their own (no false sharing)."""
    cdef size_t start = arena.used
    arena.used += (n * size + 63) // 64 * 64
    return NULL if arena.base == NULL else arena.base + start


cdef class Workspace:
    """Scratch space and counters for one thread over the given layers."""

    def __cinit__(self, layers):
        # The same walk twice: once to add up the bytes, once to hand them out.
        cdef size_t size = self.lay_out(NULL, layers)
        self.block = calloc(size + 64, 1)
        if self.block == NULL:
            raise MemoryError(f"{size} bytes for a thread's workspace")
        self.lay_out(<char *> ((<size_t> self.block + 63) // 64 * 64), layers)

    def __dealloc__(self):
        free(self.block)

    cdef size_t lay_out(self, char *base, object layers) except 0:
        cdef Arena arena
        cdef LayerBuffers unused
        cdef LayerBuffers *buf
        cdef Layer layer
        cdef LSHSelector lsh
        cdef size_t width = 1, sketch, query = 1, margin = 1, codes = 1
        cdef int32_t probes, longest = max(Subspace.lengths)
        arena.base = base
        arena.used = 0
        self.space.layers = <LayerBuffers *> take(&arena, len(layers), sizeof(LayerBuffers))
        self.space.n_active = <int64_t *> take(&arena, len(layers), sizeof(int64_t))
        for i, layer in enumerate(layers):
            n = layer.store.n_out
            width = max(width, <size_t> n)
            sketch = 0
            if isinstance(layer.selector, LSHSelector):
                lsh = layer.selector
                planes = lsh.family.n_bits * lsh.family.n_tables
                # A renewal during the pass may choose the longest sketch and most probes.
                sketch = max(lsh.family.dim, longest)
                query = max(query, sketch)
                margin = max(margin, <size_t> (max(planes, sketch) + sketch))
                probes = 2 * MOST_PROBES
                if lsh.probing is not None:
                    probes = max(probes, lsh.probing.n_codes)
                codes = max(codes, <size_t> (probes * lsh.family.n_tables))
            buf = &unused if base == NULL else &self.space.layers[i]
            buf.active.idx = <int32_t *> take(&arena, n, sizeof(int32_t))
            buf.active.z = <real *> take(&arena, n, sizeof(real))
            buf.active.gain = <real *> take(&arena, n, sizeof(real))
            buf.out_idx = <int32_t *> take(&arena, n, sizeof(int32_t))
            buf.out.val = <real *> take(&arena, n, sizeof(real))
            buf.delta = <real *> take(&arena, n, sizeof(real))
            buf.applied = <real *> take(&arena, n, sizeof(real))
            buf.sketch = <real *> take(&arena, sketch, sizeof(real))
        n_features = (<Layer> layers[0]).store.n_in
        self.space.row.idx = <int32_t *> take(&arena, n_features, sizeof(int32_t))
        self.space.row.val = <real *> take(&arena, n_features, sizeof(real))
        self.space.scratch.score = <real *> take(&arena, width, sizeof(real))
        self.space.scratch.rank = <real *> take(&arena, width, sizeof(real))
        self.space.scratch.key = <uint32_t *> take(&arena, width, sizeof(uint32_t))
        self.space.scratch.ids = <int32_t *> take(&arena, width, sizeof(int32_t))
        self.space.scratch.chosen = <int32_t *> take(&arena, width, sizeof(int32_t))
        self.space.scratch.hits = <int32_t *> take(&arena, width, sizeof(int32_t))
        self.space.scratch.query = <real *> take(&arena, query, sizeof(real))
        self.space.scratch.margin = <real *> take(&arena, margin, sizeof(real))
        self.space.scratch.codes = <int32_t *> take(&arena, codes, sizeof(int32_t))
        self.space.scratch.order = <int32_t *> take(&arena, 32, sizeof(int32_t))
        return arena.used
