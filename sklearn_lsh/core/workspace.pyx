"""Workspaces: a thread's scratch space and the examples it has in hand.

Allocated once per pass, never inside it.
"""

from libc.stdlib cimport calloc, free

from .kernels cimport RUN, SORT_WORDS
from .layer cimport Layer, Mode
from .lsh cimport LSHSelector
from .types cimport Input, LayerBuffers, RunBuffer, int32_t, int64_t, real, uint64_t

from .hashing import MOST_PROBES, Subspace

#: Ways to select nodes for predictions.
INFERENCES = {"auto": Mode.AUTO, "exact": Mode.EXACT, "all": Mode.ALL}

# Runs that a vector is written as at most: longer ones have their entries all over.
cdef int32_t MOST_RUNS = 4096


cdef void* take(Arena *arena, size_t n, size_t size) noexcept:
    """n items from the arena, on a cache line of their own (no false sharing)."""
    cdef size_t start = arena.used
    arena.used += (n * size + 63) // 64 * 64
    return NULL if arena.base == NULL else arena.base + start


cdef class Workspace:
    """Scratch space and counters for one thread over the given layers.

    Parameters
    ----------
    layers : list of Layer
    n_slots : int
        Examples that the thread holds at a time.
    n_labels : int
        That an example has at most.
    inference : str
        A key of INFERENCES. Training, and renewals meanwhile, want "auto".
    """

    def __cinit__(self, layers, Py_ssize_t n_slots, Py_ssize_t n_labels=0, inference="auto"):
        self.n_labels = n_labels
        if inference not in INFERENCES:
            raise ValueError(f"inference must be one of {list(INFERENCES)}, got {inference!r}")
        self.space.inference = INFERENCES[inference]
        # The same walk twice: once to add up the bytes, once to hand them out.
        cdef size_t size = self.lay_out(NULL, layers, n_slots)
        self.block = calloc(size + 64, 1)
        if self.block == NULL:
            raise MemoryError(f"{size} bytes for a thread's workspace")
        self.lay_out(<char *> ((<size_t> self.block + 63) // 64 * 64), layers, n_slots)

    def __dealloc__(self):
        free(self.block)

    cdef size_t lay_out(self, char *base, object layers, Py_ssize_t n_slots) except 0:
        cdef Arena arena
        cdef Example unused
        cdef Layer layer
        cdef LSHSelector lsh
        cdef Py_ssize_t slot
        cdef size_t width = 1, query = 1, margin = 1, codes = 1, sketch
        cdef int32_t probes
        arena.base = base
        arena.used = 0
        self.space.n_slots = <int32_t> n_slots
        self.space.examples = <Example *> take(&arena, n_slots, sizeof(Example))
        self.space.n_active = <int64_t *> take(&arena, len(layers), sizeof(int64_t))
        self.space.seconds = <double *> take(&arena, len(layers) * N_STAGES, sizeof(double))
        for slot in range(n_slots):
            self.lay_out_example(
                &unused if base == NULL else &self.space.examples[slot], &arena, layers
            )
        for layer in layers:
            width = max(width, <size_t> layer.store.n_out)
            if isinstance(layer.selector, LSHSelector):
                lsh = layer.selector
                planes = lsh.family.n_bits * lsh.family.n_tables
                sketch = sketch_length(lsh)
                query = max(query, sketch)
                margin = max(margin, <size_t> (max(planes, sketch) + sketch))
                probes = 2 * MOST_PROBES
                if lsh.probing is not None:
                    probes = max(probes, lsh.probing.n_codes)
                codes = max(codes, <size_t> (probes * lsh.family.n_tables))
        self.space.scratch.score = <real *> take(&arena, width, sizeof(real))
        self.space.scratch.rank = <real *> take(&arena, width, sizeof(real))
        make_room(&self.space.scratch.runs, width, &arena)
        self.space.scratch.key = <int32_t *> take(&arena, width, sizeof(int32_t))
        self.space.scratch.ids = <int32_t *> take(&arena, width, sizeof(int32_t))
        self.space.scratch.chosen = <int32_t *> take(&arena, width, sizeof(int32_t))
        self.space.scratch.hits = <int32_t *> take(&arena, width, sizeof(int32_t))
        self.space.scratch.bits = <uint64_t *> take(&arena, SORT_WORDS(width), sizeof(uint64_t))
        n_features = (<Layer> layers[0]).store.n_in
        self.space.scratch.step = <real *> take(&arena, n_features, sizeof(real))
        self.space.scratch.step_idx = <int32_t *> take(&arena, n_features, sizeof(int32_t))
        self.space.scratch.query = <real *> take(&arena, query, sizeof(real))
        self.space.scratch.margin = <real *> take(&arena, margin, sizeof(real))
        self.space.scratch.codes = <int32_t *> take(&arena, codes, sizeof(int32_t))
        self.space.scratch.order = <int32_t *> take(&arena, 32, sizeof(int32_t))
        return arena.used

    cdef void lay_out_example(self, Example *example, Arena *arena, object layers):
        cdef LayerBuffers unused
        cdef LayerBuffers *buf
        cdef Layer layer
        cdef size_t sketch, drawn, n
        n_features = (<Layer> layers[0]).store.n_in
        example.layers = <LayerBuffers *> take(arena, len(layers), sizeof(LayerBuffers))
        example.row.idx = <int32_t *> take(arena, n_features, sizeof(int32_t))
        example.row.val = <real *> take(arena, n_features, sizeof(real))
        make_room(&example.row.runs, n_features, arena)
        for i, layer in enumerate(layers):
            n = layer.store.n_out
            sketch = drawn = 0
            if isinstance(layer.selector, LSHSelector):
                sketch = sketch_length(layer.selector)
                drawn = (<LSHSelector> layer.selector).n_explored
                if self.space.inference == Mode.AUTO:
                    # With the labels that an output layer adds to what it finds.
                    n = min(n, (<LSHSelector> layer.selector).most_listed + self.n_labels + drawn)
            self.n_listed = <Py_ssize_t> n  # at last the output layer's
            buf = &unused if arena.base == NULL else &example.layers[i]
            buf.active.idx = <int32_t *> take(arena, n, sizeof(int32_t))
            buf.active.z = <real *> take(arena, n, sizeof(real))
            buf.active.gain = <real *> take(arena, n, sizeof(real))
            buf.active.drawn = <int32_t *> take(arena, drawn, sizeof(int32_t))
            buf.out_idx = <int32_t *> take(arena, n, sizeof(int32_t))
            # The outputs of the last layer are no layer's input.
            make_room(&buf.out_runs, n if i + 1 < len(layers) else 0, arena)
            buf.out.val = <real *> take(arena, n, sizeof(real))
            buf.delta = <real *> take(arena, n, sizeof(real))
            buf.seen = NULL
            if layer.optimizer.sums != NULL:
                buf.seen = <real *> take(arena, n, sizeof(real))
            buf.move.applied = NULL
            if isinstance(layer.selector, LSHSelector):
                buf.move.applied = <real *> take(arena, n, sizeof(real))
                buf.move.intercept = <real *> take(arena, n, sizeof(real))
            buf.sketch = <real *> take(arena, sketch, sizeof(real))
            if layer.whitening is not None:
                self.lay_out_whitened(&buf.input, layer, arena)

    cdef void lay_out_whitened(self, Input *u, Layer layer, Arena *arena):
        """Room for an input as updates see it, dense."""
        u.whitened.idx, u.whitened.n, u.whitened.n_runs = NULL, layer.store.n_in, 0
        u.whitened.val = <real *> take(arena, layer.store.n_in, sizeof(real))
        u.along = <real *> take(arena, layer.whitening.n_directions, sizeof(real))


cdef void make_room(RunBuffer *runs, size_t width, Arena *arena):
    """For as many runs as a vector of so many coordinates can have, or is written as, and one that
    is cleared beyond them."""
    runs.most = min(<int32_t> width // RUN + 1, MOST_RUNS) if width > 0 else 0
    runs.run = <int32_t *> take(arena, runs.most, sizeof(int32_t))
    runs.val = <real *> take(arena, (runs.most + 1) * RUN, sizeof(real))


cdef size_t sketch_length(LSHSelector lsh):
    """Numbers in a sketch; a renewal during the pass may choose the longest there is."""
    return max(lsh.family.dim, max(Subspace.lengths))
