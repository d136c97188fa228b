"""What the state of a network must be before anything compiled is built over its arrays.

Pickles are trusted, but files are damaged and states are edited: what is compiled points into the
arrays and goes by the sizes in the settings.
"""

# Raised by every change of what a state holds.
FORMAT = 12


def check_format(state):
    """ValueError if another version has written the state."""
    if state.get("format") != FORMAT:
        raise ValueError(
            f"this model has state format {state.get('format')!r}; this version of "
            f"sklearn_lsh reads format {FORMAT}"
        )


def check_shapes(layers, settings):
    """ValueError if the arrays of the layers are not of the shapes that the settings name.

    Parameters
    ----------
    layers : list of dict
    settings : Settings
    """
    if len(layers) != len(settings.shapes):
        raise ValueError(f"a state of {len(layers)} layers for {len(settings.shapes)}")
    for index, layer in enumerate(layers):
        n_out, _ = settings.shapes[index]
        for name, (array, shape) in _arrays(layer, settings, index).items():
            if array.shape != shape:
                raise ValueError(
                    f"{name} of layer {index} has the shape {array.shape} in this state, the "
                    f"network wants {shape}"
                )
        if not 0 <= layer.get("busy", n_out) <= n_out:
            raise ValueError(f"{layer['busy']} of {n_out} nodes of layer {index} are busy")


def _arrays(layer, settings, index):
    """Arrays of one layer and the shapes that they must have, by name."""
    (n_out, n_in), rule = settings.shapes[index], settings.rules[index]
    shapes = {
        "weights": settings.stores[index].shape(n_out, n_in), "intercepts": (n_out,),
        "used": (n_out,), "nodes": (n_out,), "visits": (n_out,), "threshold": (2,),
        "mean": (n_in,),
    }
    found = {name: (layer[name], shape) for name, shape in shapes.items() if name in layer}
    for name, shape in rule.state_shapes(n_out, n_in).items():
        found[f"optimizer {name}"] = layer["optimizer"][name], shape
    if "whitening" in layer:
        whitening = layer["whitening"]
        k = len(whitening["reduction"])
        for name, shape in (("mean", (n_in,)), ("directions", (k, n_in)), ("gain", (1,))):
            found[f"whitening {name}"] = whitening[name], shape
    if "hashing" in layer:
        hashing = layer["hashing"]
        n_slots = len(hashing["sketches"]) if hashing["search"] == "cells" else n_out
        dim = hashing["family"]["matrix"].shape[1]
        found["sketches"] = hashing["sketches"], (n_slots, dim)
        found["dirty"] = hashing["dirty"], (n_out,)
        if hashing["search"] != "cells":
            tables, buckets = settings.hash_tables, 2 ** settings.hash_bits[index]
            shapes = {
                "node_codes": (n_out, tables), "head": (tables, buckets),
                "count": (tables, buckets), "after": (tables, n_out), "before": (tables, n_out),
            }
            for name, array in hashing.get("index", {}).items():
                found[f"index {name}"] = array, shapes[name]
    return found
