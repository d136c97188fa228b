"""A trained model served from other processes, all of which share one copy of its weights.

``joblib.dump`` writes the arrays as they lie in memory; workers map the file read-only, so
a machine holds the weights once, however many workers it runs. Each worker reads a JSON
list of features per line and answers with the class and its probability. It asks
``predictor``, which does without the validation that takes most of the time of a single row.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from sklearn_lsh import LSHMLPClassifier

FAST = os.environ.get("SKLEARN_LSH_EXAMPLE_FAST") == "1"


def serve(path):
    """The worker: answer every line of standard input."""
    clf = joblib.load(path, mmap_mode="r")
    probabilities_of = clf.predictor()
    for line in sys.stdin:
        probabilities = probabilities_of(np.array([json.loads(line)], np.float64))[0]
        best = probabilities.argmax()
        answer = {"class": clf.classes_[best].item(), "probability": probabilities[best]}
        print(json.dumps(answer), flush=True)


def ask(worker, row):
    """One question, one answer."""
    worker.stdin.write(json.dumps(row.tolist()) + "\n")
    worker.stdin.flush()
    return json.loads(worker.stdout.readline())


def main():
    X, y = load_digits(return_X_y=True)
    X /= 16
    clf = LSHMLPClassifier((1000,), max_iter=3 if FAST else 15, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf.fit(X[:1500], y[:1500])

    n_workers = 1 if FAST else 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.joblib"
        joblib.dump(clf, path)
        workers = [
            subprocess.Popen(
                [sys.executable, __file__, "--serve", str(path)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for _ in range(n_workers)
        ]
        rows = X[1500:1520]
        answers = [ask(workers[i % n_workers], row) for i, row in enumerate(rows)]
        for worker in workers:
            worker.stdin.close()  # the end of its input ends it
            worker.wait(timeout=30)
            worker.stdout.close()

    expected = clf.predict_proba(rows)
    assert [a["class"] for a in answers] == clf.predict(rows).tolist()
    assert np.array_equal([a["probability"] for a in answers], expected.max(axis=1))
    print(f"{len(answers)} answers from {n_workers} worker(s), all as in this process; the first:")
    print(answers[0])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
