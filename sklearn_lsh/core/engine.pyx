"""The passes over examples: every prange is here, and the GIL is held by no other line.

Threads share the weights without locks (Recht et al. 2011, "Hogwild!"); everything else a
thread writes is in its own Workspace. One thread is bit-reproducible.
"""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.math cimport isfinite
from libc.stdlib cimport calloc, free

from .layer cimport Layer
from .losses cimport Loss
from .lsh cimport LSHSelector
from .rows cimport Rows
from .types cimport (
    LayerBuffers, SparseVec, borrow, int32_t, int64_t, ints, mix, real, reals, uint64_t,
)
from .workspace cimport Space, Workspace

cdef extern from *:
    """
    #ifdef _OPENMP
    #define LSH_OPENMP 1
    #else
    #define LSH_OPENMP 0
    #endif
    """
    bint LSH_OPENMP

#: Whether passes can run on several threads (the build found OpenMP).
OPENMP = bool(LSH_OPENMP)


cdef class Targets:
    """Labels of the examples: those of example i are labels[indptr[i]:indptr[i + 1]].

    Parameters
    ----------
    indptr : ndarray of shape (n + 1,), int64
    labels : ndarray, int32
    sample_weight : ndarray of shape (n,), float32, or None
    """

    def __init__(self, indptr, labels, sample_weight=None):
        self.arrays = (indptr, labels, sample_weight)
        self.indptr = <const int64_t *> borrow(indptr, "i8")
        self.labels = ints(labels)
        self.sample_weight = NULL if sample_weight is None else reals(sample_weight)


cdef class Engine:
    """Runs training, prediction and re-encoding over a list of layers.

    Parameters
    ----------
    layers : list of Layer
        Input side first; the last is the output layer, with every node active.
    loss : Loss
    """

    def __cinit__(self, layers, Loss loss):
        self.layers = list(layers)
        self.n_hidden = len(self.layers) - 1
        self.loss = loss
        # Borrowed references that can be followed without the GIL; self.layers owns them.
        self.layer_pointers = <void **> calloc(len(self.layers), sizeof(void *))
        if self.layer_pointers == NULL:
            raise MemoryError()
        for i, layer in enumerate(self.layers):
            self.layer_pointers[i] = <void *> layer

    def __dealloc__(self):
        free(self.layer_pointers)

    def workspaces(self, n_threads):
        """Workspaces for a pass on n_threads threads; one list may serve many passes."""
        return [Workspace(self.layers) for _ in range(n_threads)]

    def check_rows(self, Rows rows):
        """The last guard of the workspaces' memory: they are as wide as the network's input."""
        n_in = (<Layer> self.layers[0]).store.n_in
        if rows.n_features != n_in:
            raise ValueError(f"rows of {rows.n_features} features in a network for {n_in}")

    cdef void load(self, Rows rows, Py_ssize_t i, Space *space) noexcept nogil:
        """Row i as the input of the first layer."""
        rows.load(i, &space.row)
        (<Layer> self.layer_pointers[0]).enter(&space.row.vec, &space.scratch)

    # ---- training --------------------------------------------------------------------

    def train(
        self, Rows rows, Targets targets, order, Py_ssize_t start, Py_ssize_t stop,
        uint64_t seed, list workspaces,
    ):
        """One update for each of the examples order[start:stop].

        Parameters
        ----------
        rows : Rows
        targets : Targets
        order : ndarray of int64
            Row numbers in the order of training.
        start, stop : int
        seed : int
            With an example's place in the order, decides every random choice made for it.
        workspaces : list of Workspace
            One a thread. Loss and counters add up in them.
        """
        cdef const int64_t *row = <const int64_t *> borrow(order, "i8")
        cdef int thread, n_threads = len(workspaces)
        self.check_rows(rows)
        cdef Space **spaces = gather(workspaces)
        for thread in prange(
            n_threads, num_threads=n_threads, schedule="static", chunksize=1, nogil=True
        ):
            self.train_share(
                rows, targets, row, start + thread, stop, n_threads, seed, spaces[thread]
            )
        free(spaces)

    cdef void train_share(
        self, Rows rows, Targets targets, const int64_t *row, Py_ssize_t start, Py_ssize_t stop,
        int step, uint64_t seed, Space *space,
    ) noexcept nogil:
        """Every step-th example of [start, stop): one thread's share."""
        cdef Py_ssize_t t = start
        while t < stop:
            # Chance belongs to the example, whatever thread or call it falls to.
            space.scratch.rng = mix(seed ^ mix(t))
            self.load(rows, row[t], space)
            if self.gradients(targets, row[t], space):
                self.update(space)
            t = t + step

    def train_delayed(
        self, Rows rows, Targets targets, order, Py_ssize_t start, Py_ssize_t stop,
        uint64_t seed, list workspaces, Py_ssize_t batch,
    ):
        """As ``train``, but as if many workers trained at once: simulated in this thread.

        Workers take turns. Each takes ``batch`` examples, computes their gradients from the
        weights as they are, and applies them at its next turn, when every other worker has
        changed the weights in between: the bounded delay of Recht et al. 2011, section 4.

        Parameters
        ----------
        rows, targets, order, start, stop, seed
            As for ``train``.
        workspaces : list of Workspace
            ``batch`` for each worker.
        batch : int
        """
        cdef const int64_t *row = <const int64_t *> borrow(order, "i8")
        cdef Py_ssize_t t = start, slot, n = len(workspaces)
        self.check_rows(rows)
        waiting = np.zeros(n, np.uint8)
        cdef unsigned char *waits = <unsigned char *> borrow(waiting, "u1")
        cdef Space **spaces = gather(workspaces)
        cdef Py_ssize_t worker = 0, idle = 0
        with nogil:
            while idle < n:  # until a round of turns has left no update waiting
                for slot in range(worker, worker + batch):
                    idle += 1
                    if waits[slot]:
                        self.update(spaces[slot])
                        waits[slot] = 0
                        idle = 0
                for slot in range(worker, worker + batch):
                    if t < stop:
                        spaces[slot].scratch.rng = mix(seed ^ mix(t))
                        self.load(rows, row[t], spaces[slot])
                        waits[slot] = self.gradients(targets, row[t], spaces[slot])
                        idle = 0
                        t += 1
                worker = (worker + batch) % n
        free(spaces)

    cdef bint gradients(self, Targets targets, Py_ssize_t i, Space *space) noexcept nogil:
        """The deltas of every layer for the row in space. Returns whether to update."""
        cdef int l, top = self.n_hidden
        cdef LayerBuffers *out = &space.layers[top]
        cdef const int32_t *labels = targets.labels + targets.indptr[i]
        cdef int32_t t, n_labels = <int32_t> (targets.indptr[i + 1] - targets.indptr[i])
        cdef real weight = 1
        cdef double loss
        cdef bint finite = True
        if targets.sample_weight != NULL:
            weight = targets.sample_weight[i]
        self.forward(top + 1, False, space)
        for t in range(top):
            space.n_active[t] += space.layers[t].active.n
        space.n_examples += 1
        for t in range(out.out.n):
            finite = finite and isfinite(out.out.val[t])
        if not finite:
            space.n_refused += 1
            return False
        loss = self.loss.gradient(out.out.val, out.out.n, labels, n_labels, out.delta)
        space.loss += weight * loss
        space.weight += weight
        if weight == 0:
            return False
        for t in range(out.out.n):
            out.delta[t] *= weight
        for l in range(top, 0, -1):
            (<Layer> self.layer_pointers[l]).pull_back(
                &space.layers[l], &space.layers[l - 1].out, &space.layers[l - 1], &space.scratch
            )
            (<Layer> self.layer_pointers[l - 1]).through_activation(&space.layers[l - 1])
        return True

    cdef void forward(self, int n_layers, bint inference, Space *space) noexcept nogil:
        """The row in space through the first n_layers layers."""
        cdef int l
        cdef SparseVec *x = &space.row.vec
        space.scratch.training = not inference
        for l in range(n_layers):
            (<Layer> self.layer_pointers[l]).forward(
                inference, x, &space.layers[l], &space.scratch
            )
            x = &space.layers[l].out

    cdef void update(self, Space *space) noexcept nogil:
        """Apply the gradients in space to every layer, output side first."""
        cdef int l
        cdef int32_t refused = 0
        cdef SparseVec *x
        for l in range(self.n_hidden, -1, -1):
            x = &space.row.vec if l == 0 else &space.layers[l - 1].out
            refused += (<Layer> self.layer_pointers[l]).update(
                x, &space.layers[l], &space.scratch
            )
        space.n_refused += refused > 0

    def spent(self, list workspaces):
        """Multiplications and training examples since the last call of ``totals``."""
        cdef Workspace ws
        cdef int64_t multiplications = 0, n_examples = 0
        for ws in workspaces:
            multiplications += ws.space.scratch.multiplications
            n_examples += ws.space.n_examples
        return multiplications, n_examples

    def totals(self, list workspaces):
        """What the passes since the last call counted, over all threads; starts anew."""
        cdef Workspace ws
        cdef int l
        total = {
            "loss": 0.0, "weight": 0.0, "n_examples": 0, "n_refused": 0, "multiplications": 0,
            "n_active": np.zeros(self.n_hidden, np.int64),
        }
        for ws in workspaces:
            total["loss"] += ws.space.loss
            total["weight"] += ws.space.weight
            total["n_examples"] += ws.space.n_examples
            total["n_refused"] += ws.space.n_refused
            total["multiplications"] += ws.space.scratch.multiplications
            for l in range(self.n_hidden):
                total["n_active"][l] += ws.space.n_active[l]
                ws.space.n_active[l] = 0
            ws.space.loss = ws.space.weight = 0
            ws.space.n_examples = ws.space.n_refused = ws.space.scratch.multiplications = 0
        return total

    # ---- re-encoding -----------------------------------------------------------------

    def refresh_sketches(self, int l, nodes, list workspaces):
        """Recompute the stale sketches among the given nodes (int32 ids) of hidden layer l."""
        cdef LSHSelector lsh = self.layers[l].selector
        cdef const int32_t *ids = ints(nodes)
        cdef Py_ssize_t t, n = len(nodes)
        cdef int n_threads = len(workspaces)
        cdef Space **spaces = gather(workspaces)
        for t in prange(n, num_threads=n_threads, schedule="static", nogil=True):
            lsh.refresh_sketch(ids[t], &spaces[threadid()].scratch)
        free(spaces)

    def encode(self, int l, nodes, list workspaces):
        """Move the given nodes (int32 ids) of hidden layer l to their buckets."""
        cdef LSHSelector lsh = self.layers[l].selector
        cdef const int32_t *ids = ints(nodes)
        cdef Py_ssize_t t, n = len(nodes)
        cdef int n_threads = len(workspaces), n_tables = lsh.index.n_tables
        new_codes = np.empty((n, n_tables), np.int32)
        cdef int32_t *codes = ints(new_codes)
        cdef Space **spaces = gather(workspaces)
        for t in prange(n, num_threads=n_threads, schedule="static", nogil=True):
            lsh.encode(ids[t], &spaces[threadid()].scratch, codes + t * n_tables)
        with nogil:
            for t in range(n):
                lsh.index.move(ids[t], codes + t * n_tables)
        free(spaces)

    # ---- prediction ------------------------------------------------------------------

    def predict(self, Rows rows, Py_ssize_t start, Py_ssize_t stop, out, list workspaces):
        """Probabilities of rows [start, stop) into out, float64 (n_rows, n_outputs).

        Returns how many rows had a logit that is not finite; theirs are not written.
        """
        cdef Py_ssize_t i, n_outputs = out.shape[1]
        cdef double *p = <double *> borrow(out, "f8")
        cdef int n_threads = len(workspaces)
        cdef int64_t overflown = 0
        self.check_rows(rows)
        cdef Space **spaces = gather(workspaces)
        for i in prange(
            start, stop, num_threads=n_threads, schedule="dynamic", chunksize=16, nogil=True
        ):
            overflown += self.predict_one(rows, i, p + i * n_outputs, spaces[threadid()])
        free(spaces)
        return overflown

    cdef int predict_one(
        self, Rows rows, Py_ssize_t i, double *p, Space *space
    ) noexcept nogil:
        cdef LayerBuffers *out = &space.layers[self.n_hidden]
        cdef int32_t t
        self.load(rows, i, space)
        self.forward(self.n_hidden + 1, True, space)
        for t in range(out.out.n):
            if not isfinite(out.out.val[t]):
                return 1
        self.loss.probabilities(out.out.val, out.out.n, p)
        return 0

    def hidden(self, Rows rows, nodes, int l, str what, Workspace ws):
        """What hidden layer l selects ("selected") or outputs ("outputs") for some rows.

        Parameters
        ----------
        rows : Rows
        nodes : ndarray of int64
            Row numbers.
        l : int
        what : {"selected", "outputs"}
        ws : Workspace
            Counts the multiplications.

        Returns
        -------
        indptr : ndarray of shape (len(nodes) + 1,), int64
        indices : ndarray of int32
        values : ndarray of float32
            Pre-activations of the selected nodes, or the non-zero outputs.
        """
        self.check_rows(rows)
        cdef LayerBuffers *buf = &ws.space.layers[l]
        cdef const int64_t *row = <const int64_t *> borrow(nodes, "i8")
        cdef Py_ssize_t t, n = len(nodes)
        cdef bint outputs = what == "outputs"
        cdef int32_t found
        indptr = np.zeros(n + 1, np.int64)
        indices, values = [], []
        for t in range(n):
            with nogil:
                self.load(rows, row[t], &ws.space)
                self.forward(l + 1, True, &ws.space)
            found = buf.out.n if outputs else buf.active.n
            indptr[t + 1] = indptr[t] + found
            if found:
                ids = <int32_t[:found]> (buf.out_idx if outputs else buf.active.idx)
                val = <real[:found]> (buf.out.val if outputs else buf.active.z)
                indices.append(np.array(ids))
                values.append(np.array(val))
        empty = [np.zeros(0)]
        return (
            indptr,
            np.concatenate(indices or empty).astype(np.int32, copy=False),
            np.concatenate(values or empty).astype(np.float32, copy=False),
        )

    def recall(self, Rows rows, nodes, Workspace ws):
        """Per hidden layer: how many of the exact top nodes were selected, and of how many.

        Summed over the rows with the numbers ``nodes`` (int64), each layer judged on the input
        it was really given. ``ws`` counts the multiplications.
        """
        cdef const int64_t *row = <const int64_t *> borrow(nodes, "i8")
        cdef Py_ssize_t i, n = len(nodes)
        cdef int l
        cdef SparseVec *x
        self.check_rows(rows)
        found = np.zeros(self.n_hidden, np.int64)
        wanted = np.zeros(self.n_hidden, np.int64)
        cdef int64_t *f = <int64_t *> borrow(found, "i8")
        cdef int64_t *w = <int64_t *> borrow(wanted, "i8")
        with nogil:
            for i in range(n):
                self.load(rows, row[i], &ws.space)
                self.forward(self.n_hidden, True, &ws.space)
                x = &ws.space.row.vec
                for l in range(self.n_hidden):
                    f[l] += (<Layer> self.layer_pointers[l]).hits(
                        x, &ws.space.layers[l], &ws.space.scratch
                    )
                    w[l] += (<Layer> self.layer_pointers[l]).selector.n_active
                    x = &ws.space.layers[l].out
        return found, wanted


cdef Space** gather(list workspaces) except NULL:
    """Pointers to the threads' spaces, to be freed by the caller."""
    cdef Workspace ws
    cdef Space **spaces = <Space **> calloc(max(1, len(workspaces)), sizeof(Space *))
    if spaces == NULL:
        raise MemoryError()
    for thread, ws in enumerate(workspaces):
        spaces[thread] = &ws.space
    return spaces
