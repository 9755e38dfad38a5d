"""Boosting as plain arrays beside scikit-learn: time per call, size, and what the first answer costs.

    OMP_NUM_THREADS=1 python -m benchmarks.plain_boosting

A classifier of 5 classes (1,000 trees of 31 leaves) and a regressor (400 trees), 60 features. Times are those of
the processor, medians, both asked in turn in the same run: other work on the machine changes them little.
"""

from __future__ import annotations

import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from app.model_registry.plain import load_plain
from training.plain import export

ROWS = (1, 10, 100, 1000)
FIRST_ANSWER = """
import os, sys, time
import numpy as np
import app.model_registry.manifest
def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
memory, began = resident_mib(), time.perf_counter()
content = open(sys.argv[1], "rb").read()
if sys.argv[1].endswith(".npz"):
    from app.model_registry.plain import load_plain as load
else:
    from pickle import loads as load
load(content).predict(np.zeros((1, 60)))
spent = time.perf_counter() - began
print(f"{spent:.2f} s, {resident_mib() - memory:.0f} MiB")
"""


def fitted() -> dict[str, Any]:
    """The two estimators, trained on numbers drawn at random."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 60))
    number = np.digitize(x[:, :10].sum(1) + x[:, 3] * x[:, 7] + rng.normal(size=len(x)), [-3, -1, 1, 3])
    classifier = HistGradientBoostingClassifier(max_iter=200, early_stopping=False).fit(x, number)
    regressor = HistGradientBoostingRegressor(max_iter=400, early_stopping=False).fit(x, x[:, :5].sum(1) ** 2)
    return {"classifier": classifier, "regressor": regressor}


def medians_ms(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Processor time [ms] of each call."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            call()  # as in a burst of requests: the arrays are in the cache
            began = time.process_time()
            call()
            taken[name].append(1e3 * (time.process_time() - began))
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    """Print the comparison."""
    x = np.random.default_rng(1).normal(size=(max(ROWS), 60))
    for name, estimator in fitted().items():
        files = {"pickle": pickle.dumps(estimator), "npz": export(estimator, np.random.default_rng(0)).content}
        plain: Any = load_plain(files["npz"])
        ask = "predict_proba" if name == "classifier" else "predict"
        for rows in ROWS:
            ways = {"scikit-learn": estimator, "plain arrays": plain}
            calls = {way: partial(getattr(value, ask), x[:rows]) for way, value in ways.items()}
            found = medians_ms(calls, repeats=100 if rows < 100 else 15)
            print(name, f"{rows} rows:", ", ".join(f"{way} {ms:.2f} ms" for way, ms in found.items()))
        difference = np.max(np.abs(getattr(plain, ask)(x) - getattr(estimator, ask)(x)))
        print(name, "largest difference:", f"{difference:.1e}")
        for suffix, content in files.items():
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / f"estimator.{suffix}"
                file.write_bytes(content)
                command = [sys.executable, "-c", FIRST_ANSWER, str(file)]
                first = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            print(name, f"{suffix}: {len(content)} bytes, load and first answer {first}")


if __name__ == "__main__":
    main()
