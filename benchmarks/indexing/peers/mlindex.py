"""mlindex (D. Mittan-Moreau, MIT): its analytical command, from PyPI into an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from app.indexing.problem import BRAVAIS
from benchmarks.indexing.peers.base import PEERS_FOLDER, Peer

VERSION = "0.1.3"
# What its documentation says that the command covers. Its default adds mC, mP and aP, at minutes a pattern.
DOCUMENTED = ("cF", "cI", "cP", "hP", "hR", "tI", "tP", "oC", "oF", "oI", "oP")
_WORKER = Path(__file__).with_name("workers") / "analytical.py"


def set_up(*, every_lattice: bool = False, processes: int = 2) -> Peer:
    """Install mlindex under .tools/peers/mlindex where it is not there yet.

    Raises:
        subprocess.CalledProcessError: the package index cannot be reached.
    """
    python = PEERS_FOLDER / "mlindex" / "bin" / "python"
    if not _installed(python):
        _install(python)
    lattices = BRAVAIS if every_lattice else DOCUMENTED
    return Peer(
        name=f"mlindex {VERSION}",
        command=(str(python), str(_WORKER)),
        environment={},
        options={"lattices": list(lattices), "processes": processes},
        lattices=lattices,
    )


def _installed(python: Path) -> bool:
    if not python.is_file():
        return False
    check = f"import importlib.metadata as m; assert m.version('mlindex') == '{VERSION}'"
    return subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0


def _install(python: Path) -> None:
    folder = python.parent.parent
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"mlindex=={VERSION}"], check=True)
