"""Small NORB from its original files: stereo pairs of toys, reduced to 32 x 32 pixels.

Y. LeCun, F. J. Huang, L. Bottou: Learning methods for generic object recognition with
invariance to pose and lighting, CVPR 2004.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

STEMS = (
    "smallnorb-5x46789x9x18x6x2x96x96-training",
    "smallnorb-5x01235x9x18x6x2x96x96-testing",
)
# The format's magic numbers, for the two types that the files need.
TYPES = {0x1E3D4C54: np.dtype("<i4"), 0x1E3D4C55: np.dtype("u1")}
# Pixels of the files averaged into one of ours, each way.
REDUCE = 3


def find_norb(folder):
    """The four files (images and labels for training, then for testing), None if not all."""
    names = [f"{stem}-{kind}.mat" for stem in STEMS for kind in ("dat", "cat")]
    found = [
        next((path for end in ("", ".gz") if (path := Path(folder, name + end)).exists()), None)
        for name in names
    ]
    return None if None in found else found


def read_norb(paths):
    """X_train, y_train, X_test, y_test: (n, 2, 32, 32) bytes, rows shuffled in each part."""
    parts = []
    for dat, cat in (paths[:2], paths[2:]):
        images, labels = read_matrix(dat), read_matrix(cat)
        if images.ndim != 4 or images.shape[1:] != (2, 96, 96):
            raise ValueError(f"{dat}: pairs of 96 x 96 pixels expected, found {images.shape}")
        if labels.shape != images.shape[:1]:
            raise ValueError(f"{cat}: {images.shape[0]} labels expected, found {labels.shape}")
        # The files go round the classes instance by instance; now any first rows are a sample.
        order = np.random.default_rng(0).permutation(len(labels))
        parts += [reduced(images)[order], labels[order]]
    return parts


def reduced(images):
    """Means of REDUCE x REDUCE pixels."""
    total = sum(
        images[..., row::REDUCE, column::REDUCE].astype(np.uint16)
        for row in range(REDUCE)
        for column in range(REDUCE)
    )
    return ((total + REDUCE**2 // 2) // REDUCE**2).astype(np.uint8)


def read_matrix(path):
    """The array in a file of NORB's format, which may be compressed by gzip.

    A magic number for the type, the number of dimensions, at least three sizes and the
    data, all little-endian.
    """
    opened = gzip.open if Path(path).suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            content = file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file ({error})") from error
    magic, ndim = struct.unpack_from("<II", content.ljust(8, b"\0"))
    if magic not in TYPES:
        raise ValueError(f"{path}: no matrix of bytes or integers in NORB's format")
    start = 8 + 4 * max(ndim, 3)
    if not 1 <= ndim <= 8 or len(content) < start:
        raise ValueError(f"{path}: the header is damaged")
    shape, dtype = struct.unpack_from(f"<{ndim}I", content, 8), TYPES[magic]
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - start != expected:
        raise ValueError(
            f"{path}: {expected} bytes of data expected for {shape}, found {len(content) - start}"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape)
