"""The paper's experiments: results survive a restart, and one small experiment runs."""

import sys
import types
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklearn_lsh import LSHMLPClassifier

PAPER = Path(__file__).parent.parent / "benchmarks" / "paper"
DataSet = namedtuple("DataSet", "name title X_train y_train X_test y_test")


def load(name, n_train=None, n_test=None):
    """Scikit-learn's digits instead of the large sets."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype("float32")
    return DataSet(name, "digits", X[:n_train], y[:n_train], X[1000:][:n_test], y[1000:][:n_test])


@pytest.fixture
def paper(monkeypatch):
    """Imports the experiments' modules, and forgets them afterwards."""
    monkeypatch.syspath_prepend(PAPER)
    sets = types.ModuleType("_sets")
    sets.load = load
    before = set(sys.modules)
    monkeypatch.setitem(sys.modules, "_sets", sets)
    yield __import__
    for name in set(sys.modules) - before:
        if str(PAPER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def options(module, folder, *more):
    return module.parse(module.options(), [
        "--results", str(folder), "--figures", str(folder), "--sets", "mnist", "--depths", "2",
        "--methods", "lsh", "all", "--shares", "0.1", "--width", "60", "--n-train", "150",
        "--n-test", "100", "--epochs", "2", *more,
    ])


def test_results_survive(paper, tmp_path):
    runs = paper("_runs")
    path = tmp_path / "results.csv"
    results = runs.Results(path, ("name", "share"), ("score",))
    for name in "abc":
        results.append({"name": name, "share": 0.1}, {"score": 1, **runs.context()})
    torn = path.read_bytes()[:-5]  # as if the machine had stopped in the last line
    path.write_bytes(torn)
    again = runs.Results(path, ("name", "share"), ("score",))
    assert [line["name"] for line in again.lines.values()] == ["a", "b"]
    assert {"name": "b", "share": 0.1} in again
    assert {"name": "b", "share": 0.2} not in again
    again.append({"name": "c, again", "share": 0.1}, {"score": 2})
    assert [line["score"] for line in runs.read(path)] == ["1", "1", "2"]
    with pytest.raises(SystemExit):
        runs.Results(path, ("another", "share"), ("score",))


def test_sustainability(paper, tmp_path, capsys, monkeypatch):
    module = paper("sustainability")
    first = module.measured(options(module, tmp_path))
    assert len(first.lines) == 2
    for line in first.lines.values():
        assert float(line["accuracy"]) > 0.3
        assert len(line["accuracies"].split()) == 2
        assert len(line["recall"].split()) == (2 if line["method"] == "lsh" else 0)
        assert float(line["multiplications"]) > 0
    monkeypatch.setattr(module, "trained", None)  # nothing is run again
    again = module.measured(options(module, tmp_path, "--budget-minutes", "0"))
    assert again.lines == first.lines
    assert "0 of 2 done before" in capsys.readouterr().out


@pytest.mark.parametrize(("method", "selection", "threshold", "n_whitened", "average"), [
    ("lsh", "lsh", "hard", 0, False),
    ("lsh_soft", "lsh", "soft", 0, False),
    ("winner_take_all_soft_whitened", "winner_take_all", "soft", "auto", False),
    ("all_whitened", "all", "hard", "auto", False),
    ("lsh_soft_averaged", "lsh", "soft", 0, True),
    ("all_whitened_averaged", "all", "hard", "auto", True),
])
def test_methods_are_named_by_what_they_do(
    paper, method, selection, threshold, n_whitened, average
):
    networks = paper("_networks")
    clf = networks.network({
        "method": method, "width": 60, "depth": 1, "share": 0.1, "solver": "rowwise_adagrad",
        "learning_rate": 0.5, "seed": 0,
    })
    assert (clf.selection, clf.active_threshold, clf.n_whitened, clf.average) == (
        selection, threshold, n_whitened, average
    )
    assert networks.is_standard(method) == (selection == "all")


def test_results_do_not_depend_on_threads(paper, tmp_path):
    module = paper("sustainability")
    one, two = (
        module.measured(options(module, tmp_path / threads, "--threads", threads))
        for threads in ("1", "2")
    )
    for line, other in zip(one.lines.values(), two.lines.values(), strict=True):
        assert line["accuracies"] == other["accuracies"]
        assert line["learning_rate"] == other["learning_rate"]


def test_the_mean_of_weights_is_measured_once(paper, tmp_path):
    module = paper("sustainability")
    methods = "lsh_soft_averaged", "all_averaged"
    found = module.measured(options(module, tmp_path, "--methods", *methods)).lines.values()
    assert [line["method"] for line in found] == ["all_averaged", "lsh_soft_averaged"]
    for line in found:
        assert float(line["accuracy"]) > 0.3
        assert line["accuracies"] and line["best_epoch"] == ""
        assert len(line["seconds_by_epoch"].split()) == 2


def test_budget(paper, tmp_path, capsys):
    runs = paper("_runs")
    results = runs.Results(tmp_path / "results.csv", ("n",), ("square",))
    configs = [{"n": n} for n in range(3)]
    args = types.SimpleNamespace(processes=1, deadline=0.0)
    assert not runs.execute(results, configs, lambda c: {"square": c["n"] ** 2}, args)
    args.deadline = float("inf")
    assert runs.execute(results, configs, lambda c: {"square": c["n"] ** 2}, args)
    assert [line["square"] for line in results.lines.values()] == ["0", "1", "4"]
    assert "with 3 left" in capsys.readouterr().out


def test_ctrl_c_keeps_what_is_finished(paper, tmp_path):
    runs = paper("_runs")

    def run(config):
        if config["n"] == 2:
            raise KeyboardInterrupt
        return {"square": config["n"] ** 2}

    results = runs.Results(tmp_path / "results.csv", ("n",), ("square",))
    args = types.SimpleNamespace(processes=1, deadline=float("inf"))
    with pytest.raises(SystemExit, match="finished runs are kept, the same command goes on"):
        runs.execute(results, [{"n": n} for n in range(4)], run, args)
    assert [line["square"] for line in runs.read(results.path)] == ["0", "1"]


@pytest.mark.parametrize(("script", "argument", "said"), [
    ("sustainability", "--epochs 0", "0 is not positive"),
    ("sustainability", "--n-train -5", "-5 is not positive"),
    ("sustainability", "--processes 0", "0 is not positive"),
    ("sustainability", "--threads 0", "0 is not positive"),
    ("sustainability", "--seeds -1", "-1 is negative"),
    ("sustainability", "--shares 0", "0 is not above 0 and at most 1"),
    ("sustainability", "--shares 1.5", "1.5 is not above 0 and at most 1"),
    ("sustainability", "--methods lhs", "'lhs' is none of all, dropout,"),
    ("sustainability", "--methods lsh_averaged_soft", "_soft, _whitened and _averaged, in this"),
    ("sustainability", "--solvers adam", "choose from 'rowwise_adagrad',"),
    ("searches", "--width 0", "0 is not positive"),
    ("convergence", "--workers 0", "0 is not positive"),
    ("infinite_mnist", "--chunk 0", "0 is not positive"),
    ("scalability", "--widths 0", "0 is not positive"),
    ("scalability", "--epochs 1", "only epochs after the first are timed"),
    ("energy", "--n-train 1000", "instructions are counted on 3000 rows"),
    ("claims", "--epochs 3", "unrecognized arguments"),
    ("tables", "--epochs 3", "unrecognized arguments"),
])
def test_what_means_nothing_is_refused(paper, tmp_path, capsys, script, argument, said):
    with pytest.raises(SystemExit) as refusal:
        paper(script).main([*argument.split(), "--results", str(tmp_path)])
    assert refusal.value.code == 2
    assert said in capsys.readouterr().err


def test_trials_are_left_out(paper):
    fullest = paper("_runs").fullest
    full = {"set": "mnist", "width": "1000", "n_test": "10000", "rows": "60000", "epochs": "8"}
    trials = [full | {"width": "4000"}, full | {"n_test": "100", "epochs": "9"},
              full | {"rows": "70000", "width": "60"}, full | {"rows": "500", "epochs": "20"},
              full | {"epochs": "7"}]
    assert fullest([*trials, full]) == [full]
    assert fullest(trials[:1]) == []
    assert fullest([*trials, full], 60) == [trials[2]]
    assert fullest([trials[0], full], None) == [trials[0], full]
    assert fullest([*trials, full], n_test=100) == [trials[1]]
    # Where there are no such columns.
    short = {"set": "mnist", "width": "1000", "n_train": "20000"}
    assert fullest([short, short | {"n_train": "100"}]) == [short]


def test_trials_support_no_claim(paper, tmp_path):
    columns = "set,method,depth,width,rows,examples,accuracy,training_seconds"
    lines = f"{columns}\nmnist,all,2,60,1000,1000,0.5,3\n"
    (tmp_path / "infinite_mnist.csv").write_text(lines)
    assert paper("claims").long_stream(tmp_path) is None
    (tmp_path / "infinite_mnist.csv").write_text(lines.replace(",60,", ",1000,"))
    assert paper("claims").long_stream(tmp_path).startswith("all, 2 hidden layers: 50.00 %")


def test_figures_and_claims(paper, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    module = paper("sustainability")
    module.plot(list(module.measured(options(module, tmp_path)).lines.values()),
                options(module, tmp_path))
    assert (tmp_path / "sustainability_2_hidden.png").stat().st_size > 10_000
    lines = paper("claims").table(tmp_path)
    assert {line["ours"] for line in lines} == {"not run"}  # trials support no claim


def test_documents_say_what_is_recorded(paper):
    """The tables that the documentation includes are those of the CSV files beside them."""
    results = PAPER / "results"
    claims, tables = paper("claims"), paper("tables")
    found = claims.rest(claims.table(results), claims.data_sets(results))
    assert found == (results / "claims.rst").read_text()
    for name, text in tables.texts(results).items():
        assert text == (results / "tables" / f"{name}.rst").read_text()


def test_tables_of_nothing(paper, tmp_path):
    """Not run is said, not hidden; and means are over the seeds that both sides have."""
    tables = paper("tables")
    tables.main(["--results", str(tmp_path)])
    for name in tables.texts(tmp_path):
        assert " 0." not in (tmp_path / "tables" / f"{name}.rst").read_text()
    ours, theirs = {"0": 0.5, "1": 0.7, "2": 0.1}, {"0": 0.4, "1": 0.4}
    assert tables.difference(ours, theirs) == ("+20.00", "10.00", "2")
    assert tables.difference({"0": 0.5}, theirs) == ("+10.00", "..", "1")


def test_simple_table(paper):
    table = paper("tables").simple_table(
        ("a", "b", "c"), [("long", "1", ".."), ("..", "22", "")], (("..", 1), ("wide title", 2)),
    )
    assert table.splitlines() == [
        "====  ==  ======",
        "..    wide title",
        "----  ----------",
        "a     b   c",
        "====  ==  ======",
        "long  1   ..",
        "..    22",
        "====  ==  ======",
    ]


def test_searches(paper, tmp_path, capsys):
    """Every way to search is trained, with the rates found for hashing and the dense network."""
    pytest.importorskip("matplotlib")
    module = paper("searches")
    module.main([
        "--results", str(tmp_path), "--figures", str(tmp_path), "--depths", "2", "--shares", "0.1",
        "--width", "60", "--n-train", "150", "--n-test", "100", "--epochs", "2",
    ])
    lines, figure = paper("_runs").read(tmp_path / "searches.csv"), tmp_path / "searches.png"
    assert [line["search"] for line in lines] == list(module.SEARCHES)
    assert all(float(line["accuracy"]) > 0.05 for line in lines)
    assert figure.stat().st_size > 5_000
    figure.write_text("as it was")
    module.main(["--results", str(tmp_path), "--figures", str(tmp_path), "--plot-only"])
    assert "no run fits these options: searches.png" in capsys.readouterr().out
    assert figure.read_text() == "as it was"


@pytest.mark.parametrize(("examples", "seen"), [(250, "100 200 250"), (60, "60")])
def test_the_stream_ends_with_the_last_example(paper, monkeypatch, examples, seen):
    module, data = paper("infinite_mnist"), load("mnist")

    class Stream:
        def __init__(self, images, labels, seed):
            pass

        def batch(self, n):
            return data.X_train[:n], data.y_train[:n]

    monkeypatch.setattr(module, "InfiniteMNIST", Stream)
    found = module.run({
        "set": "mnist", "method": "all", "depth": 1, "share": 1.0, "seed": 0,
        "solver": "rowwise_adagrad", "learning_rate": 0.15, "width": 60, "examples": examples,
        "chunk": 100, "n_test": 100,
    })
    assert found["seen"] == seen and found["accuracy"] > 0.2


def test_dead_nodes_are_told_by_name(paper):
    """Nodes change their places while a network is trained."""
    pytest.importorskip("matplotlib")
    layer = {"used": np.array([1, 0, 0, 1]), "nodes": np.array([2, 0, 1, 3])}
    assert paper("dead_nodes").used_by_name(layer).tolist() == [False, False, True, True]
    del layer["nodes"]
    assert paper("dead_nodes").used_by_name(layer).tolist() == [True, False, False, True]


def test_overflowing_outputs_score_nothing(paper):
    X, y = load_digits(return_X_y=True)
    clf = LSHMLPClassifier((60,), max_iter=1, random_state=0).fit(X / 16, y)
    scored = paper("_networks").scored
    assert scored(clf, X / 16, y) == clf.score(X / 16, y) > 0.5
    clf.coefs_[1][:] = 1e30
    clf.coefs_[0][:, ::2] = 1e30
    assert scored(clf, X / 16, y) == 0
    with pytest.raises(ValueError, match="features"):
        scored(clf, X[:, :3], y)


def test_networks_that_search_in_another_way_keep_their_weights(paper):
    """As selection_cost.py and theory.py compare ways to search."""
    data = load("digits", 400, 100)
    clf = LSHMLPClassifier((120,), active_fraction=20, max_iter=2, tol=0, random_state=0)
    clf.fit(data.X_train, data.y_train)
    searching = paper("selection_cost").searching
    for search in ("scan", "cells", "exact"):
        other = searching(clf, data, search)
        for one, same in zip(other.coefs_, clf.coefs_, strict=True):
            np.testing.assert_array_equal(one, same)
        assert other.score(data.X_test, data.y_test) > 0.7


@pytest.mark.parametrize(("folds", "rate", "lines"), [(0, 0.03, 5), (3, 0.01, 10)])
def test_rates_that_are_close_are_judged_again(paper, tmp_path, folds, rate, lines):
    """The best after few epochs is at the end, and goes past it; the best of all lies within."""
    rates, sustainability = paper("_rates"), paper("sustainability")
    early = {0.001: 0.5, 0.003: 0.6, 0.01: 0.7, 0.03: 0.71, 0.1: 0.6}
    late = {0.01: (0.7, 0.75, 0.75), 0.03: (0.72, 0.71, 0.71)}
    args = options(sustainability, tmp_path, "--folds", str(folds), "--solvers", "adagrad",
                   "--epochs", "20")
    config = sustainability.configurations(args)[0]
    search = rates.Rates(args)
    while True:
        missing = [c for c in search.candidates(search.problem(config)) if c not in search.results]
        if not missing:
            break
        for candidate in missing:
            tried, fold = candidate["learning_rate"], candidate["fold"]
            accuracy = late[tried][fold] if candidate["epochs"] == 20 else early[tried]
            search.results.append(candidate, {"held_out_accuracy": accuracy})
    assert search.best(config) == rate
    assert len(search.results.lines) == lines


def test_rates_are_judged_on_what_they_were_not_trained_on(paper, monkeypatch):
    rates, trained, held_out = paper("_rates"), [], []

    def training(clf, X, y, epochs):
        trained.append((X, epochs))
        return [(1, True)]

    def scored(clf, X, y):
        held_out.append(X)
        return 0.5

    monkeypatch.setattr(rates, "training", training)
    monkeypatch.setattr(rates, "scored", scored)
    for fold in range(5):
        rates.judged({"set": "mnist", "method": "all", "depth": 1, "share": 1.0, "width": 60,
                      "solver": "adagrad", "batch": 32, "rows": 153, "epochs": 7 + fold,
                      "fold": fold, "learning_rate": 0.01})
    X = load("mnist", 153).X_train
    np.testing.assert_array_equal(np.vstack(held_out[::-1]), X)  # the last rows come first
    for fold, (rest, epochs) in enumerate(trained):
        assert epochs == 7 + fold
        both = np.vstack([rest, held_out[fold]])
        np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(X, axis=0))
