"""The data sets of the paper's experiments, or what stands in for them.

MNIST and small NORB are read where ``SKLEARN_LSH_DATA`` names a folder with mnist.npz and the
four original files of NORB; otherwise deformed digits and rendered toys stand in. Convex and
Rectangles-Image were made by a random generator: they are made again, by the authors' recipe.
What is generated, in half a minute a set at most, is kept in the folder ``SKLEARN_LSH_CACHE``,
by default ~/.cache/sklearn_lsh-benchmarks.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

import _convex
import _norb
import _rectangles
import _toys
import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))  # benchmarks, for _data

from _data import flat, load_images  # noqa: E402

CACHE = Path.home() / ".cache" / "sklearn_lsh-benchmarks"


class DataSet(NamedTuple):
    """Rows of float32 in [0, 1], labels as integers; the title is for people."""

    name: str
    title: str
    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def load(name, n_train=None, n_test=None):
    """One of SETS.

    Parameters
    ----------
    name : str
    n_train, n_test : int or None
        How many of the rows, which are in random order; None stands for all.

    Returns
    -------
    DataSet
    """
    if name not in SETS:
        raise ValueError(f"unknown data set {name!r}; there are {', '.join(SETS)}")
    title, X_train, y_train, X_test, y_test = SETS[name](n_train, n_test)
    return DataSet(
        name, title,
        rows(X_train[:n_train]), y_train[:n_train].astype(np.int64),
        rows(X_test[:n_test]), y_test[:n_test].astype(np.int64),
    )


def rows(images):
    return flat(images / np.float32(255)) if images.dtype == np.uint8 else flat(images)


def mnist(n_train, n_test):
    title, *parts = load_images(n_train, n_test)
    return "MNIST" if title == "MNIST" else f"MNIST stand-in ({title})", *parts


def norb(*_):
    folder = os.environ.get("SKLEARN_LSH_DATA")
    if folder and (paths := _norb.find_norb(folder)):
        return "small NORB", *_norb.read_norb(paths)
    return "NORB stand-in (rendered toys)", *cached("norb-stand-in", _toys, _toys.norb_like)


def convex(*_):
    return "Convex (generated anew)", *cached("convex", _convex, _convex.convex)


def rectangles_image(*_):
    photographs = _rectangles.load_photographs()
    if photographs is None:
        name, title = "rectangles_image-noise", "Rectangles-Image stand-in (1/f noise)"
    else:
        name, title = "rectangles_image", "Rectangles-Image (generated anew, other photographs)"
    return title, *cached(name, _rectangles, lambda: _rectangles.rectangles_image(photographs))


# In the paper's order; title, X_train, y_train, X_test, y_test of at least the rows asked for.
SETS = {"mnist": mnist, "norb": norb, "convex": convex, "rectangles_image": rectangles_image}


def cached(name, module, generate):
    """What `generate` of `module` returns, kept until the module's source changes."""
    source = hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()
    folder = Path(os.environ.get("SKLEARN_LSH_CACHE") or CACHE)
    path = folder / f"{name}-{source[:12]}.npz"
    if not path.exists():
        print(f"generating {path}", file=sys.stderr)
        arrays = generate()
        folder.mkdir(parents=True, exist_ok=True)
        # Renamed when complete: another process may be looking for it.
        with open(folder / f"{path.name}.{os.getpid()}", "wb") as file:
            np.savez_compressed(file, *arrays)
        os.replace(file.name, path)
    with np.load(path) as kept:
        return [kept[f"arr_{i}"] for i in range(4)]
