"""What cannot fit into memory is refused in advance."""

import numpy as np
import pytest
from problems import N_FEATURES, documents, wide
from scipy.sparse import csr_array

from sklearn_lsh import LSHMLPClassifier, _memory
from sklearn_lsh._labels import Labels
from sklearn_lsh._memory import network_bytes

X, Y = documents()


def test_what_cannot_fit_is_refused_in_advance(monkeypatch):
    monkeypatch.setattr(_memory, "available_bytes", lambda: 2**27)
    big = LSHMLPClassifier((4000,), output_active=100)
    with pytest.raises(MemoryError, match="300 outputs would take .* bytes"):
        big.set_params(hidden_layer_sizes=(200_000,)).fit(X, Y)
    assert not hasattr(big, "classes_")
    estimator = wide(max_iter=1).fit(X, Y)
    many = csr_array((100_000, N_FEATURES), dtype=np.float32)
    with pytest.raises(MemoryError, match="probabilities of 300 classes for 100000 rows"):
        estimator.predict_proba(many)
    assert estimator.predict_topk(many, 1)[0].shape == (100_000, 1)


@pytest.mark.parametrize("copying, room", [("average", 150), ("early_stopping", 250)])
def test_copies_of_the_weights_count(monkeypatch, copying, room):
    """The network takes 123 MB, and 213 and 303 with one copy and two."""
    monkeypatch.setattr(_memory, "available_bytes", lambda: room * 10**6)
    estimator = LSHMLPClassifier((15_000,), max_iter=1, random_state=0)
    with pytest.raises(MemoryError, match="would take"):
        estimator.set_params(**{copying: True}).fit(X[:300], Y[:300])
    estimator.set_params(**{copying: False}).fit(X[:300], Y[:300])


def test_pages_of_files_can_be_had(monkeypatch):
    """What a container has read from files counts as used until others want the room."""
    files = {
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 8388608 kB\n",
        "/sys/fs/cgroup/memory.max": "2000\n", "/sys/fs/cgroup/memory.current": "1900\n",
        "/sys/fs/cgroup/memory.stat": "anon 1000\nfile 900\ninactive_file 700\n",
    }

    def read_text(path):
        if path.as_posix() not in files:
            raise FileNotFoundError(path)
        return files[path.as_posix()]

    monkeypatch.setattr(_memory.Path, "read_text", read_text)
    assert _memory.available_bytes() == 800
    stat = files.pop("/sys/fs/cgroup/memory.stat")
    assert _memory.available_bytes() == 100
    files["/sys/fs/cgroup/memory.stat"] = stat + "inactive_file?\n"
    assert _memory.available_bytes() == 800
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert _memory.available_bytes() == 2**33


@pytest.mark.parametrize("options", [
    {"hash_search": "tables"}, {"hash_ranking": "collisions"}, {"hash_ranking": "union"},
])
def test_buckets_count(options):
    few, many = (
        network_bytes(
            LSHMLPClassifier((100,), hash_bits=bits, hash_tables=3, **options)._settings(
                10, Labels(np.arange(3), False), np.inf
            )
        )
        for bits in (4, 20)
    )
    assert many - few == 8 * 3 * (2**20 - 2**4)


def test_memory_is_what_the_formula_says():
    """At 10^5 classes, by the arrays that NumPy allocates."""
    import tracemalloc

    n_classes = 100_000
    rows, y = documents(2000, n_classes=n_classes, n_features=20_000)
    estimator = LSHMLPClassifier((64,), active_fraction=1.0, output_active=50, random_state=0)
    tracemalloc.start()
    estimator.partial_fit(rows, y, classes=np.arange(n_classes))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    stated = network_bytes(estimator._network.settings, 1, 32)
    assert 0.4 * stated < peak < 1.3 * stated
