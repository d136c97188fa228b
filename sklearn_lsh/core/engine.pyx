"""The passes over examples: every prange is here, and the GIL is held by no other line.

Training takes examples by the batch: their gradients are computed at the same weights, layer by
layer, so that a layer's rows stay in the cache, and their updates are applied one after the
other. Threads share a batch: first each computes the gradients of some examples, then each
updates the rows it owns. No two write to the same memory, and the result is the same for
any number of threads. Lock-free (Recht et al. 2011, "Hogwild!"), each thread takes batches of
its own and updates every row, whatever the others do.
"""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.math cimport isnan
from libc.stdlib cimport calloc, free

from .answers cimport Answers
from .clock cimport seconds_now
from .layer cimport Layer, position
from .losses cimport Loss
from .lsh cimport LSHSelector
from .outputs cimport Targets, all_finite, drop_small, speak_for_others
from .rows cimport Rows
from .types cimport (
    CHECK, LayerBuffers, Scratch, SparseVec, borrow, int32_t, int64_t, ints, mix, real, reals,
    uint64_t,
)
from .workspace cimport BACKWARD, FORWARD, N_STAGES, SELECT, UPDATE, Example, Space, Workspace

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define LSH_OPENMP 1
    #define LSH_MAX_THREADS omp_get_max_threads()
    #else
    #define LSH_OPENMP 0
    #define LSH_MAX_THREADS 1
    #endif
    """
    bint LSH_OPENMP
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


cdef class Engine:
    """Runs training, prediction and re-encoding over a list of layers.

    Parameters
    ----------
    layers : list of Layer
        Input side first; the last is the output layer. Its selector is an LSHSelector, or all
        of its nodes are active.
    loss : Loss
    many_outputs : bool
        Whether there are so many outputs that small gradients are left out, at random.
    """

    def __cinit__(self, layers, Loss loss, bint many_outputs):
        self.many_outputs = many_outputs
        self.layers = list(layers)
        self.n_hidden = len(self.layers) - 1
        self.n_hashed = self.n_hidden + isinstance(
            self.layers[self.n_hidden].selector, LSHSelector
        )
        self.loss = loss
        # Borrowed references that can be followed without the GIL; self.layers owns them.
        self.layer_pointers = <void **> calloc(len(self.layers), sizeof(void *))
        if self.layer_pointers == NULL:
            raise MemoryError()
        for i, layer in enumerate(self.layers):
            self.layer_pointers[i] = <void *> layer

    def __dealloc__(self):
        free(self.layer_pointers)

    def workspaces(self, n_threads, n_slots=1, n_labels=0):
        """Workspaces for passes on n_threads threads, each with room for n_slots examples.

        Training needs to know how many labels an example has at most.
        """
        return [Workspace(self.layers, n_slots, n_labels) for _ in range(n_threads)]

    def check_width(self, Rows rows, workspaces, n_labels=0):
        """The last guard of the workspaces' memory: they are as wide as input and output."""
        cdef Workspace ws
        cdef Layer first = self.layers[0], last = self.layers[self.n_hidden]
        cdef LSHSelector lsh
        if rows.n_features != first.store.n_in:
            raise ValueError(
                f"rows of {rows.n_features} features in a network for {first.store.n_in}"
            )
        wanted = last.store.n_out
        if self.n_hashed > self.n_hidden and last.inference == "auto":
            lsh = <LSHSelector> last.selector
            wanted = min(wanted, lsh.most_listed + lsh.n_explored + n_labels)
        for ws in workspaces:
            if ws.n_listed < wanted:
                raise ValueError(f"{wanted} outputs in a workspace for {ws.n_listed}")

    def check_slots(self, workspaces, n_examples):
        """The last guard of their number: each workspace has room for so many examples."""
        cdef Workspace ws
        for ws in workspaces:
            if n_examples > ws.space.n_slots:
                raise ValueError(f"{n_examples} examples in a workspace for {ws.space.n_slots}")

    cdef void load(self, Rows rows, Py_ssize_t i, Example *e, Scratch *s) noexcept nogil:
        """Row i as the input of the first layer."""
        e.layers[self.n_hidden].active.n_required = 0
        rows.load(i, &e.row)
        (<Layer> self.layer_pointers[0]).enter(&e.row.vec, s)

    cdef SparseVec* input_of(self, int l, Example *e) noexcept nogil:
        """What layer l gets."""
        if l == 0:
            return &e.row.vec
        return &e.layers[l - 1].out

    cdef void forward(
        self, int l, bint inference, Example *examples, int32_t n, Space *space
    ) noexcept nogil:
        """Some examples through layer l: rows that stay in the cache serve all of them."""
        cdef void *layer = self.layer_pointers[l]
        cdef Scratch *s = &space.scratch
        cdef double *seconds = space.seconds + l * N_STAGES
        cdef double started = seconds_now(), proposed, computed
        cdef int32_t b, row = 0, stop, n_rows = (<Layer> layer).store.n_out
        cdef int32_t together = n_rows if n == 1 else (<Layer> layer).rows_together(1)
        cdef Example *e
        s.training = not inference
        for b in range(n):
            e = &examples[b]
            s.rng = e.rng
            (<Layer> layer).propose(inference, self.input_of(l, e), &e.layers[l], s)
            e.rng = s.rng
        proposed = seconds_now()
        while row < n_rows:
            stop = min(n_rows, row + together)
            for b in range(n):
                e = &examples[b]
                (<Layer> layer).activate(row, stop, self.input_of(l, e), &e.layers[l], s)
            row = stop
        computed = seconds_now()
        for b in range(n):
            e = &examples[b]
            s.rng = e.rng
            (<Layer> layer).settle(inference, &e.layers[l], s)
            e.rng = s.rng
        seconds[SELECT] += proposed - started + seconds_now() - computed
        seconds[FORWARD] += computed - proposed

    # ---- training --------------------------------------------------------------------

    def train(
        self, Rows rows, Targets targets, order, Py_ssize_t start, Py_ssize_t stop,
        uint64_t seed, list workspaces, Py_ssize_t batch, bint lock_free, int n_at_work=0,
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
            Examples in a batch. Workspaces have room for one together; lock-free, each has.
        lock_free : bool
        n_at_work : int
            Threads that do the work of all workspaces; 0 for one each. Where threads wait, the
            result is the same.
        """
        cdef Pass p
        cdef Py_ssize_t t, end
        cdef int thread, n_threads = len(workspaces), at_work = n_at_work or n_threads
        cdef Py_ssize_t most = min(batch, stop - start)
        self.check_width(rows, workspaces, targets.most_labels)
        self.check_slots(workspaces, most if lock_free else (most + n_threads - 1) // n_threads)
        p.row, p.seed, p.batch = <const int64_t *> borrow(order, "i8"), seed, batch
        cdef Space **spaces = gather(workspaces)
        with nogil:
            if lock_free:
                for thread in prange(
                    n_threads, num_threads=at_work, schedule="static", chunksize=1
                ):
                    self.train_alone(
                        rows, targets, &p, start + thread * batch, stop, n_threads * batch,
                        spaces[thread],
                    )
            else:
                t = start
                while t < stop:
                    end = min(stop, t + batch)
                    for thread in prange(
                        n_threads, num_threads=at_work, schedule="static", chunksize=1
                    ):
                        self.gradients(
                            rows, targets, &p, t + thread, end, n_threads, spaces[thread]
                        )
                    for thread in prange(
                        n_threads, num_threads=at_work, schedule="static", chunksize=1
                    ):
                        self.update(spaces, thread, n_threads)
                    t = end
        free(spaces)

    cdef void train_alone(
        self, Rows rows, Targets targets, const Pass *p, Py_ssize_t start, Py_ssize_t stop,
        Py_ssize_t step, Space *space,
    ) noexcept nogil:
        """A batch from start on, and from every step on, without regard to other threads."""
        cdef Py_ssize_t t = start
        while t < stop:
            self.gradients(rows, targets, p, t, min(stop, t + p.batch), 1, space)
            self.update(&space, 0, 1)
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
        cdef Py_ssize_t t = start, end
        cdef int worker, n = len(workspaces)
        self.check_width(rows, workspaces, targets.most_labels)
        self.check_slots(workspaces, min(batch, stop - start))
        p.row, p.seed, p.batch = <const int64_t *> borrow(order, "i8"), seed, batch
        cdef Space **spaces = gather(workspaces)
        with nogil:
            while t < stop:
                for worker in range(n):
                    self.update(spaces + worker, 0, 1)
                    end = min(stop, t + batch)
                    self.gradients(rows, targets, &p, t, end, 1, spaces[worker])
                    t = end
            for worker in range(n):
                self.update(spaces + worker, 0, 1)
                # No further examples: nothing waits for the next call.
                self.gradients(rows, targets, &p, stop, stop, 1, spaces[worker])
        free(spaces)

    cdef void gradients(
        self, Rows rows, Targets targets, const Pass *p, Py_ssize_t start, Py_ssize_t stop,
        int step, Space *space,
    ) noexcept nogil:
        """The deltas of every layer for every step-th example of [start, stop)."""
        cdef Scratch *s = &space.scratch
        cdef Example *e
        cdef Py_ssize_t t
        cdef int32_t b, n = 0
        cdef int l, top = self.n_hidden
        cdef int together = 2 * top + 1 - self.n_hashed     # layers that take the batch at once
        cdef double before, now
        for b in range(space.n_slots):
            space.examples[b].waits = False
        t = start
        while t < stop:
            e = &space.examples[n]
            space.n_refused += e.refused
            e.refused = False
            # Chance belongs to the example, whatever thread or call it falls to.
            e.rng = mix(p.seed ^ mix(t))
            e.number = p.row[t]
            self.load(rows, e.number, e, s)
            targets.require(e.number, &e.layers[top].active)
            n += 1
            t += step
        for l in range(together):
            self.forward(l, False, space.examples, n, space)
        before = seconds_now()
        for b in range(n):
            e = &space.examples[b]
            for l in range(top):
                space.n_active[l] += e.layers[l].active.n
            space.n_examples += 1
            if together > top:
                e.waits = self.judge(targets, e, s)
            else:
                # Hashed: examples hardly meet in the rows of many classes; they are in the cache
                # for the one that has just found them.
                self.forward(top, False, e, 1, space)
                before = seconds_now()
                e.waits = self.judge(targets, e, s)
                self.backward(top, e, s)
                space.seconds[top * N_STAGES + BACKWARD] += seconds_now() - before
        before = seconds_now()
        for l in range(together - 1, -1, -1):
            for b in range(n):
                self.backward(l, &space.examples[b], s)
            now = seconds_now()
            space.seconds[l * N_STAGES + BACKWARD] += now - before
            before = now

    cdef void backward(self, int l, Example *e, Scratch *s) noexcept nogil:
        """Prepare the update of layer l, and compute the deltas of the one below."""
        cdef LayerBuffers *below
        if not e.waits:
            return
        (<Layer> self.layer_pointers[l]).describe(self.input_of(l, e), &e.layers[l])
        if l > 0:
            below = &e.layers[l - 1]
            (<Layer> self.layer_pointers[l]).pull_back(&e.layers[l], &below.out, below, s)
            (<Layer> self.layer_pointers[l - 1]).through_activation(below)

    cdef bint judge(self, Targets targets, Example *e, Scratch *s) noexcept nogil:
        """The loss and its gradient at the output. Returns whether to go on with it."""
        cdef LayerBuffers *out = &e.layers[self.n_hidden]
        cdef const int32_t *labels = out.active.required
        cdef int32_t t, n_labels = out.active.n_required
        cdef real weight = 1
        if targets.sample_weight != NULL:
            weight = targets.sample_weight[e.number]
        if not all_finite(out.out.val, out.out.n):
            e.refused = True
            return False
        if out.out.idx != NULL:
            for t in range(n_labels):
                s.chosen[t] = position(out.out_idx, out.out.n, labels[t])
                CHECK(out.out_idx[s.chosen[t]] == labels[t], "a label is active")
            labels = s.chosen
            speak_for_others(out, (<Layer> self.layer_pointers[self.n_hidden]).store.n_out)
        e.loss += weight * self.loss.gradient(
            out.out.val, out.out.n, labels, n_labels, out.delta
        )
        e.weight += weight
        for t in range(out.out.n):
            out.delta[t] *= weight
        if self.many_outputs:
            drop_small(out, &e.rng)
        return weight != 0

    cdef void update(self, Space **spaces, int owner, int n_owners) noexcept nogil:
        """Apply the gradients that wait in n_owners spaces to the rows of one of the owners.

        Owners take turns tile by tile, to and fro, since the first are the busiest; a row gets
        its updates in the order of the examples.
        """
        cdef void *layer
        cdef Example *e
        cdef int l, thread
        cdef int32_t b, row, stop, together, n_rows, turn
        cdef double before = seconds_now(), now
        for l in range(self.n_hidden, -1, -1):
            layer = self.layer_pointers[l]
            n_rows = (<Layer> layer).n_units()
            together = (<Layer> layer).units_together(n_owners)
            turn, row = owner, owner * together
            while row < n_rows:
                stop = min(n_rows, row + together)
                for b in range(spaces[0].n_slots):
                    for thread in range(n_owners):
                        e = &spaces[thread].examples[b]
                        if e.waits and (<Layer> layer).update(
                            row, stop, &e.layers[l], &spaces[owner].scratch
                        ):
                            e.refused = True  # whichever owner finds out
                turn = n_owners - 1 - turn
                row += (2 * turn + 1) * together
            if owner == 0 and (<Layer> layer).selector.threshold is not None:
                self.follow(l, spaces, n_owners)
            now = seconds_now()
            spaces[owner].seconds[l * N_STAGES + UPDATE] += now - before
            before = now

    cdef void follow(self, int l, Space **spaces, int n_spaces) noexcept nogil:
        """Let the threshold of layer l follow the examples that wait, in their order."""
        cdef LayerBuffers *buf
        cdef int32_t b, t, n_examples = 0
        cdef int thread
        cdef int64_t n_active = 0
        cdef double outputs = 0, thresholds = 0
        for b in range(spaces[0].n_slots):
            for thread in range(n_spaces):
                if spaces[thread].examples[b].waits:
                    buf = &spaces[thread].examples[b].layers[l]
                    n_examples += 1
                    n_active += buf.active.n
                    thresholds += buf.active.threshold
                    for t in range(buf.out.n):
                        outputs += buf.out.val[t]
        (<Layer> self.layer_pointers[l]).selector.threshold.learn(
            n_examples, n_active, outputs, thresholds
        )

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
        cdef Example *e
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
            ws.space.n_examples = ws.space.n_refused = ws.space.scratch.multiplications = 0
        # In the order of a batch: the sum's rounding does not depend on the number of threads.
        for b in range(max([ws.space.n_slots for ws in workspaces])):
            for ws in workspaces:
                e = &ws.space.examples[b]
                total["loss"] += e.loss
                total["weight"] += e.weight
                total["n_refused"] += e.refused
                e.loss = e.weight = 0
                e.refused = False
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
        cdef Py_ssize_t together = spaces[0].n_slots, n = (stop - start + together - 1) // together
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
            self.forward(l, True, space.examples, n, space)
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
        cdef Py_ssize_t together = spaces[0].n_slots
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
            self.forward(l, True, space.examples, n, space)

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
        together = min(spaces[0].n_slots, max(1, EXACT_TOGETHER // widest))
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
