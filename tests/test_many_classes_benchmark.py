"""benchmarks/many_classes: planted sets are what they say, and failures are not hidden."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def many_classes(monkeypatch):
    """Imports the benchmark's modules, and forgets them: benchmarks/paper has such names, too."""
    for folder in (BENCHMARKS, BENCHMARKS / "many_classes"):
        monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield __import__
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_batch_is_the_same_for_the_same_number(many_classes):
    family = many_classes("_sets").Planted(1000)
    (X, y), (again, same), (other, _) = (family.batch(50, n) for n in (3, 3, 4))
    assert X.dtype == np.float32 and X.shape == (50, 100_000)
    np.testing.assert_allclose(X.power(2).sum(axis=1), 1, rtol=0.1)
    assert (X != again).nnz == 0 and (X != other).nnz > 0
    np.testing.assert_array_equal(y, same)


def test_who_knows_the_signatures_reaches_the_bayes_precision(many_classes):
    sets = many_classes("_sets")
    family, n_rows = sets.Planted(500), 4000
    X, y = family.batch(n_rows, 0)
    numbers = np.arange(500)[:, None] * sets.SIGNATURE + np.arange(sets.SIGNATURE)
    signatures = sets.scrambled(numbers) % family.n_features
    shown = np.stack([X[:, ids].sum(axis=1) for ids in signatures], axis=1)
    hits = shown.argmax(axis=1) == y
    assert hits.mean() == pytest.approx(family.bayes, abs=4 * np.sqrt(0.25 / n_rows))


MEASURED = dict.fromkeys(("p1", "p3", "p5", "train_s", "us_a_row", "peak_mb", "model_mb"), 1)
FAILED, SKIPPED = {"failed": "exit 1: no data"}, {"skipped": "not installed"}


@pytest.mark.parametrize(("ours", "omikuji", "said"), [
    (FAILED, MEASURED, "failed, for the reasons above: ours"),
    (FAILED, SKIPPED, "failed, for the reasons above: ours"),
    (SKIPPED, SKIPPED, "nothing was measured"),
    (MEASURED, SKIPPED, None),
])
def test_failures_are_not_hidden(many_classes, monkeypatch, tmp_path, capsys, ours, omikuji, said):
    compare, found = many_classes("compare"), {"ours": ours, "omikuji": omikuji}
    monkeypatch.setattr(compare, "measured", lambda name, args: found[name])
    monkeypatch.setattr(sys, "argv", [
        "compare.py", "delicious", "--peers", *found, "--csv", str(tmp_path / "peers.csv"),
    ])
    if said:
        with pytest.raises(SystemExit, match=said):
            compare.main()
    else:
        compare.main()
    assert ("| peer |" in capsys.readouterr().out) == (MEASURED in found.values())


def test_settings_have_a_name_and_a_value(many_classes):
    parameters = many_classes("_command_line").parameters
    assert parameters(["solver=sgd", "n_jobs=2"]) == {"solver": "sgd", "n_jobs": 2}
    with pytest.raises(SystemExit, match="NAME=VALUE"):
        parameters(["solver=sgd", "hash_search"])
