"""The planted family of benchmarks/many_classes: its best P@1 is what it says."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

# By path: benchmarks/paper has a module of the same name.
PATH = Path(__file__).resolve().parent.parent / "benchmarks/many_classes/_sets.py"
SPEC = importlib.util.spec_from_file_location("many_classes_sets", PATH)
planted_sets = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(planted_sets)


def test_a_batch_is_the_same_for_the_same_number():
    family = planted_sets.Planted(1000)
    (X, y), (again, same), (other, _) = (family.batch(50, n) for n in (3, 3, 4))
    assert X.dtype == np.float32 and X.shape == (50, 100_000)
    np.testing.assert_allclose(X.power(2).sum(axis=1), 1, rtol=0.1)
    assert (X != again).nnz == 0 and (X != other).nnz > 0
    np.testing.assert_array_equal(y, same)


def test_who_knows_the_signatures_reaches_the_bayes_precision():
    family, n_rows = planted_sets.Planted(500), 4000
    X, y = family.batch(n_rows, 0)
    numbers = np.arange(500)[:, None] * planted_sets.SIGNATURE + np.arange(planted_sets.SIGNATURE)
    signatures = planted_sets.scrambled(numbers) % family.n_features
    shown = np.stack([X[:, ids].sum(axis=1) for ids in signatures], axis=1)
    hits = shown.argmax(axis=1) == y
    assert hits.mean() == pytest.approx(family.bayes, abs=4 * np.sqrt(0.25 / n_rows))
