"""How many threads are used: as many as asked for, no more than allowed."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from joblib import cpu_count
from problems import digits, quick, same_model
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from threadpoolctl import threadpool_info, threadpool_limits

import sklearn_lsh._threads
from sklearn_lsh import LSHMLPClassifier
from sklearn_lsh._threads import one_blas_thread, resolve_threads
from sklearn_lsh._training import Trainer
from sklearn_lsh.core.engine import OPENMP, max_threads

X, Y = digits(200)
needs_openmp = pytest.mark.skipif(not OPENMP, reason="built without OpenMP")


class Counting(LSHMLPClassifier):
    """Remembers how many threads trained it."""

    def fit(self, X, y):
        super().fit(X, y)
        self.threads_ = self._n_threads()
        return self


def counting(n_jobs):
    return Counting((100,), active_fraction=20, max_iter=1, n_jobs=n_jobs, random_state=0)


@needs_openmp
@pytest.mark.parametrize(
    "n_jobs, limit, expected",
    [(None, 4, 1), (1, 4, 1), (3, 4, 3), (9, 4, 9), (-1, 4, 4), (-2, 4, 3), (3, 2, 2), (-1, 2, 2),
     (None, 1, 1), (-1, 1, 1), (5, 1, 1), (-1, 8, 4)],
)
def test_threads_of_four_processors(monkeypatch, n_jobs, limit, expected):
    """More than there are processors only where asked for and nothing is limited."""
    monkeypatch.setattr(sklearn_lsh._threads, "cpu_count", lambda: 4)
    jobs = {None: 1, -1: 4, -2: 3}
    monkeypatch.setattr(sklearn_lsh._threads, "effective_n_jobs", lambda n: jobs.get(n, n))
    monkeypatch.setattr(sklearn_lsh._threads, "max_threads", lambda: limit)
    assert resolve_threads(n_jobs) == expected


def test_one_thread_without_openmp(monkeypatch):
    monkeypatch.setattr(sklearn_lsh._threads, "OPENMP", False)
    assert resolve_threads(4) == 1


@needs_openmp
def test_the_limits_of_threadpoolctl_hold():
    before = max_threads()
    with threadpool_limits(1, user_api="openmp"):
        assert max_threads() == 1
        if cpu_count() > 1:
            assert counting(2).fit(X, Y).threads_ == 1
    assert max_threads() == before


@pytest.mark.skipif(cpu_count() < 2, reason="a limit of one thread looks like one processor")
@pytest.mark.parametrize("n_jobs", [-1, 4])
def test_workers_of_joblib_do_not_compete(n_jobs):
    """Two processes of a grid search together take no more threads than there are processors."""
    found = cross_validate(counting(n_jobs), X, Y, cv=2, n_jobs=2, return_estimator=True)
    assert max(e.threads_ for e in found["estimator"]) <= max(1, cpu_count() // 2)


def test_a_grid_search_finds_the_same_whatever_the_number_of_processes():
    grid = {"hidden_layer_sizes": [(100,), (80, 60)], "n_jobs": [None, -1]}
    scores = [
        GridSearchCV(clone(counting(None)), grid, cv=2, n_jobs=n).fit(X, Y).cv_results_
        for n in (None, 2)
    ]
    assert list(scores[0]["mean_test_score"]) == list(scores[1]["mean_test_score"])


@pytest.mark.parametrize("n_jobs, in_hand", [(1, 32), (2, 16), (3, 11), (40, 1)])
@pytest.mark.parametrize("lock_free", [True, False])
def test_threads_share_a_batch(monkeypatch, lock_free, n_jobs, in_hand):
    """Lock-free, too: no more examples are under way at once."""
    made = []
    monkeypatch.setattr(Trainer, "epoch", lambda self: made.append(self))
    monkeypatch.setattr(Trainer, "should_stop", lambda self: True)
    monkeypatch.setattr(LSHMLPClassifier, "_n_threads", lambda self: n_jobs)
    quick(lock_free=lock_free).fit(X, Y)
    (trainer,) = made
    assert len(trainer.workspaces) == n_jobs
    assert trainer.batch == (in_hand if lock_free else 32)
    assert trainer.network.shared == (lock_free and n_jobs > 1)


def test_lock_free_on_one_thread_is_no_other():
    assert same_model(quick(lock_free=True).fit(X, Y).set_params(lock_free=False),
                      quick().fit(X, Y))


def in_child(check):
    """What a check says in a forked child; None where it does not end."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(int(check()))
    status = os.waitpid(child, 0)[1]
    return bool(os.waitstatus_to_exitcode(status)) if os.WIFEXITED(status) else None


def forking(test):
    """Marks tests that fork: not everywhere possible, and warned of where threads are."""
    test = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")(test)
    return pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")(test)


@needs_openmp
@forking
def test_children_of_a_process_that_used_threads(monkeypatch):
    """A pool of threads is not there after a fork, and would be waited for."""
    monkeypatch.setattr(sklearn_lsh._threads, "max_threads", lambda: 2)
    estimator = quick(n_jobs=2).fit(X, Y)
    wanted = estimator.predict_proba(X)

    def works():
        same = np.array_equal(estimator.predict_proba(X), wanted)
        learns = np.isfinite(quick(n_jobs=2).fit(X, Y).loss_)
        return same and learns and estimator._n_threads() == 1

    assert in_child(works)
    assert estimator._n_threads() == 2
    monkeypatch.setitem(sklearn_lsh._threads._process, "used", False)
    assert in_child(lambda: estimator._n_threads() == 2)


# ---- the threads of BLAS --------------------------------------------------------------------


def blas_threads():
    return {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}


def test_one_blas_thread():
    with threadpool_limits(3):
        before, openmp = blas_threads(), max_threads()
        with one_blas_thread():
            assert blas_threads() <= {1} and max_threads() == 1
        with pytest.raises(KeyError), one_blas_thread():
            raise KeyError
        assert blas_threads() == before and max_threads() == openmp


def test_one_blas_thread_at_a_time():
    """In each thread; overlapping, the last would put back the limit that the first has set."""
    inside, most, openmp = [], [], []

    def enter(name):
        before = max_threads()
        with one_blas_thread():
            inside.append(name)
            time.sleep(0.01)
            most.append(len(inside))
            inside.remove(name)
        openmp.append(max_threads() == before)

    before = blas_threads()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(12)))
    assert most == [1] * 12 and all(openmp)
    assert blas_threads() == before


@forking
def test_a_thread_that_a_fork_leaves_behind():
    """It may be inside; the child is neither limited by it nor waits for it."""
    left, forked = Event(), Event()

    def stay():
        with one_blas_thread():
            left.set()
            forked.wait(60)

    def free():
        found = blas_threads()
        with one_blas_thread():
            return found == before

    with threadpool_limits(3), ThreadPoolExecutor(1) as pool:
        before = blas_threads()
        staying = pool.submit(stay)
        left.wait(60)
        assert in_child(free)
        forked.set()
        staying.result()
