"""Keeping hash functions and tables in step with the weights: what is done, and when."""

import numpy as np
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from ._network import RANKED_BY_MAGNITUDE
from .core.lsh import LSHSelector

# Inputs of a layer that its basis is estimated from.
SAMPLE_SIZE = 256
# Examples until a basis is renewed: at once, then after FIRST_RENEWAL, every gap twice the
# one before. A layer's inputs change fastest at first (the paper's code and SLIDE agree).
FIRST_RENEWAL = 512
# Examples between two re-encodings of the rows that moved: growing from the first gap to the
# longest.
FIRST_ENCODING = 64
ENCODING_GROWTH = 1.25
LONGEST_ENCODING = 2048
# Rows on which a wide layer's tables and scan are compared. Tables answer with fewer of the
# best nodes, so they are chosen only if they save this factor and find this share of them.
SEARCH_ROWS = 64
TABLES_MUST_SAVE = 4
TABLES_MUST_FIND = 0.9


class Rehasher:
    """Renews the bases of a network's hashed layers and re-encodes the rows that moved.

    Parameters
    ----------
    network : Network
    workspaces : list of Workspace
        One a thread.

    Attributes
    ----------
    multiplications : int
        Spent on renewing bases so far; the rest is counted in the workspaces.
    """

    def __init__(self, network, workspaces):
        self.network = network
        self.workspaces = workspaces
        self.multiplications = 0
        self.clock = network.state.setdefault(
            "rehash",
            {
                "renew_at": 0,
                "renew_gap": FIRST_RENEWAL,
                "encode_at": FIRST_ENCODING,
                "encode_gap": FIRST_ENCODING,
            },
        )
        self.hashed = [
            index
            for index, layer in enumerate(network.hidden_layers)
            if isinstance(layer.selector, LSHSelector) and not layer.selector.exhaustive
        ]

    @property
    def encodes(self):
        """Whether codes or sketches go stale between renewals of the basis."""
        # Linear updates keep sketches exact: without codes there is nothing to do.
        layers = [self.network.hidden_layers[index] for index in self.hashed]
        return any(
            layer.selector.index is not None or not layer.optimizer.linear for layer in layers
        )

    @property
    def due(self):
        """How many more examples may be trained before ``run`` has work."""
        if not self.hashed:
            return np.inf
        at = self.clock["renew_at"]
        if self.encodes:
            at = min(at, self.clock["encode_at"])
        return at - self.network.state["n_seen"]

    def run(self, rows, sample):
        """Do what is due, given the row numbers of recent (or coming) examples."""
        seen, clock = self.network.state["n_seen"], self.clock
        if seen >= clock["renew_at"]:
            for index in self.hashed:
                self.renew(index, rows, sample)
                if seen == 0 and self.network.must_choose_search(index):
                    self.choose_search(index, rows)
            clock["renew_at"] = seen + clock["renew_gap"]
            clock["renew_gap"] *= 2
        elif self.encodes and seen >= clock["encode_at"]:
            self.settle()
        if self.encodes and seen >= clock["encode_at"]:
            clock["encode_at"] = seen + int(clock["encode_gap"])
            clock["encode_gap"] = min(
                LONGEST_ENCODING, clock["encode_gap"] * ENCODING_GROWTH
            )

    def renew(self, index, rows, sample):
        """Adapt the hash functions of one layer to a sample of its inputs; rebuild."""
        engine, state = self.network.engine, self.network.state
        inputs = self._inputs(index, rows, np.asarray(sample, np.int64))
        rng = np.random.default_rng([state["seed"], 1, state["n_seen"], index])
        family = self.network.hidden_layers[index].selector.family
        hashing = state["layers"][index]["hashing"]
        # One BLAS thread: results must not depend on the machine's number of cores.
        with threadpool_limits(1, user_api="blas"):
            changes, spent = family.renew(inputs, rng)
        self.multiplications += spent
        if changes:
            hashing["dirty"][:] = 2
        for name, values in changes.items():
            hashing["family"][name][...] = values
        everyone = np.arange(len(hashing["dirty"]), dtype=np.int32)
        engine.refresh_sketches(index, everyone, self.workspaces)
        self._renew_norms(index, family)
        if "index" in hashing:
            engine.encode(index, everyone, self.workspaces)

    def choose_search(self, index, rows):
        """Scan or tables for a wide layer: whichever costs less, counted on some rows.

        Tables find fewer of the best nodes, so they have to be much cheaper.
        """
        counts = {}
        for search in ("tables", "scan"):
            self.network.set_search(index, search)
            self.rebuild()
            engine = self.network.engine
            workspaces = engine.workspaces(1)
            found, wanted = engine.recall(rows, 0, min(rows.n_rows, SEARCH_ROWS), workspaces)
            spent = engine.totals(workspaces)["multiplications"]
            counts[search] = (spent, found[index] / wanted[index])
            self.multiplications += spent
        cheaper = TABLES_MUST_SAVE * counts["tables"][0] < counts["scan"][0]
        if cheaper and counts["tables"][1] > TABLES_MUST_FIND * counts["scan"][1]:
            self.network.set_search(index, "tables")
            self.rebuild()

    def settle(self):
        """Re-encode every row that moved since its code was computed."""
        for index in self.hashed:
            hashing = self.network.state["layers"][index]["hashing"]
            moved = np.flatnonzero(hashing["dirty"]).astype(np.int32)
            if "index" in hashing:
                self.network.engine.encode(index, moved, self.workspaces)
            else:
                self.network.engine.refresh_sketches(index, moved, self.workspaces)

    def rebuild(self):
        """Recompute every sketch and code: after weights were replaced."""
        for index in self.hashed:
            self.network.state["layers"][index]["hashing"]["dirty"][:] = 2
        self.settle()

    def _inputs(self, index, rows, sample):
        if index == 0:
            indptr, indices, data = rows.sample(sample)
            width = rows.n_features
        else:
            engine = self.network.engine
            indptr, indices, data = engine.hidden(
                rows, sample, index - 1, "outputs", self.workspaces[0]
            )
            width = self.network.settings.hidden_layer_sizes[index - 1]
        return csr_array((data, indices, indptr), shape=(len(sample), width))

    def _renew_norms(self, index, family):
        arrays = self.network.state["layers"][index]
        weights, intercepts = arrays["weights"], arrays["intercepts"]
        self.network.fold_scales()
        norms2 = np.einsum("ij,ij->i", weights, weights) + intercepts**2
        centred = self.network.settings.activation not in RANKED_BY_MAGNITUDE
        family.renew_norms(arrays["hashing"]["sketches"], norms2, centred)
