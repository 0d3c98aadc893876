"""Worker processes: results, and every way one of them can fail without harming the others."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from headwater.errors import HeadwaterError
from headwater.pool import WorkerFailure, WorkerPool, drop_spares, let_go, start_ahead, usable_cpus
from headwater.pool_process import FORKS

HERE = Path(__file__).parent


def double(batch: list[int]) -> list[int]:
    return [2 * value for value in batch]


def scaled(batch: list[int], factor: int) -> list[int]:
    return [factor * value for value in batch]


def process_id(batch: object) -> int:
    return os.getpid()


def environment(name: str) -> str | None:
    return os.environ.get(name)


def misbehave(what: str) -> str:
    if what == "exit":
        os._exit(3)
    if what == "segfault":
        ctypes.string_at(0)
    if what == "spin":
        while True:
            pass
    if what == "allocate":
        return "x" * len(bytearray(2**31))
    if what == "raise":
        raise ValueError(what)
    if what == "unpicklable result":
        return lambda: None  # type: ignore[return-value]
    return what


def use_up_processor_time(batch: object) -> object:
    if batch == "burn":
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (1, hard))
        while True:
            pass
    return batch


_hoard: list[bytearray] = []
_reserved: list[mmap.mmap] = []


def hold_on_to(megabytes: int) -> int:
    _hoard.append(bytearray(b"x") * (megabytes * 2**20))
    return os.getpid()


_prepared: list[int] = []


def reserve(megabytes: int) -> int:
    _reserved.append(mmap.mmap(-1, megabytes * 2**20))
    return os.getpid()


def remember(value: int) -> None:
    _prepared.append(value)


def recall(batch: object, value: int) -> list[int]:
    return _prepared


def sleep_a_second() -> None:
    time.sleep(1)


def fail_to_prepare(*args: object) -> None:
    raise RuntimeError("no model in this install")


_forked = False


def _pool(name: str, *args: object, **options: object) -> WorkerPool:
    return WorkerPool(f"{__name__}:{name}", *args, spare=_forked, **options)  # type: ignore[arg-type]


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def _has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(autouse=True, params=[False, True], ids=["interpreters", "forked"])
def leaves_no_process_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    global _forked
    if request.param and not FORKS:
        pytest.skip("this system's libraries take no fork")
    before, _forked = _children(), request.param
    yield
    if _forked:  # what forks is there, and nothing that was forked
        _wait(lambda: len([pid for pid in _children() - before if not _has_ended(pid)]) <= 1)
    drop_spares()
    assert _children() <= before


def test_every_batch_comes_back_once_with_its_index() -> None:
    with _pool("double", workers=2) as pool:
        results = dict(pool.map([[i, i + 1] for i in range(20)]))
    assert results == {i: [2 * i, 2 * i + 2] for i in range(20)}


def test_arguments_reach_every_call() -> None:
    with _pool("scaled", 10, workers=1) as pool:
        assert list(pool.map([[1], [2]])) == [(0, [10]), (1, [20])]


def test_prepare_runs_once_per_worker() -> None:
    with _pool("recall", 7, workers=1, prepare=f"{__name__}:remember") as pool:
        assert list(pool.map([0, 1, 2])) == [(0, [7]), (1, [7]), (2, [7])]


def test_no_batch_starts_no_process() -> None:
    before = _children()
    with _pool("double", workers=2) as pool:
        assert list(pool.map([])) == []
        assert _children() == before


def test_one_batch_starts_one_process_and_the_next_map_reuses_it() -> None:
    before = _children()
    with _pool("process_id", workers=2) as pool:
        [(_, first)] = pool.map([0])
        assert len(_children() - before) == (2 if _forked else 1)
        assert list(pool.map([0])) == [(0, first)]


def test_input_is_read_only_as_far_as_there_are_workers() -> None:
    read: list[int] = []

    def batches() -> Iterator[list[int]]:
        for i in range(1000):
            read.append(i)
            yield [i]

    with _pool("double", workers=2) as pool:
        results = pool.map(batches())
        next(results)
        assert len(read) <= 4
        results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("what", "kind"),
    [("exit", "crashed"), ("segfault", "crashed"), ("spin", "timeout"), ("allocate", "memory"), ("raise", "error")],
)
def test_a_failing_batch_costs_only_itself(what: str, kind: str) -> None:
    with _pool("misbehave", workers=2, memory_mb=512) as pool:
        results = dict(pool.map(["a", what, "b", "c"], timeout=lambda batch: 0.3 if batch == "spin" else 60.0))
    failure = results.pop(1)
    assert isinstance(failure, WorkerFailure)
    assert failure.kind == kind
    assert results == {0: "a", 2: "b", 3: "c"}


def test_a_batch_that_uses_up_its_processor_time_is_a_timeout_of_its_own() -> None:
    with _pool("use_up_processor_time", workers=1) as pool:
        results = dict(pool.map(["a", "burn", "b"]))
    failure = results.pop(1)
    assert isinstance(failure, WorkerFailure)
    assert (failure.kind, failure.message) == ("timeout", "used up its processor time")
    assert results == {0: "a", 2: "b"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_that_keeps_half_of_its_memory_is_replaced_after_its_batch() -> None:
    with _pool("hold_on_to", workers=1, memory_mb=512) as pool:
        processes = [process for _, process in pool.map([1, 1, 300, 1])]
    assert processes[0] == processes[1] == processes[2]
    assert processes[3] != processes[0]


def test_a_worker_that_only_reserves_memory_goes_on() -> None:
    with _pool("reserve", workers=1, memory_mb=2048) as pool:
        assert len({result for _, result in pool.map([300, 300, 300, 300])}) == 1


def test_the_message_of_a_failure_names_the_cause() -> None:
    with _pool("misbehave", workers=1) as pool:
        outcomes = [outcome for _, outcome in pool.map(["exit", "spin", "raise"], timeout=2)]
    assert "exit code 3" in outcomes[0].message
    assert "2 seconds" in outcomes[1].message
    assert outcomes[2].message.startswith("ValueError at test_pool.py:")
    assert isinstance(outcomes[2].error, ValueError)


def test_a_result_that_cannot_be_sent_is_an_error_of_its_batch() -> None:
    with _pool("misbehave", workers=1) as pool:
        results = dict(pool.map(["unpicklable result", "fine"]))
    assert results[0].kind == "error"
    assert results[1] == "fine"


def test_a_worker_that_died_while_idle_is_replaced_unnoticed() -> None:
    with _pool("process_id", workers=1) as pool:
        [(_, first)] = pool.map([0])
        os.kill(first, signal.SIGKILL)
        _wait(lambda: not pool.holds_workers)
        [(_, second)] = pool.map([0])
    assert isinstance(second, int)
    assert second != first


@pytest.mark.parametrize("function", ["no_such_module:work", "headwater.pool:no_such_function"])
def test_a_function_that_cannot_be_imported_stops_the_run(function: str) -> None:
    with WorkerPool(function, workers=1) as pool, pytest.raises(HeadwaterError, match="could not start"):
        list(pool.map([1]))


@pytest.mark.parametrize("batch", [[1], [0] * 1_000_000], ids=["small", "larger than a socket holds"])
def test_a_failing_prepare_stops_the_run_and_says_why(batch: list[int]) -> None:
    pool = _pool("double", workers=1, prepare=f"{__name__}:fail_to_prepare")
    with pool, pytest.raises(HeadwaterError, match="no model in this install"):
        list(pool.map([batch]))


def test_workers_compute_on_one_thread_each() -> None:
    with _pool("environment", workers=1) as pool:
        assert [value for _, value in pool.map(["OMP_NUM_THREADS", "RAYON_NUM_THREADS"])] == ["1", "1"]


def test_an_abandoned_map_and_an_exception_leave_no_process() -> None:
    before = _children()
    with pytest.raises(KeyboardInterrupt), _pool("misbehave", workers=2) as pool:
        for index, _ in pool.map(["a", "spin", "spin"]):
            assert index == 0
            raise KeyboardInterrupt
    drop_spares()
    assert _children() == before


SCRIPT = """
import sys
from headwater.pool import WorkerPool
print("main ran", flush=True)
pool = WorkerPool("test_pool:{function}", workers=1)
for index, outcome in pool.map([{batch!r}]):
    print(outcome, flush=True)
"""


def _script(tmp_path: Path, function: str, batch: object) -> subprocess.Popen[str]:
    script = tmp_path / "unguarded.py"
    script.write_text(SCRIPT.format(function=function, batch=batch))
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    return subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )


def test_a_script_without_a_main_guard_works(tmp_path: Path) -> None:
    output, _ = _script(tmp_path, "double", [4]).communicate(timeout=60)
    assert output.splitlines() == ["main ran", "[8]"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_busy_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = _script(tmp_path, "misbehave", "spin")
    watched = psutil.Process(parent.pid)
    deadline = time.monotonic() + 60
    while not (children := watched.children()) and time.monotonic() < deadline:
        os.sched_yield()
    parent.kill()
    parent.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert children
    assert not alive


def test_the_default_number_of_workers_follows_the_usable_cpus() -> None:
    assert WorkerPool("headwater.pool:usable_cpus").workers == min(usable_cpus(), 8)


def test_a_worker_left_ready_knows_no_other_credentials_than_are_set_now(monkeypatch: pytest.MonkeyPatch) -> None:
    def key() -> object:
        with _pool("environment", workers=1) as pool:
            return dict(pool.map(["AWS_ACCESS_KEY_ID"]))[0]

    for name in ("first", "second", "second"):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", name)
        assert key() == name


def prepared_by(batch: object, value: int) -> tuple[int, int, list[int]]:
    return os.getpid(), os.getppid(), _prepared


def start_a_thread(*args: object) -> None:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


forked = pytest.mark.parametrize("leaves_no_process_behind", [True], ids=["forked"], indirect=True)


@forked
def test_what_was_started_ahead_prepares_once_for_all_workers_of_all_pools() -> None:
    before = _children()
    start_ahead(f"{__name__}:prepared_by", 7, prepare=f"{__name__}:remember")
    (interpreter,) = _children() - before
    found = []
    for _ in range(2):
        with _pool("prepared_by", 7, workers=2, prepare=f"{__name__}:remember") as pool:
            found += [result for _, result in pool.map(range(4))]
    assert {parent for _, parent, _ in found} == {interpreter}
    assert len({process for process, _, _ in found}) in (2, 3, 4)
    assert all(prepared == [7] for _, _, prepared in found)
    let_go(f"{__name__}:prepared_by", 7, prepare=f"{__name__}:remember")
    assert _children() == before


@forked
def test_workers_go_on_and_end_when_what_forked_them_died() -> None:
    with _pool("prepared_by", 7, workers=1) as pool:
        [(_, (worker, interpreter, _))] = pool.map([0])
        os.kill(interpreter, signal.SIGKILL)
        [(_, (again, _, _))] = pool.map([0])
        assert again == worker
        os.kill(worker, signal.SIGKILL)
        _wait(lambda: not pool.holds_workers)
        [(_, (new, parent, _))] = pool.map([0])
        assert new != worker and parent != interpreter


@forked
def test_a_pool_whose_worker_outlives_what_forked_it_leaves_no_process() -> None:
    with _pool("prepared_by", 7, workers=1) as pool:
        [(_, (worker, interpreter, _))] = pool.map([0])
        os.kill(interpreter, signal.SIGKILL)
        _wait(lambda: _has_ended(interpreter))
    _wait(lambda: _has_ended(worker))


@forked
def test_what_leaves_threads_running_is_not_forked() -> None:
    pool = _pool("double", workers=1, prepare=f"{__name__}:start_a_thread")
    with pool, pytest.raises(HeadwaterError, match="could not start: 1 threads were left running"):
        list(pool.map([[1]]))


def test_a_process_that_works_itself_may_have_threads() -> None:
    with WorkerPool(f"{__name__}:double", workers=1, prepare=f"{__name__}:start_a_thread") as pool:
        assert list(pool.map([[1]])) == [(0, [2])]


@forked
def test_a_worker_that_a_batch_killed_is_back_at_once() -> None:
    with _pool("misbehave", workers=1, prepare=f"{__name__}:sleep_a_second") as pool:
        dict(pool.map(["a"]))
        before, began = _children(), time.monotonic()
        assert len(list(pool.map(["exit", "a"] * 3))) == 6
        assert time.monotonic() - began < 1.5
        assert len(_children() - before) == 1  # the others were waited for
