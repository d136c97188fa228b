"""Keeping hash functions and tables in step with the weights: when.

Re-encoding follows a clock: the rows that moved are filed anew. Hash functions are renewed
when recall, measured on a few coming examples, has drifted from what it was; how they are
renewed is in ``_renewal``.
"""

import numpy as np

from ._calibration import OUTPUT_RECALL, RECALL
from ._renewal import Renewal, layer_inputs
from .core.cells import Centroids
from .core.lsh import LSHSelector

# Inputs of a layer that its basis is estimated from, and further ones that recall is measured
# on: fewer for wide networks, where one exact answer costs more, and for output layers, of which
# one says something about many nodes.
BASIS_ROWS = 256
RECALL_ROWS = (8, 64)
RECALL_NODES = 2**21
RECALL_TOP = 3200  # top nodes that are looked for in all
# Recall this far below what was wanted and reached calls for a renewal, one that aims to lose
# less, by the share CAUTION, than is usual. So does recall this far above what the last renewal
# reached, since it could be had for less; and a list this many times as long as the active set,
# when the network has since seen so many times the examples: nodes of a layer that has learned
# more are easier to tell apart, which recall does not say.
DRIFT = 0.01
SURPLUS = 0.01
CAUTION = 0.8
LONG_LIST, AGED = 2, 2
# Examples between two measurements: doubled where nothing drifted, halved where recall fell,
# quartered where less recall is aimed for or exact activations are given up, unless renewals
# would then take more than this share of all multiplications. After a gap of CALM_GAP without a
# fall, layers aim no higher than usual again.
SHORTEST_GAP = 512
OUTPUTS_PER_EXAMPLE = 32  # of very many classes, which few examples change little
FIRST_LOOK = 2048  # but what they have learned first is looked at after so many at most
CALM_GAP, CALM_GAPS = 8192, 4  # and so many times the shortest gap
LONGEST_GAP = 32768
BUDGET = 0.3
# Examples between two re-encodings of the rows that moved: growing from the first gap to the
# longest, and with many classes such that they take at most this share of all multiplications.
ENCODING_BUDGET = 0.1
FIRST_ENCODING = 64
ENCODING_GROWTH = 1.25
LONGEST_ENCODING = 2048
# Examples until nodes are sorted by use for the first time, and, doubling, at most.
FIRST_SORTING = 2048
LONGEST_SORTING = 65536
# From one sorting to the next, nodes without a visit are left out; then all have their chance, for
# as long divided by this.
OPEN = 8


class Rehasher:
    """Watches over a network's hashed layers while it is trained.

    Parameters
    ----------
    network : Network
    workspaces : list of Workspace
        One a thread.

    Attributes
    ----------
    multiplications : int
        Spent on making the network and on renewals; the rest is counted in the workspaces.
    """

    def __init__(self, network, workspaces):
        self.network = network
        self.workspaces = workspaces
        self.multiplications, network.spent = network.spent, 0
        # Hidden layers, and the output layer if it is hashed.
        n_hidden = network.engine.n_hidden
        sizes = [n_out for n_out, _ in network.settings.shapes][: network.engine.n_hashed]
        self.aims = [RECALL] * n_hidden
        if len(sizes) > n_hidden:
            self.aims.append(OUTPUT_RECALL)
        self.hashed = [
            index
            for index, layer in enumerate(network.engine.layers)
            if isinstance(layer.selector, LSHSelector)
            and (layer.selector.family.adaptive or not layer.selector.exhaustive)
        ]
        layers = network.state["layers"][:-1]
        self.sorted = [index for index, layer in enumerate(layers) if "visits" in layer]
        self.clock = network.state.setdefault(
            "rehash",
            {
                "encode_at": FIRST_ENCODING,
                "encode_gap": FIRST_ENCODING,
                "sort_at": FIRST_SORTING,
                "only_busy": False,
                # Per layer: the next look and the gap before it, when the last renewal was,
                # what renewals aim for, and what the last one reached.
                "look_at": [0] * len(sizes),
                "look_gap": [SHORTEST_GAP] * len(sizes),
                "renewed_at": [0] * len(sizes),
                "aim": self.aims.copy(),
                "reached": [0.0] * len(sizes),
                # Multiplications of a training example, once known.
                "example_cost": np.inf,
            },
        )
        wanted = [RECALL_NODES // sizes[index] for index in self.hashed]
        if n_hidden in self.hashed:
            wanted.append(RECALL_TOP // network.engine.layers[n_hidden].selector.n_judged)
        self.n_recall_rows = int(np.clip(min(wanted, default=0), *RECALL_ROWS))

    @property
    def sample_size(self):
        """How many rows ``run`` wants."""
        return BASIS_ROWS + self.n_recall_rows

    @property
    def encodes(self):
        """Whether codes or sketches go stale between renewals."""
        # Linear updates keep sketches exact: without codes there is nothing to do.
        layers = [self.network.engine.layers[index] for index in self.hashed]
        return any(
            layer.selector.index is not None or not layer.optimizer.linear for layer in layers
        )

    @property
    def due(self):
        """How many more examples may be trained before ``run`` has work."""
        if not (self.sorted or self.hashed):
            return np.inf
        at = min([self.clock["sort_at"], *(self.clock["look_at"][i] for i in self.hashed)])
        if self.encodes:
            at = min(at, self.clock["encode_at"])
        return at - self.network.state["n_seen"]

    def run(self, rows, sample):
        """Do what is due, given the numbers of ``sample_size`` coming (or recent) rows."""
        seen, clock = self.network.state["n_seen"], self.clock
        if seen >= clock["sort_at"]:
            clock["only_busy"] = not clock["only_busy"]
            gap = min(seen, LONGEST_SORTING)
            clock["sort_at"] = seen + (gap if clock["only_busy"] else max(1, gap // OPEN))
            if clock["only_busy"]:
                for index in self.sorted:
                    self.network.sort_nodes(index)
            else:
                self.network.wake_nodes()
        if self.encodes and seen >= clock["encode_at"]:
            before, _ = self.network.engine.spent(self.workspaces)
            self.settle()
            gap = clock["encode_gap"]
            if self.network.settings.hashes_outputs:
                spent, examples = self.network.engine.spent(self.workspaces)
                self.note_cost(spent, examples)
                gap = max(gap, (spent - before) / (ENCODING_BUDGET * clock["example_cost"]))
            clock["encode_at"] = seen + int(gap)
            clock["encode_gap"] = min(LONGEST_ENCODING, clock["encode_gap"] * ENCODING_GROWTH)
        if any(seen >= clock["look_at"][index] for index in self.hashed):
            # A look measures all layers: those that are due soon need not wait for another.
            due = [index for index in self.hashed if self._due_soon(index)]
            self._look(due, rows, np.asarray(sample, np.int64))
            # A layer that scanned may have got codes, which were computed just now.
            clock["encode_at"] = max(clock["encode_at"], seen + FIRST_ENCODING)

    def look_ahead(self, rows, sample):
        """Look at an output layer that is due soon, or that was never measured: after a whole pass
        predictions may follow."""
        last = self.network.engine.n_hidden
        if last not in self.hashed:
            return
        aims = self.network.engine.layers[last].selector.aims
        if self._due_soon(last) or aims and self.clock["reached"][last] == 0:
            self._look([last], rows, np.asarray(sample, np.int64))

    def _due_soon(self, index):
        """Whether a look at a layer is due, or nearly so."""
        clock = self.clock
        soon = clock["look_at"][index] - clock["look_gap"][index] // 4
        return self.network.state["n_seen"] >= soon

    def settle(self):
        """Re-encode every row that moved since its code was computed, or out of its cell."""
        for index in self.hashed:
            hashing = self.network.state["layers"][index]["hashing"]
            moved = np.flatnonzero(hashing["dirty"]).astype(np.int32)
            if "index" in hashing:
                self._file(index, moved)
                if hashing["search"] == "cells":
                    self._send_strays_home(index)
            else:
                self.network.engine.refresh_sketches(index, moved, self.workspaces)

    def _file(self, index, nodes, may_stray=True):
        """Give nodes their codes; where cells are full more slots, unless they are strays."""
        codes = self.network.engine.encode(index, nodes, self.workspaces)
        filed = self.network.state["layers"][index]["hashing"]["index"]
        own = filed["node_codes"][nodes]
        elsewhere = (own != codes)[:, 0]
        if may_stray and elsewhere.any():
            elsewhere &= own[:, 0] < len(filed["count"]) - 1
        if elsewhere.any():
            self.network.rearrange(index, nodes[elsewhere], codes[elsewhere])

    def _send_strays_home(self, index):
        """Where there are more strays than cells, send home all but half as many: those that are
        farthest from any cell."""
        hashing = self.network.state["layers"][index]["hashing"]
        cells, filed = hashing["cells"], hashing["index"]
        n_cells, n_strays, first = len(cells["spread"]), filed["count"][-1], filed["start"][-2]
        if n_strays <= n_cells:
            return
        slots = slice(first, first + n_strays)
        cell, squares, _ = Centroids(cells).assign(hashing["sketches"][slots])
        beyond = np.sort(np.sqrt(squares) - cells["spread"][cell])
        cells["far"][1] = beyond[n_strays - n_cells // 2 - 1]
        strays = filed["ids"][slots].copy()
        self._file(index, strays)
        if filed["count"][-1] > n_cells:  # too many have found their cells full
            self._file(index, strays, may_stray=False)

    def rebuild(self):
        """Recompute every sketch and code: after weights were replaced."""
        for index in self.hashed:
            self.network.state["layers"][index]["hashing"]["dirty"][:] = 2
        self.settle()

    def _look(self, due, rows, sample):
        """Measure recall; renew those of the layers that are due whose recall has drifted."""
        held_out = sample[BASIS_ROWS:] if len(sample) > BASIS_ROWS else sample
        clock = self.clock
        found, exact = [0.0] * len(self.network.engine.layers), None
        if any(clock["reached"][index] for index in self.hashed):  # or all are renewed
            found, exact = self._recall(rows, held_out)
        drifted = [index for index in due if self._has_drifted(index, found[index])]
        spent, measured = dict.fromkeys(due, 0), []
        for index in drifted:
            inputs = layer_inputs(self.network, index, rows, sample, self.workspaces)
            renewal = Renewal(
                self.network, index, inputs[:BASIS_ROWS], inputs[-len(held_out) :],
                clock["aim"][index], clock["reached"][index] > 0, self.workspaces,
            )
            renewal.run()
            clock["renewed_at"][index] = self.network.state["n_seen"]
            spent[index] = renewal.multiplications
            if not renewal.hasty:  # or it is done again in any case
                measured.append(index)
        self.multiplications += sum(spent.values())
        after = found
        if measured:
            if exact is not None:  # above the first that changed, inputs have changed, too
                exact[0][:, drifted[0] + 1 :] = np.nan
            after, _ = self._recall(rows, held_out, exact)
        for index in due:
            gap = clock["look_gap"][index]
            if self._fell(index, found[index]):
                gap //= 2
            elif index in drifted and self._estimates(index):
                gap //= 4  # will find less from now on; how fast it drifts then is not known
            else:
                gap *= 2
            gap = max(gap, self._affordable_gap(index, spent[index]))
            clock["look_gap"][index] = int(np.clip(gap, *self._gaps(index)))
            clock["look_at"][index] = self.network.state["n_seen"] + clock["look_gap"][index]
        for index in measured:
            clock["reached"][index] = after[index]

    def _gaps(self, index):
        """The shortest and the longest gap between two looks at a layer."""
        if index < self.network.engine.n_hidden:
            return SHORTEST_GAP, LONGEST_GAP
        patience = self.network.settings.n_outputs // OUTPUTS_PER_EXAMPLE
        longest = max(LONGEST_GAP, 4 * patience)
        if self.network.state["n_seen"] < FIRST_LOOK:
            patience = min(patience, FIRST_LOOK)
        return max(SHORTEST_GAP, patience), longest

    def _estimates(self, index):
        """Whether a layer aims for a recall, and below that of exact activations."""
        selector = self.network.engine.layers[index].selector
        return selector.aims and not selector.exhaustive

    def _fell(self, index, found):
        """Whether a layer finds less than its last renewal reached, and less than is wanted."""
        return found < min(self.clock["reached"][index], self.aims[index]) - DRIFT

    def _has_drifted(self, index, found):
        """Whether a layer's hash functions are to be renewed, given its recall now."""
        clock, selector = self.clock, self.network.engine.layers[index].selector
        usual = self.aims[index]
        if not selector.aims:
            return True  # the paper's rankings: renewed by the clock alone
        if clock["reached"][index] == 0 or selector.exhaustive:
            return True  # cheaper than exact answers may be possible by now
        if self._fell(index, found):
            clock["aim"][index] = usual + CAUTION * (1 - usual)
            return True
        calm = clock["look_gap"][index] >= max(CALM_GAP, CALM_GAPS * self._gaps(index)[0])
        cautious = clock["aim"][index] > usual
        if found > clock["reached"][index] + SURPLUS or cautious and calm:
            clock["aim"][index] = usual
            return True
        return self._has_aged(index)

    def _has_aged(self, index):
        """Whether a hidden layer, when it had learned less, needed a long list to find enough."""
        network = self.network
        if index == network.engine.n_hidden:
            return False  # the list is for predictions alone
        listed = network.state["layers"][index]["hashing"]["short_list"]
        if listed <= LONG_LIST * network.settings.most_active(index):
            return False
        return network.state["n_seen"] >= AGED * self.clock["renewed_at"][index]

    def _recall(self, rows, held_out, exact=None):
        """Each layer's share of the exact top nodes that its selection finds, and what
        ``Engine.recall`` says of these."""
        if not any(self.network.engine.layers[index].selector.aims for index in self.hashed):
            return [0.0] * len(self.network.engine.layers), None
        found, wanted, exact = self.network.engine.recall(rows, held_out, self.workspaces, exact)
        return [float(f) for f in found / np.maximum(wanted, 1)], exact

    def note_cost(self, multiplications, examples):
        """Tell what training so many examples took."""
        if examples:
            self.clock["example_cost"] = max(1, multiplications / examples)

    def _affordable_gap(self, index, spent):
        """Examples until a layer's renewal that cost ``spent`` may be repeated."""
        self.note_cost(*self.network.engine.spent(self.workspaces))
        gap = spent * len(self.hashed) / (BUDGET * self.clock["example_cost"])
        if index == self.network.engine.n_hidden:
            # Output layers change most at first: what that costs is made up for later.
            gap = min(gap, self.network.state["n_seen"])
        return gap
