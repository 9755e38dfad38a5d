"""What BLAS threads do to server processes that share the cores.

    python -m benchmarks.thread_settings [--processes 2] [--seconds 3]

As many processes as the machine has cores answer questions at the same time, as server processes under load do: once
with one BLAS thread in each, as `python -m app` sets it, and once with as many as BLAS takes by itself. Rounds
alternate. What one second of a core achieves tells more than a second by the clock where others use the machine too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping

from app.threads import ONE_THREAD
from benchmarks.load import REPOSITORY

ROUNDS = 5
WORK = """
import sys, time
from benchmarks.serving_arrays import pattern, waveforms
from app.aggregates.intake import prepare
from app.aggregates.measurement import Measurement
from app.aggregates.models import aggregate_model
from app.aggregates.predict import predict as count
from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
from app.settings import Settings
from app.waveform.models import waveform_model
from app.waveform.predict import Ask, predict
registry = Registry(ModelStore(Settings().model_store))
registry.refresh()
model, counter = waveform_model(registry.resolve("waveform-s2")), aggregate_model(registry.resolve("aggregates-count"))
ask, image, declared = Ask(waveforms(16)), pattern()[None], Measurement(radius_px=5.0)
work = {
    "16 waveforms": lambda: predict(ask, model),
    "a pattern": lambda: count(prepare(image, None, None, declared), counter),
}[sys.argv[1]]
work()
print("ready", flush=True)
sys.stdin.readline()
done, until, before = 0, time.perf_counter() + float(sys.argv[2]), time.process_time()
while time.perf_counter() < until:
    work()
    done += 1
print(done / float(sys.argv[2]), done / (time.process_time() - before), flush=True)
"""


def per_second(work: str, processes: int, seconds: float, environment: Mapping[str, str]) -> tuple[float, float]:
    """How often all processes together do the work in a second, and one of them in a second of a core."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, work, str(seconds)],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(processes)
    ]
    for process in running:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "ready":
            assert process.poll() is None, "a process did not start"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    rates = [[float(number) for number in process.communicate()[0].split()[-2:]] for process in running]
    return sum(rate for rate, _ in rates), statistics.mean(rate for _, rate in rates)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 2, help="at the same time")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    options = parser.parse_args()
    free = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
    settings = {"one": free | ONE_THREAD, "free": free}
    print(f"{options.processes} processes, median of {ROUNDS} rounds; times a second, and times a second of a core")
    for work in ("16 waveforms", "a pattern"):
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in settings}
        for _ in range(ROUNDS):
            for name, environment in settings.items():
                found[name].append(per_second(work, options.processes, options.seconds, environment))
        for name, rates in found.items():
            clock, core = (statistics.median(rate) for rate in zip(*rates, strict=True))
            print(f"{work:>14}, {name:>4} BLAS thread{'s' if name == 'free' else ''}: {clock:8.1f} {core:8.1f}")


if __name__ == "__main__":
    main()
