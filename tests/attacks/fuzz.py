"""Schemathesis over the whole OpenAPI document of a live service, once open and once with keys.

    python -m tests.attacks.fuzz [--minutes 10] [--seed 1]

No answer may be a 500, have an undocumented status, content type or form, or take what the document forbids. Requests
are made from the examples, systematically from the schemas, at random, and in the order that the answers suggest. The
same seed makes the same requests. The exit status is 0 where nothing was found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from app.api.access import Scope
from app.api.keys import create_key
from tests.faults.service import REPOSITORY, Service

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
PHASES = ("examples", "coverage", "fuzzing", "stateful")
NOT_PROMISED = (
    # JSON Schema cannot say how fields go together: as many sigmas as lines, a file that holds what it should.
    "positive_data_acceptance",
    # DELETE cancels a job; how it ended can still be read.
    "use_after_free",
)


@dataclass(frozen=True)
class Effort:
    """How hard to try.

    Attributes:
        examples: random requests for each operation and turn.
        seconds: after which no further turn begins; None: one turn.
    """

    examples: int
    seconds: int | None = None
    phases: Sequence[str] = PHASES
    seed: int = 1


@contextmanager
def target(folder: Path, **variables: str) -> Iterator[Service]:
    """A service to be tried: small limits, so that they are met, and a copy of the models, which may be unloaded."""
    store = folder / "model_store"
    if not store.exists():
        shutil.copytree(REPOSITORY / "model_store", store)
    settings = {"model_store": str(store), "max_solve_seconds": "2", "job_workers": "2", "job_queue": "100000"}
    service = Service(folder, f"sqlite:///{folder}/jobs.sqlite3", **(settings | variables)).start()
    try:
        yield service
    finally:
        service.stop()
        service.http.close()


def fuzz(service: Service, effort: Effort, *, key: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run Schemathesis; its output says what was found, with a `curl` for each."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run"]
    command += [f"{service.http.base_url}/openapi.json".replace("//openapi", "/openapi"), "--checks", "all"]
    command += ["--exclude-checks", ",".join(NOT_PROMISED)]
    command += ["--phases", ",".join(effort.phases), "--max-examples", str(effort.examples)]
    command += ["--seed", str(effort.seed), "--no-color", "--header", "Prefer: respond-async"]
    command += [] if effort.seconds is None else ["--max-time", str(effort.seconds)]
    command += [] if key is None else ["--header", f"Authorization: Apikey {key}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def main() -> None:
    """Try a service without keys, then one with keys, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="for both services together")
    parser.add_argument("--seed", type=int, default=1, help="of the random requests")
    parser.add_argument("--examples", type=int, default=50, help="random requests for each operation and turn")
    options = parser.parse_args()
    effort = Effort(options.examples, int(options.minutes * 30), seed=options.seed)
    status = 0
    for closed in (False, True):
        with TemporaryDirectory(prefix="fuzz-") as folder:
            key, settings = admin_key(Path(folder)) if closed else (None, {})
            with target(Path(folder), **settings) as service:
                done = fuzz(service, effort, key=key)
        sys.stdout.write(done.stdout + done.stderr)
        status = status or done.returncode
    sys.exit(status)


def admin_key(folder: Path) -> tuple[str, dict[str, str]]:
    """Make a key that closes the service; give it with the settings of a service that knows it."""
    keys = folder / "keys.json"
    return create_key(keys, "fuzz", (Scope.ADMIN,))[0], {"keys_file": str(keys)}


if __name__ == "__main__":
    main()
