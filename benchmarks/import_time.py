"""Milliseconds that ``import sklearn_lsh`` adds to ``import sklearn.neural_network``."""

import statistics
import subprocess
import sys

RUNS = 15
TIMED = """
import time, {first}
started = time.perf_counter()
import sklearn_lsh
print(time.perf_counter() - started)
"""


def main():
    script = TIMED.format(first="sklearn.neural_network")
    command = [sys.executable, "-c", script]
    times = [
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(RUNS)
    ]
    print(f"import sklearn_lsh after sklearn.neural_network: {1000 * statistics.median(times):.1f}"
          f" ms (median of {RUNS}, {1000 * min(times):.1f} to {1000 * max(times):.1f})")


if __name__ == "__main__":
    main()
