"""What a stage freed is not kept by the libraries that it used."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.memory import before_frames

MERGE = """
import sys, time
import headwater
import deltalake
import pyarrow as pa

SCHEMA = pa.schema({"id": pa.string(), "text": pa.string()})

def resident():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) // 1024

def rows(count, factor):
    for start in range(0, count, 1000):
        numbers = range(start, start + 1000)
        columns = [[str(one) for one in numbers], [f"{one * factor} " * 60 for one in numbers]]
        yield pa.record_batch(columns, schema=SCHEMA)

def reader(count, factor):
    return pa.RecordBatchReader.from_batches(SCHEMA, rows(count, factor))

folder = sys.argv[1]
deltalake.write_deltalake(folder, reader(300_000, 7919))
before = resident()
merge = deltalake.DeltaTable(folder).merge(reader(20_000, 104729), "t.id = s.id", source_alias="s", target_alias="t")
merge.when_matched_update_all().execute()
del merge
deadline = time.monotonic() + 0.8
kept = resident() - before
while time.monotonic() < deadline:
    time.sleep(0.1)
    kept = min(kept, resident() - before)
print(kept)
"""

ARENAS = """
import ctypes, sys, threading
from headwater.memory import few_arenas

few_arenas()
barrier = threading.Barrier(16)

def work():
    block = bytearray(60_000)
    barrier.wait()

threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
with open(sys.argv[1]) as told:
    print(told.read().count("<heap nr="))
"""

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


SETTINGS = ("_RJEM_MALLOC_CONF", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES")


def run(code: str, *arguments: str, **settings: str) -> int:
    ours = {name: value for name, value in os.environ.items() if name not in SETTINGS} | settings
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=ours, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@linux
def test_what_a_merge_held_goes_back_to_the_system(tmp_path: Path) -> None:
    assert run(MERGE, str(tmp_path / "table")) < 30  # MiB; 60 to 140 without


@linux
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_threads_share_two_arenas(tmp_path: Path) -> None:
    assert run(ARENAS, str(tmp_path / "told.xml")) <= 2


def test_a_setting_of_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_RJEM_MALLOC_CONF", "dirty_decay_ms:5000")
    before_frames()
    assert os.environ["_RJEM_MALLOC_CONF"] == "dirty_decay_ms:5000"
    monkeypatch.delenv("_RJEM_MALLOC_CONF")
    before_frames()
    on_glibc = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
    assert ("_RJEM_MALLOC_CONF" in os.environ) == on_glibc


@pytest.mark.parametrize(("system", "libc"), [("darwin", ""), ("linux", "")])
def test_nothing_is_set_where_the_allocator_would_not_take_it(
    monkeypatch: pytest.MonkeyPatch, system: str, libc: str
) -> None:
    monkeypatch.delenv("_RJEM_MALLOC_CONF", raising=False)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
    before_frames()
    assert "_RJEM_MALLOC_CONF" not in os.environ


@linux
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize("settings", [{"MALLOC_ARENA_MAX": "5"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=5"}])
def test_an_operators_number_of_arenas_stays(tmp_path: Path, settings: dict[str, str]) -> None:
    assert 2 < run(ARENAS, str(tmp_path / "told.xml"), **settings) <= 5


@linux
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_other_tunables_say_nothing_of_arenas(tmp_path: Path) -> None:
    assert run(ARENAS, str(tmp_path / "told.xml"), GLIBC_TUNABLES="glibc.malloc.check=0") <= 2
