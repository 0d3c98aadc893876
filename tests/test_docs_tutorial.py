"""The tutorial is run as it stands: its commands in one shell, and what it says they print is what they print."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECOND_TERMINAL = 'title="second terminal"'
PATIENCE = 420.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass
class Block:
    """A fenced block of the page: commands, or what those before it print."""

    kind: str
    note: str
    text: str


def blocks() -> list[Block]:
    return [Block(kind, note.strip(), text) for kind, note, text in BLOCK.findall(PAGE.read_text(encoding="utf-8"))]


class Shell:
    """One bash in which commands are run one after the other, as a person would; it stops at the first that fails."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.transcript = folder.parent / "transcript"
        self.transcript.touch()
        self._process = subprocess.Popen(
            ["bash", "-e", "-u", "-o", "pipefail"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=self.transcript.open("w"),
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._number = 0

    def run(self, commands: str, *, background: bool = False) -> str:
        """Run the commands and return what they printed; those of a background run go on until the end."""
        assert self._process.stdin is not None
        self._number += 1
        mark = f"--- done {self._number} ---"
        before = self.transcript.stat().st_size
        self._process.stdin.write(f"{{ {commands.strip()}\n}} < /dev/null &\n" if background else commands)
        self._process.stdin.write(f"\necho '{mark}'\n")
        self._process.stdin.flush()
        deadline = time.monotonic() + PATIENCE
        while mark not in (printed := self.transcript.read_text(encoding="utf-8")[before:]):
            assert self._process.poll() is None, f"{commands}\nfailed:\n{printed}"
            assert time.monotonic() < deadline, f"{commands}\ntakes too long:\n{printed}"
            time.sleep(0.05)
        return printed

    def end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that ``make setup`` finds set up: its .venv holds this interpreter and this headwater."""
    folder = tmp_path / "checkout"
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    (binaries / "python").symlink_to(sys.executable)
    command = Path(sys.executable).parent / "headwater"
    assert command.is_file(), "the tests run in an environment with headwater installed"
    (binaries / "headwater").symlink_to(command)
    (folder / ".venv" / ".runtime").touch()
    return folder


def test_every_command_of_the_tutorial_works_and_prints_what_it_says(tmp_path: Path, checkout: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    shell = Shell(checkout, {**environment, "HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"})
    printed = previous = ""
    ran = 0
    try:
        for block in blocks():
            text = block.text.replace("8000", port)
            if block.kind == "console":
                fresh = shell.run(text, background=block.note == SECOND_TERMINAL)
                # A page that shows what two blocks print may show it after the second.
                printed = printed + fresh if previous == "console" else fresh
                ran += 1
            elif block.kind == "text":
                flat = " ".join(printed.split())
                for line in text.splitlines():
                    assert " ".join(line.split()) in flat, f"{line!r} is not printed:\n{printed}"
            previous = block.kind
    finally:
        shell.end()
    assert ran >= 12


def test_the_tutorial_shows_every_command_where_it_is_run() -> None:
    found = blocks()
    assert {block.kind for block in found} == {"console", "text"}
    assert [block.note for block in found if block.note] == [SECOND_TERMINAL]
    prose = BLOCK.sub("", PAGE.read_text(encoding="utf-8"))
    assert "```" not in prose
