"""Keeping hash functions and tables in step with the weights: how."""

import numpy as np
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from ._calibration import CELLS_WIDTH, Sample, choose_cells, choose_probes, choose_sketching
from .core.cells import Cells

# An output layer's predictions visit so many times the cells that the wanted recall takes: until
# the next renewal weights move, and a prediction costs little.
SPARE_VISITS = 2


def layer_inputs(network, index, rows, sample, workspaces):
    """The inputs (CSR) that a layer gets for the rows numbered in ``sample``."""
    if index == 0:
        indptr, indices, data = rows.sample(sample)
        width = rows.n_features
    else:
        indptr, indices, data = network.engine.hidden(
            rows, sample, index - 1, "outputs", workspaces
        )
        width = network.settings.hidden_layer_sizes[index - 1]
    return csr_array((data, indices, indptr), shape=(len(sample), width))


class Renewal:
    """Adapts the hash functions of a layer to its inputs, and computes all codes anew.

    Parameters
    ----------
    network : Network
    index : int
        Of the layer.
    inputs, held_out : CSR arrays of shape (n_rows, n_in)
        To estimate the basis from, and to measure recall on.
    aim : float
        The recall wanted of the cascade.
    known : bool
        Whether it is known what recall the present hash functions reached.
    workspaces : list of Workspace

    Attributes
    ----------
    multiplications : int
        Spent so far, but for the passes: those are counted in the workspaces.
    """

    def __init__(self, network, index, inputs, held_out, aim, known, workspaces):
        self.network = network
        self.index = index
        self.inputs = inputs
        self.held_out = held_out
        self.aim = aim
        self.known = known
        self.workspaces = workspaces
        self.multiplications = 0
        self.rng = np.random.default_rng(
            [network.state["seed"], 1, network.state["n_seen"], index]
        )

    @property
    def selector(self):
        """The layer's selector, which is built anew with its arrays."""
        return self.network.engine.layers[self.index].selector

    @property
    def arrays(self):
        """The layer's arrays."""
        return self.network.state["layers"][self.index]

    @property
    def hasty(self):
        """Whether the layer has many classes and learned nothing: any active set will do."""
        return (
            self.network.state["n_seen"] == 0 and self.index == self.network.engine.n_hidden
            and self.selector.n_nodes >= CELLS_WIDTH
        )

    def run(self):
        """Do it. An interrupt leaves the hash functions as they were, or as they shall be."""
        # One thread: results must not depend on the machine's number of cores.
        # Features near float32's limit may overflow here; such rows rank nothing.
        with threadpool_limits(1), np.errstate(over="ignore", invalid="ignore"):
            self.network.fold()
            if self.selector.aims and self.selector.family.adaptive:
                self._measure()
            if self.selector.family.adaptive:
                self._adapt()
            self._encode()
            if self.selector.aims and self.arrays["hashing"]["search"] == "tables":
                self._choose_probes()

    def _measure(self):
        selector = self.selector
        self.exact = Sample.of(
            self.held_out, self.arrays["weights"], self.arrays["intercepts"], selector,
        )
        self.multiplications += self.exact.spent

    def _adapt(self):
        """Estimate a basis; choose the length of sketches, the short list and the search."""
        network, selector, family = self.network, self.selector, self.selector.family
        weights, intercepts = self.arrays["weights"], self.arrays["intercepts"]
        if self.hasty:
            longest = min(family.lengths)
        elif self.known and not selector.exhaustive:
            longest = family.next_length
        else:  # nothing is known, or what is known does not do
            longest = max(family.lengths)
        basis, spent = family.basis(self.inputs, longest, self.rng)
        mean, directions = basis[0], basis[1].astype(np.float32)
        # The intercept's coordinate leads here: sketches of all lengths have it.
        # In float32: a mean of doubles would make a copy of all weights in double precision.
        nodes = weights @ np.column_stack([mean, directions]).astype(np.float32)
        nodes[:, 0] += intercepts
        queries = self.held_out @ directions - mean @ directions
        queries = np.column_stack([np.ones(len(queries)), queries]).astype(np.float32)
        self.multiplications += spent + nodes.size * weights.shape[1]

        hashing, dim, chosen = dict(self.arrays["hashing"]), family.dim, None
        if selector.aims:
            auto = network.settings.hash_search[self.index] == "auto"
            chosen, spent = choose_sketching(
                self.exact, queries, nodes, self.aim,
                (self.network.settings.most_active(self.index), selector.most_listed), auto,
            )
            dim, hashing["short_list"] = chosen.dim, chosen.short_list
            self.multiplications += spent
        hashing["family"] = family.spanned(
            basis, dim, family.n_bits, family.n_tables, self.rng
        )
        c = hashing["family"]["query_offset"][-1]
        hashing["sketches"] = np.column_stack([nodes[:, 1:dim], nodes[:, 0] / c])
        # Codes are computed next; should an interrupt come first, they are marked as stale.
        hashing["dirty"] = np.full(len(nodes), "index" in hashing, np.uint8)
        self.queries = np.column_stack([queries[:, 1:dim], queries[:, 0] * c])
        if selector.aims and hashing["search"] != "tables":
            self._choose_search(hashing, chosen)
        network.replace_hashing(self.index, hashing)

    def _choose_search(self, hashing, sketching):
        """Scan the sketches, or visit cells of them: whichever costs less."""
        sketches = hashing["sketches"]
        wanted = self.network.settings.hash_search[self.index]
        known = hashing["index"]["node_codes"][:, 0] if hashing["search"] == "cells" else None
        hashing["search"] = "scan"
        hashing.pop("cells", None)
        hashing.pop("index", None)
        hashing["dirty"][:] = 0
        # A layer that has learned nothing has no clusters.
        untrained = self.network.state["n_seen"] == 0
        promising = (
            len(sketches) >= CELLS_WIDTH
            and (self.hasty or not untrained)
            and hashing["short_list"] < len(sketches)
        )
        recall = 0 if self.hasty else self.aim
        # Their squares must fit float32.
        if not max(sketches.max(), -sketches.min()) < 1e15:
            return
        if wanted != "cells" and not (wanted == "auto" and promising):
            return
        cells, cell, cost, spent = choose_cells(
            self.exact, self.queries, sketches, (sketching, recall), self.rng,
            known, untrained,
        )
        self.multiplications += spent
        if self.index == self.network.engine.n_hidden:
            cells["n_probes"] = min(len(cells["spread"]), SPARE_VISITS * cells["n_probes"])
        if wanted == "cells" or cost < sketches.size:
            hashing.update(search="cells", cells=cells)
            hashing["index"], hashing["sketches"] = Cells.arranged(
                cell, len(cells["spread"]), sketches
            )

    def _encode(self):
        """Compute what is stale of sketches, and all codes."""
        selector, engine = self.selector, self.network.engine
        everyone = np.arange(selector.n_nodes, dtype=np.int32)
        engine.refresh_sketches(self.index, everyone, self.workspaces)
        if selector.index is not None and selector.cells is None:
            weights, intercepts = self.arrays["weights"], self.arrays["intercepts"]
            self.arrays["hashing"]["dirty"] |= 1
            norms2 = np.einsum("ij,ij->i", weights, weights) + intercepts**2
            centred = not selector.by_magnitude
            selector.family.renew_norms(self.arrays["hashing"]["sketches"], norms2, centred)
            engine.encode(self.index, everyone, self.workspaces)

    def _choose_probes(self):
        """As many probes as the wanted recall takes, if that is left to us."""
        hashing, family = self.arrays["hashing"], self.selector.family
        if self.network.settings.hash_probes != "auto" or not family.adaptive:
            return
        margins = self.queries @ hashing["family"]["planes"].T
        n_probes = choose_probes(
            self.exact, margins, hashing["index"]["node_codes"], family.n_bits
        )
        self.multiplications += len(margins) * family.dim * margins.shape[1]
        self.network.replace_hashing(self.index, {**hashing, "n_probes": n_probes})
