"""What the experiments share: command line, results that survive a restart, progress.

A run is one line of a CSV file. Its configuration, a flat dict of names and numbers, is the
key: a run whose line is there is never run again. Lists go into one cell, separated by spaces.
"""

import argparse
import csv
import io
import os
import platform
import signal
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from datetime import UTC, datetime
from functools import cache
from multiprocessing import active_children, get_context
from pathlib import Path

from threadpoolctl import threadpool_limits

import sklearn_lsh
from sklearn_lsh.core.optimizers import SOLVERS
from sklearn_lsh.core.selection import SELECTIONS

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
FIGURES = HERE.parent.parent / "doc" / "figures"
SETS = ("mnist", "norb", "convex", "rectangles_image")
EPOCHS = {"mnist": 8, "norb": 8, "convex": 15, "rectangles_image": 10}
# Nodes of a hidden layer and test rows, unless told otherwise. Runs with others are trials.
WIDTH, N_TEST = 1000, 10_000
# Endings of methods, in this order: with soft thresholds; with the input whitened where that is
# worth it; and with the mean of the weights after all epochs. The library's default has the first
# two.
SOFT, WHITENED, AVERAGED = "_soft", "_whitened", "_averaged"
METHODS_HELP = (f"{', '.join(SELECTIONS)}, each alone or with the endings "
                f"{SOFT}, {WHITENED} and {AVERAGED}, in this order")
# Columns of every line that say where and when it was made.
CONTEXT = ("processes", "cores", "processor", "date", "version", "commit")


class Results:
    """The lines of a CSV file, each found again by its configuration.

    Parameters
    ----------
    path : Path
        Need not exist.
    key : sequence of str
        Columns of the configuration.
    found : sequence of str
        Columns of the outcome.
    """

    def __init__(self, path, key, found):
        self.path, self.key = Path(path), tuple(key)
        self.columns = [*key, *found, *CONTEXT]
        self.lines = {self._key(line): line for line in read(self.path, self.columns)}

    def __contains__(self, config):
        return self._key(config) in self.lines

    def __getitem__(self, config):
        return self.lines[self._key(config)]

    def _key(self, config):
        return tuple(str(config[name]) for name in self.key)

    def append(self, config, found):
        """Keep a finished run; it is on the disk when this returns."""
        line = {name: str(value) for name, value in (config | found).items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b") as file:
            end = end_of_lines(file)
            file.truncate(end)
            text = io.StringIO()
            writer = csv.DictWriter(text, self.columns, lineterminator="\n")
            if end == 0:
                writer.writeheader()
            writer.writerow(line)
            file.write(text.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())
        self.lines[self._key(line)] = line


def end_of_lines(file):
    """Where the last whole line ends: a line torn by a crash counts as not written."""
    file.seek(0)
    return file.read().rfind(b"\n") + 1


def read(path, columns=None):
    """The whole lines of a CSV file as dicts of text; none if there is no file."""
    if not Path(path).exists():
        return []
    with open(path, "rb") as file:
        end = end_of_lines(file)
        file.seek(0)
        lines = csv.DictReader(io.StringIO(file.read(end).decode()))
    if columns and lines.fieldnames and lines.fieldnames != columns:
        sys.exit(f"{path} has other columns than this version writes: move it away.")
    return list(lines)


def fullest(lines, width=WIDTH, n_test=N_TEST):
    """The lines that figures, tables and claims use; others are trials.

    Those of layers of this width, tested on so many rows, where there is such a column; None
    stands for any. Of these, of each data set, the ones with the most training rows, and then the
    most epochs.
    """
    def size(line):
        return int(line.get("rows", line.get("n_train"))), int(line.get("epochs", 1))

    def fits(line, column, number):
        return number is None or int(line.get(column, number)) == number

    lines = [line for line in lines
             if fits(line, "width", width) and fits(line, "n_test", n_test)]
    most = {}
    for line in lines:
        most[line["set"]] = max(size(line), most.get(line["set"], (0, 0)))
    return [line for line in lines if size(line) == most[line["set"]]]


def to_draw(lines, args, figure):
    """The fullest lines that fit --width and --n-test; says so if there are none.

    A command without one of these options has nothing of that kind to choose from.
    """
    chosen = fullest(lines, vars(args).get("width"), vars(args).get("n_test"))
    if not chosen:
        print(f"no run fits these options: {figure} is left as it is")
    return chosen


def spaced(values, digits=4):
    """Numbers in one cell."""
    return " ".join(f"{value:.{digits}f}" for value in values)


def numbers(cell):
    """The numbers of one cell."""
    return [float(value) for value in cell.split()]


# ---- running -----------------------------------------------------------------------------


def execute(results, configs, run, args, cost=lambda config: 1):
    """Run what ``results`` lacks, ``args.processes`` at a time, keeping each outcome at once.

    Parameters
    ----------
    results : Results
    configs : list of dict
    run : callable
        A function of a module: configuration to outcome, a dict.
    args : Namespace
        Of ``parse``.
    cost : callable
        What a configuration takes, in any unit; for the estimate of the time left.

    Returns
    -------
    complete : bool
        False where ``--budget-minutes`` ended it.
    """
    todo = [config for config in configs if config not in results]
    print(f"{results.path.name}: {len(configs) - len(todo)} of {len(configs)} done before")
    progress = Progress(todo, cost)
    try:
        for config, found in outcomes(run, todo, args):
            results.append(config, found | context() | {"processes": args.processes})
            progress.step(config, found)
    except KeyboardInterrupt:
        sys.exit("stopped; finished runs are kept, the same command goes on")
    if progress.done < len(todo):
        print(f"the time is over; the same command goes on, with {len(todo) - progress.done} left")
    return progress.done == len(todo)


def outcomes(run, todo, args):
    """Pairs of configuration and outcome as they come; none is started after the deadline."""
    if args.processes == 1:
        for config in todo:
            if time.monotonic() > args.deadline:
                return
            yield config, run(config)
        return
    waiting, running = iter(todo), {}
    with ProcessPoolExecutor(
        args.processes, mp_context=get_context("spawn"), initializer=prepare,
        initargs=(args.threads,),
    ) as pool:
        while True:
            while len(running) < args.processes and time.monotonic() < args.deadline:
                config = next(waiting, None)
                if config is None:
                    break
                running[pool.submit(run, config)] = config
            if not running:
                return
            for future in finished(running):
                yield running.pop(future), future.result()


def prepare(threads):
    """Of a process for runs: Ctrl-C ends it without a word, the parent speaks for all."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threadpool_limits(threads)


def finished(running):
    """Futures that are done, at least one; on Ctrl-C the processes end, or the pool would wait."""
    try:
        return wait(running, return_when=FIRST_COMPLETED).done
    except KeyboardInterrupt:
        for process in active_children():
            process.terminate()
        raise


class Progress:
    """A line for every run that ends, with what remains."""

    def __init__(self, todo, cost):
        self.todo, self.cost = len(todo), cost
        self.total = sum(map(cost, todo))
        self.done, self.spent = 0, 0
        self.started = time.monotonic()

    def step(self, config, found):
        self.done += 1
        self.spent += self.cost(config)
        share = self.spent / self.total
        passed = time.monotonic() - self.started
        bar = ("#" * round(20 * share)).ljust(20, ".")
        what = " ".join(str(value) for value in config.values())
        outcome = next(iter(found.items()))
        print(f"[{bar}] {self.done}/{self.todo}, {clock(passed)} passed, about "
              f"{clock(passed * (1 - share) / share)} left | {what}: "
              f"{outcome[0]} {outcome[1]}", flush=True)


def clock(seconds):
    """h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


@cache
def context():
    """Machine, date and version; of the day the process began."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"],
        cwd=HERE, capture_output=True, text=True, check=False,
    ) if (HERE.parent.parent / ".git").exists() else None
    return {
        "cores": cores(),
        "processor": processor(),
        "date": datetime.now(UTC).date().isoformat(),
        "version": sklearn_lsh.__version__,
        "commit": git.stdout.strip() if git else "",
    }


def cores():
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def processor():
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines()
             if line.startswith("model name")] if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


# ---- the command line --------------------------------------------------------------------


def parts(method):
    """A method's selection, and whether it ends in SOFT, WHITENED and AVERAGED."""
    unaveraged = method.removesuffix(AVERAGED)
    plain = unaveraged.removesuffix(WHITENED)
    selection = plain.removesuffix(SOFT)
    return selection, selection != plain, plain != unaveraged, unaveraged != method


def known_method(text):
    """A method that there is, for argparse."""
    if parts(text)[0] not in SELECTIONS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {METHODS_HELP}")
    return text


def positive(text):
    """An int of at least 1, for argparse."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return int(text)


def random_seed(text):
    """An int of at least 0, for argparse."""
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return int(text)


def proportion(text):
    """A number above 0 and at most 1, for argparse."""
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return number


def results_option(doc):
    """A parser of the one option that all commands have."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV files")
    return parser


def parser(doc, **defaults):
    """The options that experiments share; ``defaults`` sets theirs, None leaves one out."""
    parser = results_option(doc)
    several = {"nargs": "+"}
    shared = {
        "sets": several | {"choices": SETS, "default": list(SETS), "help": "data sets"},
        "methods": several | {"type": known_method, "help": METHODS_HELP},
        "depths": several | {"type": positive, "help": "numbers of hidden layers"},
        "shares": several | {"type": proportion, "help": "active shares of a hidden layer"},
        "solvers": several | {"choices": SOLVERS, "default": ["rowwise_adagrad"]},
        "seeds": several | {"type": random_seed, "default": [0]},
        "epochs": {"type": positive,
                   "help": "passes over the training set; by default the set's own"},
        "width": {"type": positive, "default": WIDTH, "help": "nodes of a hidden layer"},
        "n_train": {"type": positive, "help": "training rows; all by default"},
        "n_test": {"type": positive, "default": N_TEST, "help": "test rows"},
    }
    for name, options in shared.items():
        if name in defaults:
            if defaults[name] is None:
                continue
            options["default"] = defaults[name]
        parser.add_argument("--" + name.replace("_", "-"), **options)
    parser.add_argument("--processes", type=positive, default=1, help="runs side by side")
    # Threads of a run, folds of the search for rates, in scripts that do not let them be chosen.
    parser.set_defaults(threads=1, folds=0)
    parser.add_argument("--budget-minutes", type=float, default=float("inf"),
                        help="start no further run after this time")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="folder of the PNG files")
    parser.add_argument("--plot-only", action="store_true", help="draw what the CSV file has")
    return parser


def parse(parser, argv=None):
    """The options, with ``deadline``, the end of the budget on the monotonic clock."""
    args = parser.parse_args(argv)
    args.deadline = time.monotonic() + 60 * args.budget_minutes
    return args
