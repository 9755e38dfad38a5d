"""The service beside bare echoes and beside other model servers, all of them running the same networks, in one run.

    python -m benchmarks.serving                      everything, about 15 minutes
    python -m benchmarks.serving --quick              the same in half the time
    python -m benchmarks.serving --peers mlserver,pytriton --rows mlp-json --rounds 5

Peers come from PyPI at locked versions, each into its own environment under .tools/peers (about 1.7 GB the first time).
Every server listens during the whole run and is asked in turn; before anything is timed, its answer is held against
Keras to 1e-5. A peer that cannot be installed, started or asked is named at the end with its reason.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from app.logs import configure_logs
from benchmarks.serving.environments import NotInstalled, install
from benchmarks.serving.networks import FOLDER, Prepared, prepare
from benchmarks.serving.own_time import own_calls
from benchmarks.serving.processes import NotStarted, Running
from benchmarks.serving.report import record, text
from benchmarks.serving.rows import Row, make_rows
from benchmarks.serving.run import Contest, Findings, Plan, measure
from benchmarks.serving.servers import PEER_NAMES, SERVERS, Server, has_environment, start_server

OUT = FOLDER / "benchmark.json"
QUICK = Plan(clients=(1, 16, 64), rounds=2, seconds=1.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Install, start, check, measure and print; write the JSON."""
    asked = _parser().parse_args(arguments)
    plan = QUICK if asked.quick else Plan(tuple(asked.clients), asked.rounds, asked.seconds)
    began = time.monotonic()
    # Told to end, it ends its servers first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    configure_logs(level="warning", form="auto")
    prepared = prepare()
    rows = _chosen(make_rows(prepared), asked.rows)
    findings = contest(prepared, rows, _servers(asked.peers), plan, peer_workers=asked.peer_workers)
    print(f"\n{_machine()}\n")
    print(_who(findings))
    print(text(findings, rows))
    print(f"\nAll of it took {(time.monotonic() - began) / 60:.1f} minutes.")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps({"machine": _machine()} | record(findings, rows), indent=1) + "\n")
    print(f"Everything that was measured: {asked.out}")


def contest(
    prepared: Prepared, rows: Sequence[Row], servers: Sequence[Server], plan: Plan, *, peer_workers: int = 1
) -> Findings:
    """Start the servers, measure them and stop them."""
    unavailable: dict[tuple[str, str], str] = {}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serving-")))
        running: dict[str, tuple[Server, Running]] = {}
        for server in servers:
            if server.shares:
                running[server.name] = (server, running[server.shares][1])
                continue
            _say(f"starting {server.name}")
            try:
                if has_environment(server):
                    install(server.name)
                process = start_server(server, prepared, scratch, peer_workers=peer_workers)
            except (NotInstalled, NotStarted) as error:
                unavailable["", server.name] = f"{type(error).__name__}: {error}"
                _say(f"  {error}")
                continue
            stack.callback(process.stop)
            running[server.name] = (server, process)
        findings = measure(Contest(running, rows, own_calls(prepared), _say), plan)
    findings.failed |= unavailable
    return findings


def _servers(peers: str) -> list[Server]:
    names = [name for name in peers.split(",") if name]
    if unknown := sorted(set(names) - set(PEER_NAMES)):
        sys.exit(f"unknown peers: {', '.join(unknown)}; there are {', '.join(PEER_NAMES)}")
    return [server for server in SERVERS.values() if not server.is_peer or server.name in names]


def _chosen(rows: dict[str, Row], names: str) -> list[Row]:
    chosen = [name for name in names.split(",") if name] or list(rows)
    if unknown := sorted(set(chosen) - set(rows)):
        sys.exit(f"unknown rows: {', '.join(unknown)}; there are {', '.join(rows)}")
    return [rows[name] for name in chosen]


def _who(findings: Findings) -> str:
    lines = [f"  {name:<22}{SERVERS[name].runs}" for name in findings.memory_mib]
    return "\n".join(["Servers", *lines, ""])


def _machine() -> str:
    import os

    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peers", default=",".join(PEER_NAMES), help="peers to compare with, by commas; empty for none"
    )
    parser.add_argument("--rows", default="", help="rows to measure, by commas; all by default")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64], help="numbers of connections")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one measurement")
    parser.add_argument("--peer-workers", type=int, default=1, help="processes that answer, of each peer")
    parser.add_argument("--quick", action="store_true", help="two rounds of one second")
    parser.add_argument("--out", type=Path, default=OUT, help="where the JSON goes")
    return parser


if __name__ == "__main__":
    main()
