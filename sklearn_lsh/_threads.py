"""How many threads a call may use: ours, and those of NumPy's and scikit-learn's libraries."""

import os
from contextlib import contextmanager
from threading import Lock

from joblib import cpu_count, effective_n_jobs
from threadpoolctl import ThreadpoolController

from .core.engine import OPENMP, max_threads

# Of this process: whether OpenMP's threads have been used, and were lost by a fork; who limits
# BLAS, and the limits that will be put back.
_process = {"used": False, "lost": False, "lock": Lock(), "blas": None}


def resolve_threads(n_jobs):
    """How many threads; more than there are processors only where nothing limits them."""
    threads = effective_n_jobs(n_jobs)
    if not OPENMP or threads == 1 or _process["lost"]:
        return 1
    # In joblib's workers, under threadpoolctl's limits or OMP_NUM_THREADS, OpenMP knows of less.
    limit = max_threads()
    # If there is room, no need to count processors, which may take longer than a prediction.
    if threads > limit and limit < cpu_count():
        threads = limit
    if threads > 1:
        _process["used"] = True
    return threads


@contextmanager
def one_blas_thread():
    """NumPy and scikit-learn limited to one thread, for one thread of the process at a time.

    BLAS has one limit for the whole process: of two threads that each set it and put back what
    they found, the second would find, and put back, the limit of the first.
    """
    with _process["lock"]:
        libraries = ThreadpoolController()
        with (
            libraries.limit(limits=1, user_api="openmp"),
            libraries.limit(limits=1, user_api="blas") as blas,
        ):
            _process["blas"] = blas
            try:
                yield
            finally:
                _process["blas"] = None


def _after_fork():
    """In the child no thread is there but the one that forked.

    OpenMP's are gone, and GNU's would be waited for for ever; joblib's workers are no children of
    this kind. Nor is a thread there that held the lock and will put BLAS's limits back.
    """
    blas = _process["blas"]
    _process.update(lost=_process["used"], lock=Lock(), blas=None)
    if blas is not None:
        blas.restore_original_limits()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
