"""How long calls into the engine last, and how many threads make them."""

import pytest
from problems import digits, quick, same_model

from sklearn_lsh._pace import CALL_SECONDS, LONGEST_REST, SHORTEST_REST, TELLING_SECONDS, Crew
from sklearn_lsh.core.engine import OPENMP, Engine

X, Y = digits()


def speeds(**by_threads):
    """Examples a second by the number of threads, as keyword t1, t2, ..."""
    return {int(name[1:]): speed for name, speed in by_threads.items()}


def work(crew, speed, n_calls):
    """Calls at these speeds; how many threads made each."""
    sizes = []
    for _ in range(n_calls):
        sizes.append(crew.size)
        crew.note(round(speed[crew.size] * CALL_SECONDS), CALL_SECONDS)
    return sizes


def test_threads_that_help_stay():
    """Others are tried now and then, ever more rarely."""
    crew = Crew(2)
    sizes = work(crew, speeds(t1=5e4, t2=8e4), 600)
    trials = [at for at, size in enumerate(sizes) if size == 1]
    gaps = [after - before for before, after in zip(trials, trials[1:], strict=False)]
    assert trials[0] == SHORTEST_REST + 1
    assert gaps == sorted(gaps)
    assert max(gaps) == LONGEST_REST + 2
    assert len(trials) < 15
    assert crew.usual == 2


@pytest.mark.parametrize("most, speed, best", [
    (2, speeds(t1=5e4, t2=3e4), 1),
    (2, speeds(t1=5e4, t2=5.2e4), 2),  # hardly worth a change
    (8, speeds(t1=5e4, t2=8e4, t4=6e4, t8=3e4), 2),
    (6, speeds(t1=1e4, t2=2e4, t3=3e4, t6=2e4), 3),
    (3, speeds(t1=4e4, t2=3e4, t3=2e4), 1),
])
def test_threads_that_hinder_leave(most, speed, best):
    crew = Crew(most)
    work(crew, speed, 50)
    assert crew.usual == best


def test_threads_come_back():
    crew = Crew(4)
    work(crew, speeds(t1=5e4, t2=4e4, t4=3e4), 100)
    assert crew.usual == 1
    work(crew, speeds(t1=5e4, t2=8e4, t4=12e4), 4 * LONGEST_REST)
    assert crew.usual == 4


def test_a_loss_of_speed_calls_for_a_trial():
    crew = Crew(2)
    work(crew, speeds(t1=5e4, t2=8e4), 300)
    sizes = work(crew, speeds(t1=5e4, t2=3e4), 6)
    assert sizes[:3] == [2, 1, 1]


def test_short_calls_and_one_thread_say_nothing():
    crew = Crew(2)
    for _ in range(100):
        crew.note(1000, TELLING_SECONDS / 2)
    assert crew.size == 2
    assert set(work(Crew(1), speeds(t1=5e4), 100)) == {1}


@pytest.mark.parametrize("lock_free", [False, True])
def test_training_asks_its_crew(monkeypatch, lock_free):
    """From fit to partial_fit; where threads wait, the model is that of one thread."""
    if not OPENMP:
        pytest.skip("built without OpenMP")
    asked, at_work = [], []

    class Watched(Engine):
        def train(self, *args):
            at_work.append(args[-1])
            super().train(*args)

    def note(crew, n_examples, seconds):
        asked.append((crew, n_examples))
        crew.size = 1 + len(asked) % crew.most

    monkeypatch.setattr("sklearn_lsh._network.Engine", Watched)
    monkeypatch.setattr(Crew, "note", note)
    estimator = quick((120, 90), n_jobs=3, lock_free=lock_free, max_iter=2).fit(X, Y)
    estimator.partial_fit(X, Y)
    assert len({crew for crew, _ in asked}) == 1
    assert sum(n for _, n in asked) == 3 * len(X)
    assert at_work == [3, *(1 + k % 3 for k in range(1, len(asked)))]
    assert set(at_work) == {1, 2, 3}
    if not lock_free:
        other = quick((120, 90), max_iter=2).fit(X, Y)
        assert same_model(estimator, other.partial_fit(X, Y))
