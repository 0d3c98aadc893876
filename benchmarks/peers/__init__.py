"""Peers of the measurements: each runs as a child process in a virtual environment of its own.

``benchmarks/peers/NAME.txt`` pins what is installed, ``benchmarks/peers/NAME.py`` is run there. It gets the name of a
JSON file with its task as its only argument, and prints its result as one JSON object on the last line of its output.
The environment is made at the first run, under ``build/peers/``, and made anew when the pins change.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_ENVIRONMENTS = _HERE.parent.parent / "build" / "peers"

ONE_CORE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Environment variables for a measurement on one core."""


def peer_python(name: str) -> Path:
    """Return the interpreter of the peer's environment, which is built first where it is missing.

    Raises subprocess.CalledProcessError when a pin can't be installed.
    """
    pins = _HERE / f"{name}.txt"
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = _ENVIRONMENTS / f"{name}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        print(f"Setting up {name} in {folder} (once) ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        # torch goes first and alone: installed later, another build of it may be taken.
        torch = [line for line in pins.read_text().split() if line.startswith("torch==")]
        if torch:
            subprocess.run([*install, *torch], check=True)
        subprocess.run([*install, "-r", str(pins)], check=True)
        (folder / ".ready").touch()
    return python


def run_peer(name: str, task: Mapping[str, Any], *, one_core: bool = False) -> dict[str, Any]:
    """Run the peer on ``task`` and return what it printed.

    Raises subprocess.CalledProcessError when it fails; its own error output is shown.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "task.json"
        file.write_text(json.dumps(task))
        done = subprocess.run(
            [str(peer_python(name)), str(_HERE / f"{name}.py"), str(file)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(ONE_CORE if one_core else {})},
        )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result
