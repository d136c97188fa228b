"""How long calls into the engine last, and in which way threads make them."""

import pytest
from problems import digits, quick, same_model

from sklearn_lsh._pace import (
    CALL_SECONDS,
    LONGEST_REST,
    SHORTEST_REST,
    TELLING_SECONDS,
    Crew,
    Pace,
    Way,
)
from sklearn_lsh.core.engine import OPENMP, Engine

X, Y = digits()


def speeds(**by_way):
    """Examples a second by the number of threads, as keyword t1, t2, ..., or r2, ... in relay."""
    return {Way(int(name[1:]), name[0] == "r"): speed for name, speed in by_way.items()}


def work(crew, speed, n_calls):
    """Calls at these speeds; in which way each was made."""
    ways = []
    for _ in range(n_calls):
        ways.append(crew.way)
        crew.note(round(speed[crew.way] * CALL_SECONDS), CALL_SECONDS)
    return ways


def test_threads_that_help_stay():
    """Others are tried now and then, ever more rarely."""
    crew = Crew(2)
    ways = work(crew, speeds(t1=5e4, t2=8e4), 600)
    trials = [at for at, way in enumerate(ways) if way == Way(1)]
    gaps = [after - before for before, after in zip(trials, trials[1:], strict=False)]
    assert trials[0] == SHORTEST_REST + 1
    assert gaps == sorted(gaps)
    assert max(gaps) == LONGEST_REST + 2
    assert len(trials) < 15
    assert crew.usual == Way(2)


@pytest.mark.parametrize("threads, speed, best", [
    ((2,), speeds(t1=5e4, t2=3e4), Way(1)),
    ((2,), speeds(t1=5e4, t2=5.2e4), Way(2)),  # hardly worth a change
    ((8,), speeds(t1=5e4, t2=8e4, t4=6e4, t8=3e4), Way(2)),
    ((6,), speeds(t1=1e4, t2=2e4, t3=3e4, t6=2e4), Way(3)),
    ((3,), speeds(t1=4e4, t2=3e4, t3=2e4), Way(1)),
    ((2, 2), speeds(t1=5e4, t2=3e4, r2=8e4), Way(2, True)),
    ((2, 2), speeds(t1=5e4, t2=9e4, r2=8e4), Way(2)),
    ((2, 2), speeds(t1=5e4, t2=3e4, r2=4e4), Way(1)),
    ((8, 3), speeds(t1=2e4, t2=3e4, t4=5e4, t8=7e4, r3=6e4), Way(8)),
    ((8, 3), speeds(t1=2e4, t2=3e4, t4=4e4, t8=3e4, r3=6e4), Way(3, True)),
])
def test_ways_that_hinder_are_left(threads, speed, best):
    crew = Crew(*threads)
    work(crew, speed, 50)
    assert crew.usual == best


def test_ways_come_back():
    crew = Crew(4)
    work(crew, speeds(t1=5e4, t2=4e4, t4=3e4), 100)
    assert crew.usual == Way(1)
    work(crew, speeds(t1=5e4, t2=8e4, t4=12e4), 4 * LONGEST_REST)
    assert crew.usual == Way(4)
    crew = Crew(4, 2)
    work(crew, speeds(t1=2e4, t2=3e4, t4=3e4, r2=4e4), 100)
    assert crew.usual == Way(2, True)
    work(crew, speeds(t1=2e4, t2=4e4, t4=8e4, r2=4e4), 4 * LONGEST_REST)
    assert crew.usual == Way(4)


def test_layers_are_divided_at_first_where_there_is_one_for_each():
    assert Crew(2, 2).way == Way(2, True)
    assert Crew(3, 2).way == Way(3)
    assert Crew(1, 1).way == Way(1)


def test_a_loss_of_speed_calls_for_a_trial():
    crew = Crew(2)
    work(crew, speeds(t1=5e4, t2=8e4), 300)
    ways = work(crew, speeds(t1=5e4, t2=3e4), 6)
    assert ways[:3] == [Way(2), Way(1), Way(1)]


@pytest.mark.parametrize("speed", [1e3, 3e4, 1e6])
@pytest.mark.parametrize("other", [0.5, 1, 3])
@pytest.mark.parametrize("cold", [1, 50])
def test_calls_grow_and_trials_end(monkeypatch, cold, speed, other):
    """However slow the first calls, or short a trial: calls get their length, trials stay rare."""
    clock, crew, pace, ways = [0.0], Crew(2, 2), Pace(32), []
    monkeypatch.setattr("sklearn_lsh._pace.time.perf_counter", lambda: clock[0])
    done = 0

    def call(start, stop):
        fast = speed * (1 if crew.way.by_layer else other)
        clock[0] += (stop - start) / fast * (cold if len(ways) <= SHORTEST_REST + 1 else 1)

    for _ in range(500):
        start = done
        ways.append(crew.way)
        done, _ = pace.call(call, start, 10**12, crew.tries)
        crew.note(done - start, pace.seconds)
    best = max(speed, speed * other)
    assert pace.size == 32 or CALL_SECONDS / 2 <= pace.size / best <= 2 * CALL_SECONDS
    assert other == 1 or crew.usual.by_layer == (other < 1)
    assert ways[-100:].count(crew.usual) > 90


def test_short_calls_and_one_thread_say_nothing():
    crew = Crew(2)
    for _ in range(100):
        crew.note(1000, TELLING_SECONDS / 2)
    assert crew.way == Way(2)
    assert set(work(Crew(1), speeds(t1=5e4), 100)) == {Way(1)}


@pytest.mark.parametrize("lock_free", [False, True])
def test_training_asks_its_crew(monkeypatch, lock_free):
    """From fit to partial_fit; where threads wait, the model is that of one thread."""
    if not OPENMP:
        pytest.skip("built without OpenMP")
    asked, at_work = [], []
    ways = [Way(3), Way(1), Way(2)] if lock_free else [Way(3, True), Way(1), Way(2, True), Way(3)]
    divided = {True: "layers", False: "batches" if lock_free else "examples"}

    class Watched(Engine):
        def train(self, *args):
            at_work.append(args[-2:])
            super().train(*args)

    def note(crew, n_examples, seconds):
        asked.append((crew, n_examples))
        if crew.most > 1:
            crew.way = ways[len(asked) % len(ways)]

    monkeypatch.setattr("sklearn_lsh._network.Engine", Watched)
    monkeypatch.setattr(Crew, "note", note)
    estimator = quick((120, 90), n_jobs=3, lock_free=lock_free, max_iter=2).fit(X, Y)
    estimator.partial_fit(X, Y)
    assert len({crew for crew, _ in asked}) == 1
    assert sum(n for _, n in asked) == 3 * len(X)
    made = [ways[k % len(ways)] for k in range(len(asked))]
    assert at_work == [(divided[way.by_layer], way.n_threads) for way in made]
    assert set(made) == set(ways)
    if not lock_free:
        other = quick((120, 90), max_iter=2).fit(X, Y)
        assert same_model(estimator, other.partial_fit(X, Y))
