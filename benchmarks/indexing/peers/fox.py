"""FOX (V. Favre-Nicolin & R. Cerny, GPL): `quick_index` of pyobjcryst, Debian's package unpacked, not installed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from benchmarks.indexing.peers.base import PEERS_FOLDER, Peer

PACKAGE = "python3-pyobjcryst"
_PYTHON = "/usr/bin/python3"
_WORKER = Path(__file__).with_name("workers") / "quick_index.py"
# quick_index searches no triclinic cells, and by default no centred ones: `try_centered_lattice=True` leaves each
# system after P.
_PRIMITIVE = ("cP", "tP", "hR", "hP", "oP", "mP")
_EVERY = ("cP", "cI", "cF", "tP", "tI", "hR", "hP", "oP", "oC", "oI", "oF", "mP", "mC")


def set_up(*, every_centring: bool = True) -> Peer:
    """Download and unpack pyobjcryst and what it needs under .tools/peers/fox where it is not there yet.

    Raises:
        FileNotFoundError: this is no Debian (there is no apt-get).
        subprocess.CalledProcessError: the archive cannot be reached.
    """
    root = PEERS_FOLDER / "fox" / "root"
    if not (root / "complete").is_file():
        _unpack(root)
    version = (root / "complete").read_text().strip()
    return Peer(
        name=f"FOX (pyobjcryst {version})",
        command=(_PYTHON, str(_WORKER)),
        environment=_environment(root),
        options={"every_centring": every_centring},
        lattices=_EVERY if every_centring else _PRIMITIVE,
    )


def _unpack(root: Path) -> None:
    shutil.rmtree(root.parent, ignore_errors=True)
    root.mkdir(parents=True)
    plan = _output("apt-get", "install", "--simulate", "--no-install-recommends", PACKAGE)
    names = {line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")} | {PACKAGE}
    subprocess.run(["apt-get", "download", "-qq", *sorted(names)], cwd=root.parent, check=True, capture_output=True)
    for archive in sorted(root.parent.glob("*.deb")):
        subprocess.run(["dpkg", "-x", archive, root], check=True)
    version = _output("dpkg-deb", "-f", str(next(root.parent.glob(f"{PACKAGE}_*.deb"))), "Version")
    (root / "complete").write_text(version)


def _environment(root: Path) -> dict[str, str]:
    libraries = root / "usr" / "lib" / f"{platform.machine()}-linux-gnu"
    folders = [root / "usr" / "lib", libraries, libraries / "blas", libraries / "lapack"]
    before = [value for value in (os.environ.get("LD_LIBRARY_PATH"),) if value]
    return {
        "LD_LIBRARY_PATH": os.pathsep.join([*map(str, folders), *before]),
        "PYTHONPATH": str(root / "usr" / "lib" / "python3" / "dist-packages"),
    }


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
