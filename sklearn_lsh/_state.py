"""What the state of a network must be: nothing compiled is asked to work on any other.

Pickles are trusted, but files are damaged and states are edited: what is compiled points into the
arrays, goes by the sizes in the settings and by the indices in the arrays. Numbers that are only
computed with may be anything: they are met, and reported, in training and prediction.
"""

import numpy as np

from .core.hashing import HASH_FAMILIES
from .core.lsh import RANKINGS

# Raised by every change of what a state holds.
FORMAT = 13
# What may be asked for at most.
MOST_BITS, MOST_TABLES, MOST_PROBES = 24, 10_000, 10_000


def check_format(state):
    """ValueError if another version has written the state."""
    if state.get("format") != FORMAT:
        raise ValueError(
            f"this model has state format {state.get('format')!r}; this version of "
            f"sklearn_lsh reads format {FORMAT}"
        )


def check_settings(settings):
    """ValueError if the settings have numbers that no estimator gives them."""
    sizes = (settings.n_features, *settings.hidden_layer_sizes, settings.n_outputs)
    for size in sizes:
        _check_whole("the size of a layer", size, 1)
    for name in ("n_active", "hash_search", "hash_bits", "by_input"):
        _check_length(name, getattr(settings, name), len(sizes) - 1)
    for index, (n_out, _) in enumerate(settings.shapes):
        _check_whole(f"n_active of layer {index}", settings.n_active[index], 1, n_out)
        _check_whole(f"hash_bits of layer {index}", settings.hash_bits[index], 1, MOST_BITS)
    _check_whole("hash_tables", settings.hash_tables, 1, MOST_TABLES)
    if settings.hash_probes != "auto":
        _check_whole("hash_probes", settings.hash_probes, 1, MOST_PROBES)


def check_clock(state):
    """ValueError if nothing would ever be due, or always: passes end where something is."""
    for name in ("seed", "n_epochs", "n_seen"):
        _check_whole(name, state[name], 0)
    clock = state.get("rehash")
    if clock is None:
        return
    _check_whole("sort_at", clock["sort_at"], 1)
    for name in ("encode_gap", "example_cost"):
        _check_real(name, clock[name], 1, np.inf)
    for name in ("look_at", "look_gap", "renewed_at", "aim", "reached"):
        _check_length(name, clock[name], len(clock["look_gap"]))
    for gap in clock["look_gap"]:
        _check_whole("look_gap", gap, 1)
    for recall in (*clock["aim"], *clock["reached"]):
        _check_real("recall", recall, 0, 1)


def check_layers(layers, settings):
    """ValueError if arrays are not of the shapes that the settings name, or numbers beside them
    are out of range.

    Parameters
    ----------
    layers : list of dict
    settings : Settings
    """
    _check_length("layers", layers, len(settings.shapes))
    for index, layer in enumerate(layers):
        if settings.hashes(index) != ("hashing" in layer):
            raise ValueError(f"layer {index} is hashed by the settings or by the state alone")
        for name, (array, shape) in _arrays(layer, settings, index).items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{name} of layer {index} is no array in this state")
            if array.shape != shape:
                raise ValueError(
                    f"{name} of layer {index} has the shape {array.shape} in this state, the "
                    f"network wants {shape}"
                )
        n_out, _ = settings.shapes[index]
        _check_whole(f"busy of layer {index}", layer.get("busy", n_out), 0, n_out)
        if "hashing" in layer:
            hashing = layer["hashing"]
            _check_whole("short_list", hashing["short_list"], 1, settings.most_listed(index))
            _check_whole("n_probes", hashing["n_probes"], 1, MOST_PROBES)
            if hashing["search"] == "cells":
                n_cells = len(hashing["cells"]["centroids"])
                _check_whole("the number of cells", n_cells, 1, n_out)
                _check_whole("n_probes of cells", hashing["cells"]["n_probes"], 1, n_cells)


def check_indices(layers):
    """ValueError if what says where nodes are contradicts itself.

    After what is compiled was built, which has seen to the types of the arrays.
    """
    for index, layer in enumerate(layers):
        sound = "nodes" not in layer or _is_order(layer["nodes"])
        hashing = layer.get("hashing", {"search": "exact"})
        if hashing["search"] == "tables":
            sound = sound and _is_linked(**hashing["index"])
        elif hashing["search"] == "cells":
            starts = hashing["cells"]["group_start"]
            sound = sound and _is_cut(starts, len(hashing["cells"]["centroids"]))
            sound = sound and (np.diff(starts) > 0).all() and _is_filed(**hashing["index"])
        if not sound:
            raise ValueError(f"the nodes of layer {index} are not each in one place in this state")


def _check_whole(name, number, least, most=np.inf):
    if not isinstance(number, int) or not least <= number <= most:
        raise ValueError(f"{name} is {number!r} in this state, not an int in [{least}, {most}]")


def _check_real(name, number, least, most):
    # The comparison is false for NaN.
    if not isinstance(number, int | float) or not least <= number <= most:
        raise ValueError(f"{name} is {number!r} in this state, not a number in [{least}, {most}]")


def _check_length(name, values, length):
    if len(values) != length:
        raise ValueError(f"{len(values)} {name} in this state, the network wants {length}")


def _arrays(layer, settings, index):
    """Arrays of one layer and the shapes that they must have, by name."""
    (n_out, n_in), rule = settings.shapes[index], settings.rules[index]
    shapes = {
        "weights": settings.stores[index].shape(n_out, n_in), "intercepts": (n_out,),
        "used": (n_out,), "nodes": (n_out,), "visits": (n_out,), "threshold": (2,),
        "mean": (n_in,),
    }
    found = _paired("", layer, {name: shapes[name] for name in shapes if name in layer})
    found |= _paired("optimizer ", layer["optimizer"], rule.state_shapes(n_out, n_in))
    if "whitening" in layer:
        k = _length(layer["whitening"]["reduction"], 0)
        found |= _paired(
            "whitening ", layer["whitening"],
            {"mean": (n_in,), "directions": (k, n_in), "reduction": (k,), "gain": (1,)},
        )
    if "hashing" in layer:
        found |= _hashing_arrays(layer["hashing"], settings, index)
    return found


def _hashing_arrays(hashing, settings, index):
    """As ``_arrays``, of what hashes a layer."""
    n_out, n_in = settings.shapes[index]
    search, n_bits, n_tables = hashing["search"], settings.hash_bits[index], settings.hash_tables
    if search not in ("scan", "tables", "cells"):
        raise ValueError(f"layer {index} is searched by {search!r} in this state")
    dim = _length(hashing["family"]["matrix"], 1)
    family = HASH_FAMILIES[settings.hash_family]
    found = _paired("family ", hashing["family"], family.shapes(n_in, dim, n_bits, n_tables))
    n_slots, filed = n_out, {}
    if search == "cells":
        n_slots = _length(hashing["index"]["ids"], 0)
        n_cells = _length(hashing["cells"]["centroids"], 0)
        n_groups = _length(hashing["cells"]["groups"], 0)
        found |= _paired("cells ", hashing["cells"], {
            "centroids": (n_cells, dim), "half_norms": (n_cells,), "groups": (n_groups, dim),
            "group_half_norms": (n_groups,), "group_start": (n_groups + 1,),
            "spread": (n_cells,), "far": (2,),
        })
        filed = {
            "node_codes": (n_out, 1), "start": (n_cells + 2,), "count": (n_cells + 1,),
            "ids": (n_slots,), "place": (n_out,),
        }
    elif search == "tables" or RANKINGS[settings.hash_ranking].needs_codes:
        filed = {"node_codes": (n_out, n_tables)}
        if search == "tables":
            filed |= dict.fromkeys(("head", "count"), (n_tables, 2**n_bits))
            filed |= dict.fromkeys(("after", "before"), (n_tables, n_out))
    if bool(filed) != ("index" in hashing):
        raise ValueError(f"layer {index} is not searched by {search} in this state")
    if filed:
        found |= _paired("index ", hashing["index"], filed)
    return found | _paired("", hashing, {"sketches": (n_slots, dim), "dirty": (n_out,)})


def _paired(prefix, arrays, shapes):
    for name in shapes:
        if name not in arrays:
            raise ValueError(f"there is no {prefix}{name} in this state")
    return {prefix + name: (arrays[name], shape) for name, shape in shapes.items()}


def _length(array, axis):
    """Of an array whose shape is not known yet, and will be found wrong if it has no such axis."""
    return (*np.shape(array), 0, 0)[axis]


# ---- what indices say --------------------------------------------------------------------------


def _is_order(ids):
    """Whether each of the first numbers is there, once."""
    return np.array_equal(np.sort(ids), np.arange(len(ids)))


def _is_cut(starts, n):
    """Whether pieces that start so are all of the first n numbers, one after the other."""
    ascend = (starts[1:] >= starts[:-1]).all()  # differences might overflow
    return starts[0] == 0 and starts[-1] == n and ascend


def _is_filed(node_codes, start, count, ids, place):
    """Whether each node is in a slot of its cell; those of a cell fill its first slots."""
    cell, n = node_codes[:, 0], len(count)
    if not _is_cut(start, len(ids)) or not ((cell >= 0) & (cell < n)).all():
        return False
    if not np.array_equal(count, np.bincount(cell, minlength=n)):
        return False
    first = start[cell]
    if not ((count <= np.diff(start)).all() and (place >= first).all()):
        return False
    return (place < first + count[cell]).all() and np.array_equal(ids[place], np.arange(len(cell)))


def _is_linked(node_codes, head, count, after, before):
    """Whether each node is in the list of its bucket, in every table; -1 ends a list."""
    (n_nodes, n_tables), n_buckets = node_codes.shape, head.shape[1]
    if not all(
        ((ids >= -1) & (ids < most)).all()
        for ids, most in (
            (node_codes, n_buckets), (head, n_nodes), (after, n_nodes), (before, n_nodes)
        )
    ):
        return False
    nodes = np.arange(n_nodes)
    for t in range(n_tables):
        code, filed = node_codes[:, t], node_codes[:, t] >= 0
        if not np.array_equal(count[t], np.bincount(code[filed], minlength=n_buckets)):
            return False
        # All nodes have one before them in the same bucket, or lead it. So each bucket's list
        # ends, and has what is counted unless some are in a ring, where they are not looked for.
        leads, led = filed & (before[t] < 0), head[t] >= 0
        follows, followed = before[t] >= 0, after[t] >= 0
        if not (
            np.array_equal(nodes[leads], np.sort(head[t][led]))
            and np.array_equal(code[head[t][led]], np.flatnonzero(led))
            and np.array_equal(after[t][before[t][follows]], nodes[follows])
            and np.array_equal(before[t][after[t][followed]], nodes[followed])
            and np.array_equal(code[before[t][follows]], code[follows])
        ):
            return False
    return True
