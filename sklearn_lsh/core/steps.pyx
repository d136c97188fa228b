"""What becomes of examples in hand: taken, computed forward, judged, backward, applied.

Steps know nothing of threads. Which thread takes which examples, layers or rows is for those to
say who call them: passes (engine.pyx), and stages of a relay (relay.pyx).
"""

from libc.stdlib cimport calloc, free

from .clock cimport seconds_now
from .layer cimport Layer, Mode, position
from .losses cimport Loss
from .lsh cimport LSHSelector
from .outputs cimport Targets, all_finite, drop_small, speak_for_others
from .rows cimport Rows
from .types cimport CHECK, LayerBuffers, Scratch, SparseVec, int32_t, int64_t, mix, real
from .workspace cimport BACKWARD, FORWARD, N_STAGES, SELECT, UPDATE, Example, Space


cdef class Steps:
    """The layers of a network, and its loss.

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
        self.n_hashed = self.n_hidden
        self.n_together = self.n_hidden + 1
        if isinstance(self.layers[self.n_hidden].selector, LSHSelector):
            self.n_hashed += 1
            self.n_together -= 1
        self.loss = loss
        # Borrowed references that can be followed without the GIL; self.layers owns them.
        self.layer_pointers = <void **> calloc(len(self.layers), sizeof(void *))
        if self.layer_pointers == NULL:
            raise MemoryError()
        for i, layer in enumerate(self.layers):
            self.layer_pointers[i] = <void *> layer

    def __dealloc__(self):
        free(self.layer_pointers)

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
        self, int l, Mode mode, Example *examples, int32_t n, Space *space
    ) noexcept nogil:
        """Some examples through layer l."""
        self.propose(l, mode, examples, n, space)
        self.compute(l, mode, examples, n, space)

    cdef void propose(
        self, int l, Mode mode, Example *examples, int32_t n, Space *space
    ) noexcept nogil:
        """The nodes of layer l whose activations some examples need; reads no weights."""
        cdef Scratch *s = &space.scratch
        cdef double started = seconds_now()
        cdef int32_t b
        cdef Example *e
        s.training = mode == Mode.TRAINING
        for b in range(n):
            e = &examples[b]
            s.rng = e.rng
            (<Layer> self.layer_pointers[l]).propose(
                mode, self.input_of(l, e), &e.layers[l], s
            )
            e.rng = s.rng
        space.seconds[l * N_STAGES + SELECT] += seconds_now() - started

    cdef void compute(
        self, int l, Mode mode, Example *examples, int32_t n, Space *space
    ) noexcept nogil:
        """Their activations, and what layer l outputs: rows in the cache serve all examples."""
        cdef void *layer = self.layer_pointers[l]
        cdef Scratch *s = &space.scratch
        cdef double started = seconds_now(), computed
        cdef int32_t b, row = 0, stop, n_rows = (<Layer> layer).store.n_out
        cdef int32_t together = n_rows if n == 1 else (<Layer> layer).rows_together(1)
        cdef Example *e
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
            (<Layer> layer).settle(mode, &e.layers[l], s)
            e.rng = s.rng
        space.seconds[l * N_STAGES + FORWARD] += computed - started
        space.seconds[l * N_STAGES + SELECT] += seconds_now() - computed

    # ---- training --------------------------------------------------------------------

    cdef void take(
        self, Rows rows, Targets targets, const Pass *p, Py_ssize_t t, Example *e, Space *space
    ) noexcept nogil:
        """The example at place t of the pass."""
        space.n_refused += e.refused
        e.refused = e.waits = False
        e.loss = e.weight = 0
        # Chance belongs to the example, whatever thread or call it falls to.
        e.rng = mix(p.seed ^ mix(t))
        e.number = p.row[t]
        self.load(rows, e.number, e, &space.scratch)
        targets.require(e.number, &e.layers[self.n_hidden].active)

    cdef void ascend(
        self, int low, int high, Example *examples, int32_t n, Space *space
    ) noexcept nogil:
        """Layers [low, high), forward, as far as they take examples together."""
        cdef int l
        for l in range(low, min(high, self.n_together)):
            self.forward(l, Mode.TRAINING, examples, n, space)

    cdef void finish(
        self, Targets targets, Example *examples, int32_t n, Space *space
    ) noexcept nogil:
        """Judge the outputs. A hashed output layer does all but its update here."""
        cdef int l, top = self.n_hidden
        cdef int32_t b
        cdef Example *e
        cdef double before = seconds_now()
        space.n_examples += n
        for b in range(n):
            e = &examples[b]
            for l in range(top):
                space.n_active[l] += e.layers[l].active.n
            if self.n_together == top:
                # Examples hardly meet in the rows of many classes; they are in the cache for the
                # one that has just found them.
                self.forward(top, Mode.TRAINING, e, 1, space)
                before = seconds_now()
            e.waits = self.judge(targets, e, &space.scratch)
            if self.n_together == top:
                self.backward(top, e, &space.scratch)
                space.seconds[top * N_STAGES + BACKWARD] += seconds_now() - before
        if self.n_together > top:
            space.seconds[top * N_STAGES + BACKWARD] += seconds_now() - before

    cdef void descend(
        self, int low, int high, Example *examples, int32_t n, Space *space
    ) noexcept nogil:
        """Layers [low, high), backward, as far as they take examples together."""
        cdef double before = seconds_now(), now
        cdef int l
        cdef int32_t b
        for l in range(min(high, self.n_together) - 1, low - 1, -1):
            for b in range(n):
                self.backward(l, &examples[b], &space.scratch)
            now = seconds_now()
            space.seconds[l * N_STAGES + BACKWARD] += now - before
            before = now

    cdef void backward(self, int l, Example *e, Scratch *s) noexcept nogil:
        """Prepare the update of layer l, and compute the deltas of the one below."""
        cdef LayerBuffers *below
        if not e.waits:
            return
        (<Layer> self.layer_pointers[l]).describe(self.input_of(l, e), &e.layers[l], s)
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
        e.loss = weight * self.loss.gradient(
            out.out.val, out.out.n, labels, n_labels, out.delta
        )
        e.weight = weight
        for t in range(out.out.n):
            out.delta[t] *= weight
        if self.many_outputs:
            drop_small(out, &e.rng)
        return weight != 0

    cdef void update(
        self, int l, const Batch *batch, int owner, int n_owners, bint tell, Space *space
    ) noexcept nogil:
        """Apply the gradients of a batch to those rows of layer l that one of the owners has.

        Owners take turns tile by tile, to and fro, since the first are the busiest; a row gets
        its updates in the order of the examples. The layer's selector is told, or still has to
        be (``tell_selector``).
        """
        cdef void *layer = self.layer_pointers[l]
        cdef Example *e
        cdef int turn = owner, dealt
        cdef int32_t b, stop, n_rows = (<Layer> layer).n_units()
        cdef int32_t together = (<Layer> layer).units_together(n_owners), row = owner * together
        cdef double before = seconds_now()
        while row < n_rows:
            stop = min(n_rows, row + together)
            for b in range(batch.start, batch.stop):
                for dealt in range(batch.n_spaces):
                    e = &batch.spaces[dealt].examples[b]
                    if e.waits and (<Layer> layer).update(
                        row, stop, tell, &e.layers[l], &space.scratch
                    ):
                        e.refused = True  # whichever owner finds out
            turn = n_owners - 1 - turn
            row += (2 * turn + 1) * together
        space.seconds[l * N_STAGES + UPDATE] += seconds_now() - before

    cdef void tell_selector(self, int l, const Batch *batch, Space *space) noexcept nogil:
        """How the rows of layer l moved, example by example."""
        cdef Example *e
        cdef int dealt
        cdef int32_t b
        cdef double before = seconds_now()
        for b in range(batch.start, batch.stop):
            for dealt in range(batch.n_spaces):
                e = &batch.spaces[dealt].examples[b]
                if e.waits:
                    (<Layer> self.layer_pointers[l]).tell_selector(&e.layers[l], &space.scratch)
        space.seconds[l * N_STAGES + UPDATE] += seconds_now() - before

    cdef void follow(self, int l, const Batch *batch) noexcept nogil:
        """Let the threshold of layer l, if it has one, follow a batch in the order of examples."""
        cdef LayerBuffers *buf
        cdef int32_t b, t, n_examples = 0
        cdef int dealt
        cdef int64_t n_active = 0
        cdef double outputs = 0, thresholds = 0
        if (<Layer> self.layer_pointers[l]).selector.threshold is None:
            return
        for b in range(batch.start, batch.stop):
            for dealt in range(batch.n_spaces):
                if batch.spaces[dealt].examples[b].waits:
                    buf = &batch.spaces[dealt].examples[b].layers[l]
                    n_examples += 1
                    n_active += buf.active.n
                    thresholds += buf.active.threshold
                    for t in range(buf.out.n):
                        outputs += buf.out.val[t]
        (<Layer> self.layer_pointers[l]).selector.threshold.learn(
            n_examples, n_active, outputs, thresholds
        )

    cdef void tally(self, const Batch *batch, Space *space) noexcept nogil:
        """Add up the losses of a batch in the order of examples."""
        cdef Example *e
        cdef int32_t b
        cdef int dealt
        for b in range(batch.start, batch.stop):
            for dealt in range(batch.n_spaces):
                e = &batch.spaces[dealt].examples[b]
                space.loss += e.loss
                space.weight += e.weight
