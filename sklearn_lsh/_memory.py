"""What a network takes, and whether there is room for it."""

import os
from math import prod
from pathlib import Path

from .core.hashing import Subspace

# Numbers that a layer keeps for a node in one slot of a workspace, and for all slots of a thread.
SLOT_NUMBERS = 10
THREAD_NUMBERS = 6


def network_bytes(settings, n_threads=1, batch_size=1, n_snapshots=0):
    """The memory that a network takes in training, in bytes.

    The formula is stated in doc/many_classes. Data and a few constants are not in it.

    Parameters
    ----------
    settings : Settings
    n_threads, batch_size : int
    n_snapshots : int
        Copies of the weights that training keeps.

    Returns
    -------
    n_bytes : int
    """
    total = widest = 0
    share = -(-batch_size // n_threads)
    n_slots = share * n_threads
    if n_threads > 1 and len(settings.hidden_layer_sizes) + settings.hashes(0) > 1:
        n_slots += 2 * (batch_size - share)  # threads may divide layers
    for index, ((n_out, n_in), store, rule) in enumerate(
        zip(settings.shapes, settings.stores, settings.rules, strict=True)
    ):
        rows, columns = store.shape(n_out, n_in)
        total += 4 * (1 + n_snapshots) * rows * columns + 24 * n_out
        total += sum(4 * prod(shape) for shape in rule.state_shapes(n_out, n_in).values())
        if settings.hashes(index):
            tables, buckets = 1, 0
            if settings.first_search(index) == "tables":
                tables, buckets = settings.hash_tables, 1 << settings.hash_bits[index]
            total += n_out * (3 * 4 * max(Subspace.lengths) + 16 * tables) + 8 * tables * buckets
        total += 4 * SLOT_NUMBERS * n_slots * settings.most_listed(index)
        widest = max(widest, n_out)
    # A row, and what updates see of it.
    row_bytes = 8 if settings.by_input[0] else 12
    total += n_slots * row_bytes * settings.n_features
    return total + 4 * THREAD_NUMBERS * n_threads * widest


def available_bytes():
    """Memory that can still be had, as far as the system says; None if it does not."""
    known = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        known += [1024 * int(line.split()[1]) for line in lines if "MemAvailable" in line]
    except OSError:
        if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
            known.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:  # a container's limit
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text()
        if limit != "max":
            known.append(int(limit) - int(used) + _returnable_bytes())
    except (OSError, ValueError):
        pass
    return min(known, default=None)


def _returnable_bytes():
    """Of a container, what counts as used and is given back: pages of files that were read."""
    try:
        lines = Path("/sys/fs/cgroup/memory.stat").read_text().splitlines()
        return next((int(x.split()[1]) for x in lines if x.startswith("inactive_file ")), 0)
    except (OSError, ValueError, IndexError):
        return 0


def require(n_bytes, what):
    """Raise MemoryError, before anything is allocated, if so much cannot be had."""
    if n_bytes < 2**26:  # not worth asking
        return
    room = available_bytes()
    if room is not None and n_bytes > room:
        raise MemoryError(
            f"{what} would take {n_bytes:,} bytes ({n_bytes / 2**30:.1f} GiB), and "
            f"{max(0, room):,} are available"
        )
