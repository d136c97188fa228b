"""Images of digits for the demo and the benchmarks: MNIST where it is at hand, else our own.

``SKLEARN_LSH_DATA`` names a folder with ``mnist.npz`` (arrays X_train, y_train, X_test,
y_test; images as uint8). Without it scikit-learn's digits are enlarged to 28 x 28 and
deformed, which needs no network.
"""

import os
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIZE = 28
# Empty border around the 8 x 8 original, in its pixels.
MARGIN = 1


def load_images(n_train=None, n_test=None):
    """Name, X_train, y_train, X_test, y_test; pixels are float32 in [0, 1].

    None stands for all of MNIST, or 20,000 and 4,000 deformed digits.
    """
    folder = os.environ.get("SKLEARN_LSH_DATA")
    if folder and (Path(folder) / "mnist.npz").exists():
        with np.load(Path(folder) / "mnist.npz") as data:
            parts = [data[name] for name in ("X_train", "y_train", "X_test", "y_test")]
        X_train, y_train = parts[0][:n_train], parts[1][:n_train]
        X_test, y_test = parts[2][:n_test], parts[3][:n_test]
        return "MNIST", flat(X_train / np.float32(255)), y_train, flat(X_test / 255), y_test
    return "deformed digits", *deformed_digits(n_train or 20_000, n_test or 4_000)


def flat(images):
    """Images as rows of float32."""
    return np.ascontiguousarray(images.reshape(len(images), -1), np.float32)


def deformed_digits(n_train, n_test, seed=0):
    """Enlarged and deformed digits; no image is the source of training and test rows both."""
    rng = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16
    sources = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=seed
    )
    parts = []
    for source, n in zip(sources, (n_train, n_test), strict=True):
        chosen = rng.permutation(np.resize(source, n))
        parts += [flat(deform(images[chosen], rng)), labels[chosen]]
    return parts


def deform(images, rng):
    """Resample each (8, 8) image at 28 x 28 points: turned, stretched, shifted and bent."""
    n, side = len(images), images.shape[1]
    angle, shear = rng.normal(0, 0.1, n), rng.normal(0, 0.1, n)
    stretch = rng.normal(1, 0.08, (2, n))
    # (n, 2, 2): where the pixel at offset (row, column) from the middle is read from.
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle) + shear, np.cos(angle)]])
    turn = (turn / stretch[:, None]).transpose(2, 0, 1)
    bend = gaussian_filter(rng.normal(size=(2, n, SIZE, SIZE)), (0, 0, 4, 4))
    bend *= 0.2 / bend.std()
    shift = rng.normal(0, 0.3, (2, n, 1, 1))
    offset = ((np.arange(SIZE) + 0.5) / SIZE - 0.5) * (side + 2 * MARGIN)
    grid = np.stack(np.meshgrid(offset, offset, indexing="ij"))
    where = np.einsum("nab,brc->anrc", turn, grid) + bend + shift + (side - 1) / 2
    out = np.empty((n, SIZE, SIZE), np.float32)
    for i, image in enumerate(images):
        map_coordinates(image, where[:, i], order=1, output=out[i])
    return np.clip(2.5 * out - 0.75, 0, 1)  # strokes instead of blur
