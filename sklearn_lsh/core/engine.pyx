"""The passes over examples: every prange is here, and the GIL is held by no other line.

Training takes examples by the batch: their gradients are computed at the same weights, layer by
layer, so that a layer's rows stay in the cache, and their updates are applied one after the
other. Threads divide a batch in one of two ways, and the result is that of one thread in both. By
examples: first each computes the gradients of some, then each updates the rows it owns. By
layers: in relay (relay.pyx). In a third way, lock-free (Recht et al. 2011, "Hogwild!"), each
thread takes batches of its own and updates every row, whatever the others do.
"""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.math cimport isnan
from libc.stdlib cimport calloc, free

from .answers cimport Answers
from .layer cimport Layer, Mode
from .lsh cimport LSHSelector
from .outputs cimport Targets
from .relay cimport Relay, most_stages, relay_of
from .rows cimport Rows
from .steps cimport Batch, Pass, Steps
from .types cimport (
    LayerBuffers, Scratch, SparseVec, borrow, int32_t, int64_t, ints, real, reals, uint64_t,
)
from .workspace cimport N_STAGES, Example, Space, Workspace

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define LSH_OPENMP 1
    #define LSH_TEAM omp_get_num_threads()
    #define LSH_MAX_THREADS omp_get_max_threads()
    #else
    #define LSH_OPENMP 0
    #define LSH_TEAM 1
    #define LSH_MAX_THREADS 1
    #endif
    """
    bint LSH_OPENMP
    int LSH_TEAM
    int LSH_MAX_THREADS

#: Whether passes can run on several threads (the build found OpenMP).
OPENMP = bool(LSH_OPENMP)


def max_threads():
    """How many threads OpenMP would take: the processors, or what limits were set."""
    return LSH_MAX_THREADS


# Exact activations, by which selection is judged, are computed for so many examples that there are
# no more of them than this: a row that is in the cache then serves several.
cdef Py_ssize_t EXACT_TOGETHER = 1 << 23

#: What the time of a pass goes to, layer by layer: proposing nodes and choosing among them;
#: their activations; gradients (at the top layer the loss's, too); updates.
STAGES = ("select", "forward", "backward", "update")

#: What threads divide in training: a batch's examples, the layers, or batches, each its own.
DIVISIONS = ("examples", "layers", "batches")


cdef class Engine(Steps):
    """Runs training, prediction and re-encoding over a list of layers (see Steps)."""

    def workspaces(self, n_threads, n_slots=1, n_labels=0, inference="auto"):
        """Workspaces for passes on n_threads threads, each with room for n_slots examples.

        Training needs to know how many labels an example has at most; predictions in them
        select nodes as ``inference`` says ("auto", "exact" or "all").
        """
        return [Workspace(self.layers, n_slots, n_labels, inference) for _ in range(n_threads)]

    def check_width(self, Rows rows, workspaces, n_labels=0):
        """The last guard of the workspaces' memory: they are as wide as input and output."""
        cdef Workspace ws
        cdef Layer first = self.layers[0], last = self.layers[self.n_hidden]
        cdef LSHSelector lsh
        if rows.n_features != first.store.n_in:
            raise ValueError(
                f"rows of {rows.n_features} features in a network for {first.store.n_in}"
            )
        for ws in workspaces:
            wanted = last.store.n_out
            if self.n_hashed > self.n_hidden and ws.space.inference == Mode.AUTO:
                lsh = <LSHSelector> last.selector
                wanted = min(wanted, lsh.most_listed + lsh.n_explored + n_labels)
            if ws.n_listed < wanted:
                raise ValueError(f"{wanted} outputs in a workspace for {ws.n_listed}")

    def check_slots(self, workspaces, n_examples):
        """The last guard of their number: each workspace has room for so many examples."""
        if n_examples > self.room(workspaces):
            raise ValueError(f"{n_examples} examples in a workspace for {self.room(workspaces)}")

    def room(self, workspaces):
        """Examples that each of the workspaces has room for."""
        return min([(<Workspace> ws).space.n_slots for ws in workspaces])

    # ---- training --------------------------------------------------------------------

    def n_stages(self, n_threads):
        """Of a relay with so many threads at most."""
        return max(1, min(n_threads, most_stages(self)))

    def train(
        self, Rows rows, Targets targets, order, Py_ssize_t start, Py_ssize_t stop,
        uint64_t seed, list workspaces, Py_ssize_t batch, divided="examples", int n_at_work=0,
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
        batch : int
            Examples in a batch. Workspaces have room for one together; each has where "batches"
            are divided, and the first two where "layers" are.
        divided : {"examples", "layers", "batches"}
            What threads divide. Batches lock-free; otherwise the result is the same. Layers
            only where there are enough (``n_stages``), or else examples.
        n_at_work : int
            Threads that do the work of all workspaces; 0 for one each. Where they divide layers,
            the others have no work.
        """
        cdef Pass p
        cdef int n_threads = len(workspaces), at_work = min(n_at_work or n_threads, n_threads)
        cdef Py_ssize_t most = min(batch, stop - start)
        if divided not in DIVISIONS:
            raise ValueError(f"divided must be one of {DIVISIONS}, got {divided!r}")
        self.check_width(rows, workspaces, targets.most_labels)
        cdef int n_stages = self.n_stages(at_work) if divided == "layers" else 1
        if n_stages > 1:
            self.check_slots(workspaces[:2], most)
        elif divided == "batches":
            self.check_slots(workspaces, most)
        else:
            self.check_slots(workspaces, (most + n_threads - 1) // n_threads)
        p.row = <const int64_t *> borrow(order, "i8")
        p.start, p.stop, p.batch, p.seed = start, stop, batch, seed
        cdef Space **spaces = gather(workspaces)
        try:
            if n_stages > 1:
                self.divide_layers(rows, targets, &p, spaces, n_stages)
            elif divided == "batches":
                self.divide_batches(rows, targets, &p, spaces, n_threads, at_work)
            else:
                self.divide_examples(rows, targets, &p, spaces, n_threads, at_work)
        finally:
            free(spaces)

    cdef int divide_examples(
        self, Rows rows, Targets targets, const Pass *p, Space **spaces, int n_threads,
        int at_work,
    ) except -1:
        cdef Batch batch
        cdef Py_ssize_t t = p.start, stop
        cdef int thread
        batch.spaces, batch.n_spaces, batch.start = spaces, n_threads, 0
        with nogil:
            while t < p.stop:
                stop = min(p.stop, t + p.batch)
                batch.stop = <int32_t> ((stop - t + n_threads - 1) // n_threads)
                for thread in prange(
                    n_threads, num_threads=at_work, schedule="static", chunksize=1
                ):
                    self.gradients(rows, targets, p, t + thread, stop, n_threads, spaces[thread])
                for thread in prange(
                    n_threads, num_threads=at_work, schedule="static", chunksize=1
                ):
                    self.apply(&batch, thread, n_threads)
                t = stop
        return 0

    cdef int divide_layers(
        self, Rows rows, Targets targets, const Pass *p, Space **spaces, int n_stages
    ) except -1:
        cdef Relay relay = relay_of(self, rows, targets, p, spaces, n_stages)
        cdef int stage
        with nogil:
            for stage in prange(n_stages, num_threads=n_stages, schedule="static", chunksize=1):
                if LSH_TEAM >= n_stages:
                    relay.run(stage)
                elif stage == 0:
                    # Fewer threads were granted: stages would wait for others that never start.
                    self.train_alone(rows, targets, p, p.start, p.batch, spaces[0])
        return 0

    cdef int divide_batches(
        self, Rows rows, Targets targets, const Pass *p, Space **spaces, int n_threads,
        int at_work,
    ) except -1:
        cdef int thread
        with nogil:
            for thread in prange(
                n_threads, num_threads=at_work, schedule="static", chunksize=1
            ):
                self.train_alone(
                    rows, targets, p, p.start + thread * p.batch, n_threads * p.batch,
                    spaces[thread],
                )
        return 0

    cdef void train_alone(
        self, Rows rows, Targets targets, const Pass *p, Py_ssize_t start, Py_ssize_t step,
        Space *space,
    ) noexcept nogil:
        """A batch from start on, and from every step on, without regard to other threads."""
        cdef Batch batch
        cdef Py_ssize_t t = start, stop
        batch.spaces, batch.n_spaces, batch.start = &space, 1, 0
        while t < p.stop:
            stop = min(p.stop, t + p.batch)
            batch.stop = <int32_t> (stop - t)
            self.gradients(rows, targets, p, t, stop, 1, space)
            self.apply(&batch, 0, 1)
            t += step

    def train_delayed(
        self, Rows rows, Targets targets, order, Py_ssize_t start, Py_ssize_t stop,
        uint64_t seed, list workspaces, Py_ssize_t batch,
    ):
        """As ``train``, but as if many workers trained lock-free: simulated in this thread.

        Workers take turns. Each takes a batch of examples, computes their gradients from the
        weights as they are, and applies them at its next turn, when every other worker has
        changed the weights in between: the bounded delay of Recht et al. 2011, section 4.

        Parameters
        ----------
        rows, targets, order, start, stop, seed
            As for ``train``.
        workspaces : list of Workspace
            One for each worker, with room for a batch.
        batch : int
        """
        cdef Pass p
        cdef Batch held
        cdef Py_ssize_t t = start, end
        cdef int worker, n = len(workspaces)
        self.check_width(rows, workspaces, targets.most_labels)
        self.check_slots(workspaces, min(batch, stop - start))
        p.row = <const int64_t *> borrow(order, "i8")
        p.start, p.stop, p.batch, p.seed = start, stop, batch, seed
        cdef Space **spaces = gather(workspaces)
        held.n_spaces, held.start, held.stop = 1, 0, <int32_t> self.room(workspaces)
        with nogil:
            while t < stop:
                for worker in range(n):
                    held.spaces = spaces + worker
                    self.apply(&held, 0, 1)
                    end = min(stop, t + batch)
                    self.gradients(rows, targets, &p, t, end, 1, spaces[worker])
                    t = end
            for worker in range(n):
                held.spaces = spaces + worker
                self.apply(&held, 0, 1)
                # No further examples: nothing waits for the next call.
                self.gradients(rows, targets, &p, stop, stop, 1, spaces[worker])
        free(spaces)

    cdef void gradients(
        self, Rows rows, Targets targets, const Pass *p, Py_ssize_t start, Py_ssize_t stop,
        int step, Space *space,
    ) noexcept nogil:
        """The deltas of every layer for every step-th example of [start, stop)."""
        cdef Py_ssize_t t = start
        cdef int32_t b, n = 0
        while t < stop:
            self.take(rows, targets, p, t, &space.examples[n], space)
            n += 1
            t += step
        for b in range(n, space.n_slots):
            space.examples[b].waits = False
            space.examples[b].loss = space.examples[b].weight = 0
        self.ascend(0, self.n_hidden + 1, space.examples, n, space)
        self.finish(targets, space.examples, n, space)
        self.descend(0, self.n_hidden + 1, space.examples, n, space)

    cdef void apply(self, const Batch *batch, int owner, int n_owners) noexcept nogil:
        """The updates of a batch to the rows of one of the spaces' owners."""
        cdef int l
        for l in range(self.n_hidden, -1, -1):
            self.update(l, batch, owner, n_owners, True, batch.spaces[owner])
            if owner == 0:
                self.follow(l, batch)
        if owner == 0:
            self.tally(batch, batch.spaces[0])

    def spent(self, list workspaces):
        """Multiplications and training examples since the last call of ``totals``."""
        cdef Workspace ws
        cdef int64_t multiplications = 0, n_examples = 0
        for ws in workspaces:
            multiplications += ws.space.scratch.multiplications
            n_examples += ws.space.n_examples
        return multiplications, n_examples

    def totals(self, list workspaces):
        """What the passes since the last call counted, over all threads; starts anew.

        ``seconds`` are of threads, not of the clock: a row for each layer, a column for each of
        STAGES.
        """
        cdef Workspace ws
        cdef int l
        cdef int32_t b
        total = {
            "loss": 0.0, "weight": 0.0, "n_examples": 0, "n_refused": 0, "multiplications": 0,
            "n_active": np.zeros(self.n_hidden, np.int64),
            "seconds": np.zeros((len(self.layers), N_STAGES)),
        }
        for ws in workspaces:
            total["n_examples"] += ws.space.n_examples
            total["n_refused"] += ws.space.n_refused
            total["multiplications"] += ws.space.scratch.multiplications
            for l in range(self.n_hidden):
                total["n_active"][l] += ws.space.n_active[l]
                ws.space.n_active[l] = 0
            for l in range(len(self.layers) * N_STAGES):
                total["seconds"].flat[l] += ws.space.seconds[l]
                ws.space.seconds[l] = 0
            total["loss"] += ws.space.loss
            total["weight"] += ws.space.weight
            for b in range(ws.space.n_slots):
                total["n_refused"] += ws.space.examples[b].refused
                ws.space.examples[b].refused = False
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
        """Move the given nodes (int32 ids) of layer l to their buckets, where there is room.

        Returns their codes, int32 (n, n_tables).
        """
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
        return new_codes

    # ---- prediction ------------------------------------------------------------------

    def predict(
        self, Rows rows, Py_ssize_t start, Py_ssize_t stop, Answers answers, list workspaces
    ):
        """Answer for rows [start, stop).

        Returns how many rows had a logit that is not finite; theirs are not written.
        """
        cdef Py_ssize_t t, i
        cdef int n_threads = len(workspaces)
        cdef int64_t overflown = 0
        self.check_width(rows, workspaces)
        if not 0 <= start <= stop <= rows.n_rows:
            raise ValueError(f"rows {start} to {stop} of {rows.n_rows}")
        answers.check(start, stop, (<Layer> self.layers[self.n_hidden]).store.n_out)
        cdef Space **spaces = gather(workspaces)
        cdef Py_ssize_t together = self.room(workspaces)
        cdef Py_ssize_t n = (stop - start + together - 1) // together
        for t in prange(n, num_threads=n_threads, schedule="dynamic", chunksize=1, nogil=True):
            i = start + t * together
            overflown += self.predict_some(
                rows, i, min(stop, i + together), answers, spaces[threadid()]
            )
        free(spaces)
        return overflown

    cdef int32_t predict_some(
        self, Rows rows, Py_ssize_t start, Py_ssize_t stop, Answers answers, Space *space
    ) noexcept nogil:
        """As many rows as a workspace has room for, or fewer."""
        cdef int32_t b, overflown = 0, n = <int32_t> (stop - start)
        cdef int l
        for b in range(n):
            self.load(rows, start + b, &space.examples[b], &space.scratch)
        for l in range(self.n_hidden + 1):
            self.forward(l, self.mode_of(l, space), space.examples, n, space)
        for b in range(n):
            overflown += not answers.write(
                start + b, &space.examples[b].layers[self.n_hidden], self.loss, &space.scratch
            )
        return overflown

    def hidden(self, Rows rows, nodes, int l, str what, list workspaces):
        """What hidden layer l selects ("selected") or outputs ("outputs") for some rows.

        Parameters
        ----------
        rows : Rows
        nodes : ndarray of int64
            Row numbers.
        l : int
        what : {"selected", "outputs"}
        workspaces : list of Workspace
            One a thread. They count the multiplications.

        Returns
        -------
        indptr : ndarray of shape (len(nodes) + 1,), int64
        indices : ndarray of int32
        values : ndarray of float32
            Pre-activations of the selected nodes, or the non-zero outputs.
        """
        self.check_width(rows, workspaces)
        cdef LayerBuffers *buf
        cdef const int64_t *row = <const int64_t *> borrow(nodes, "i8")
        cdef Py_ssize_t t, i, start, n = len(nodes)
        cdef bint outputs = what == "outputs"
        cdef int n_threads = len(workspaces)
        cdef int32_t found
        cdef Space **spaces = gather(workspaces)
        cdef Py_ssize_t together = self.room(workspaces)
        indptr = np.zeros(n + 1, np.int64)
        indices, values = [], []
        for start in range(0, n, n_threads * together):
            for t in prange(n_threads, num_threads=n_threads, schedule="static", nogil=True):
                i = start + t * together
                self.pass_through(
                    rows, row + i, <int32_t> max(0, min(together, n - i)), l, spaces[t]
                )
            for i in range(start, min(n, start + n_threads * together)):
                t = i - start
                buf = &spaces[t // together].examples[t % together].layers[l]
                found = buf.out.n if outputs else buf.active.n
                indptr[i + 1] = indptr[i] + found
                if found:
                    ids = <int32_t[:found]> (buf.out_idx if outputs else buf.active.idx)
                    val = <real[:found]> (buf.out.val if outputs else buf.active.z)
                    indices.append(np.array(ids))
                    values.append(np.array(val))
        free(spaces)
        empty = [np.zeros(0)]
        return (
            indptr,
            np.concatenate(indices or empty).astype(np.int32, copy=False),
            np.concatenate(values or empty).astype(np.float32, copy=False),
        )

    cdef void pass_through(
        self, Rows rows, const int64_t *row, int32_t n, int last, Space *space
    ) noexcept nogil:
        """Some rows through the layers up to the last, as for a prediction."""
        cdef int l
        cdef int32_t b
        for b in range(n):
            self.load(rows, row[b], &space.examples[b], &space.scratch)
        for l in range(last + 1):
            self.forward(l, self.mode_of(l, space), space.examples, n, space)

    cdef Mode mode_of(self, int l, Space *space) noexcept nogil:
        """How layer l selects for predictions in a workspace.

        Exact probabilities are those of all outputs.
        """
        if l == self.n_hidden and space.inference == Mode.EXACT:
            return Mode.ALL
        return space.inference

    def recall(self, Rows rows, nodes, list workspaces, exact=None):
        """Per layer that selects: how many of the exact top nodes were selected, and of how many.

        Each layer is judged on the input it is really given.

        Parameters
        ----------
        rows : Rows
        nodes : ndarray of int64
            Row numbers.
        workspaces : list of Workspace
            One a thread. They count the multiplications.
        exact : tuple or None
            What an earlier call about the same rows returned, to spare exact activations; with
            NaN as the bar where they are to be computed all the same.

        Returns
        -------
        found, wanted : ndarray of shape (n_hashed,), int64
            Summed over the rows.
        exact : tuple of ndarray of shape (n, n_hashed), float32 and int32
            The least activation of an exact top node, and how many of these there are.
        """
        cdef const int64_t *row = <const int64_t *> borrow(nodes, "i8")
        cdef Py_ssize_t i, t, n = len(nodes), together, n_groups
        cdef int n_threads = len(workspaces), hashed = self.n_hashed
        self.check_width(rows, workspaces)
        cdef Space **spaces = gather(workspaces)
        widest = max(layer.store.n_out for layer in self.layers[:hashed] or self.layers)
        together = min(self.room(workspaces), max(1, EXACT_TOGETHER // widest))
        n_groups = (n + together - 1) // together
        bars, tops = exact or (
            np.full((n, hashed), np.nan, np.float32), np.zeros((n, hashed), np.int32)
        )
        if not bars.shape == tops.shape == (n, hashed):
            raise ValueError(f"exact top nodes of {bars.shape} for {(n, hashed)} rows and layers")
        hits = np.zeros((n, hashed), np.int32)
        activations = np.empty((n_threads, together, widest), np.float32)
        cdef real *bar = reals(bars)
        cdef int32_t *found = ints(hits)
        cdef int32_t *wanted = ints(tops)
        cdef real *z = reals(activations)
        cdef Py_ssize_t size = together * widest
        for t in prange(n_groups, num_threads=n_threads, schedule="static", nogil=True):
            i = t * together
            self.pass_through(
                rows, row + i, <int32_t> min(together, n - i), hashed - 1, spaces[threadid()]
            )
            self.count_hits(
                <int32_t> min(together, n - i), found + i * hashed, wanted + i * hashed,
                bar + i * hashed, z + threadid() * size, spaces[threadid()],
            )
        free(spaces)
        return hits.sum(axis=0, dtype=np.int64), tops.sum(axis=0, dtype=np.int64), (bars, tops)

    cdef void count_hits(
        self, int32_t n, int32_t *found, int32_t *wanted, real *bar, real *z, Space *space
    ) noexcept nogil:
        """Of n examples in hand, row by row and for each layer, the exact top nodes, where their
        bar is NaN, and how many of them were found."""
        cdef int l
        cdef int32_t b, n_out, at
        cdef void *layer
        for l in range(self.n_hashed):
            layer = self.layer_pointers[l]
            n_out = (<Layer> layer).store.n_out
            if isnan(bar[l]):
                self.exact(l, space.examples, n, z, &space.scratch)
                for b in range(n):
                    at = b * self.n_hashed + l
                    wanted[at] = (<Layer> layer).exact_top(
                        z + <Py_ssize_t> b * n_out, &space.scratch, bar + at
                    )
            for b in range(n):
                at = b * self.n_hashed + l
                found[at] = (<Layer> layer).hits(
                    &space.examples[b].layers[l], bar[at], wanted[at]
                )

    cdef void exact(
        self, int l, Example *examples, int32_t n, real *z, Scratch *s
    ) noexcept nogil:
        """The activations of all nodes of layer l for n examples to z, a row each."""
        cdef void *layer = self.layer_pointers[l]
        cdef SparseVec *x
        cdef int32_t b, t, row = 0, stop, n_rows = (<Layer> layer).store.n_out
        cdef int32_t together = (<Layer> layer).rows_together(1)
        for t in range(n_rows):
            s.ids[t] = t
        while row < n_rows:
            stop = min(n_rows, row + together)
            for b in range(n):
                x = self.input_of(l, &examples[b])
                (<Layer> layer).store.activations(
                    x, s.ids + row, stop - row, z + <Py_ssize_t> b * n_rows + row
                )
                s.multiplications += <int64_t> (stop - row) * x.n
            row = stop


cdef Space** gather(list workspaces) except NULL:
    """Pointers to the threads' spaces, to be freed by the caller."""
    cdef Workspace ws
    cdef Space **spaces = <Space **> calloc(max(1, len(workspaces)), sizeof(Space *))
    if spaces == NULL:
        raise MemoryError()
    for thread, ws in enumerate(workspaces):
        spaces[thread] = &ws.space
    return spaces
