"""Deformed images of digits without end, made while a network trains.

As for MNIST8M: G. Loosli, S. Canu, L. Bottou: Training invariant support vector machines
using selective sampling, 2007. Elastic deformations after P. Simard, D. Steinkraus, J. Platt:
Best practices for convolutional neural networks, ICDAR 2003.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

SIZE = 28
PADDED = SIZE + 2
# Simard et al.: uniform noise smoothed with this sigma and multiplied by this alpha.
SIGMA, ALPHA = 4, 34
# Smoothing is slow: an image's deformation mixes two of so many fields.
FIELDS = 1000
ROTATION, SCALE, SHIFT = np.deg2rad(10), 0.1, 1.0
# Few enough for the working arrays to stay in the processor's cache.
CHUNK = 128


class InfiniteMNIST:
    """Batches of deformed images, the same ones for the same seed.

    Parameters
    ----------
    images : array of shape (n, 28, 28) or (n, 784)
        Training images, pixels in [0, 1].
    labels : array of shape (n,)
    seed : int
        With the number of a batch it determines the batch's images.
    """

    def __init__(self, images, labels, seed=0):
        images = np.asarray(images).reshape(-1, SIZE, SIZE)
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
        self.pixels = np.rint(255 * padded).astype(np.uint8).ravel()
        self.labels = np.asarray(labels)
        self.seed = seed
        self.n_batches = 0
        noise = np.random.default_rng(seed).uniform(-1, 1, (FIELDS, SIZE, SIZE))
        fields = ALPHA * gaussian_filter(noise, (0, SIGMA, SIGMA), mode="wrap")
        self.fields = fields.reshape(FIELDS, -1).astype(np.float32)
        at = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
        self.grid = np.stack([np.repeat(at, SIZE), np.tile(at, SIZE), np.ones(SIZE**2, at.dtype)])

    def batch(self, n, index=None):
        """The next n images, float32 in [0, 1] of shape (n, 784), and their labels.

        `index` asks for the batch of that number instead of the next one.
        """
        if index is None:
            index = self.n_batches
            self.n_batches += 1
        rng = np.random.default_rng([self.seed, 1 + index])
        sources = rng.integers(len(self.labels), size=n)
        out = np.empty((n, SIZE**2), np.float32)
        for start in range(0, n, CHUNK):
            part = slice(start, start + CHUNK)
            self._deform(sources[part], rng, out[part])
        return out, self.labels[sources]

    def _deform(self, sources, rng, out):
        """Read each pixel at its displaced place, between four pixels of the source."""
        row, column = self._places(len(sources), rng)
        top, left = row.astype(np.int32), column.astype(np.int32)
        row -= top
        column -= left
        top *= PADDED
        top += left
        place = top + (PADDED**2 * sources)[:, None]
        upper = self._between(place, column)
        lower = self._between(place + PADDED, column)
        lower -= upper
        lower *= row
        upper += lower
        np.multiply(upper, np.float32(1 / 255), out=out)

    def _between(self, place, share):
        left = self.pixels[place].astype(np.float32)
        right = self.pixels[place + 1].astype(np.float32)
        right -= left
        right *= share
        left += right
        return left

    def _places(self, n, rng):
        """Rows and columns of the padded images that n images are read from."""
        angle = rng.uniform(-ROTATION, ROTATION, n)
        scale = rng.uniform(1 - SCALE, 1 + SCALE, (2, n))
        shift = rng.uniform(-SHIFT, SHIFT, (2, n)) + (PADDED - 1) / 2
        cos, sin = np.cos(angle), np.sin(angle)
        turns = (
            np.column_stack([scale[0] * cos, -scale[0] * sin, shift[0]]),
            np.column_stack([scale[1] * sin, scale[1] * cos, shift[1]]),
        )
        for turn in turns:
            place = turn.astype(np.float32) @ self.grid
            mix = rng.uniform(0, 2 * np.pi, n).astype(np.float32)[:, None]
            for weight in (np.cos(mix), np.sin(mix)):
                place += weight * self.fields[rng.integers(FIELDS, size=n)]
            # The border is black and one pixel wide.
            yield np.clip(place, 0, PADDED - 1.001, out=place)
