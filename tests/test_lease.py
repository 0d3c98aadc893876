"""The lease: one writer per corpus, whoever was killed meanwhile, on this machine and across machines."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from headwater.errors import LakeError, LeaseError
from headwater.lease import corpus_lease
from headwater.ledger import Ledger
from headwater.ledger.engine import create_engine, write

HOLD = """
import sys
from pathlib import Path
from headwater.ledger import Ledger
from headwater.lease import corpus_lease
url, lock, seconds = sys.argv[1:]
with corpus_lease(Ledger(url), "handbook", Path(lock), seconds=float(seconds)) as lease:
    print(lease.token, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with closing(Ledger(url)) as opened:
        yield opened


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "lake" / ".lock"


@contextmanager
def writer(url: str, lock: Path, seconds: float = 60.0) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Another process that holds the lease, and its token."""
    arguments = [sys.executable, "-c", HOLD, url, str(lock), str(seconds)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def until(done: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.02)


def expiry(url: str) -> str:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT expires_at FROM leases")).scalar_one()
    engine.dispose()
    return str(found)


def test_the_lease_is_held_inside_the_block_alone(ledger: Ledger, lock: Path) -> None:
    with corpus_lease(ledger, "handbook", lock) as lease:
        lease.check()
        assert ledger.lease_holder("handbook") == lease.holder
        first = lease.token
    assert ledger.lease_holder("handbook") is None
    with pytest.raises(ZeroDivisionError), corpus_lease(ledger, "handbook", lock) as lease:
        assert lease.token > first
        raise ZeroDivisionError
    assert ledger.lease_holder("handbook") is None


def test_one_process_may_take_it_again_while_it_holds_it(ledger: Ledger, lock: Path) -> None:
    with corpus_lease(ledger, "handbook", lock) as outer:
        with corpus_lease(ledger, "handbook", lock) as inner:
            assert inner is outer
        outer.check()
        assert ledger.lease_holder("handbook") == outer.holder
    with corpus_lease(ledger, "handbook", lock) as later:
        assert later.token > outer.token


def test_corpora_do_not_wait_for_each_other(ledger: Ledger, tmp_path: Path) -> None:
    with corpus_lease(ledger, "handbook", tmp_path / "a"), corpus_lease(ledger, "policies", tmp_path / "b"):
        assert ledger.lease_holder("handbook") and ledger.lease_holder("policies")


def test_a_second_writer_on_the_same_machine_is_refused(ledger: Ledger, url: str, lock: Path) -> None:
    with writer(url, lock) as (process, token):
        busy = pytest.raises(LakeError, match="Another process is writing corpus 'handbook'")
        with busy, corpus_lease(ledger, "handbook", lock):
            pass
        process.communicate(b"")
        with corpus_lease(ledger, "handbook", lock) as lease:
            assert lease.token == token + 1


def test_a_killed_writer_on_this_machine_is_taken_over_at_once(ledger: Ledger, url: str, lock: Path) -> None:
    with writer(url, lock, seconds=3600) as (process, token):
        process.kill()
        process.wait()
        started = time.monotonic()
        with corpus_lease(ledger, "handbook", lock) as lease:
            assert lease.token > token
        assert time.monotonic() - started < 60  # the lease would last an hour


def test_a_writer_killed_while_the_lease_changed_hands_is_taken_over_at_once(
    ledger: Ledger, url: str, lock: Path
) -> None:
    with writer(url, lock, seconds=3600) as (process, token):
        holder = ledger.lease_holder("handbook")
        process.kill()
        process.wait()
    # As it is between the two writes of the next taker's names, which is killed there, too.
    lock.write_text(f"{holder}\n{holder}x\n")
    with corpus_lease(ledger, "handbook", lock) as lease:
        assert lease.token > token


def test_a_silent_writer_elsewhere_is_waited_out(ledger: Ledger, url: str, lock: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / ".lock"
    with writer(url, elsewhere, seconds=2.0) as (process, token):
        holder = ledger.lease_holder("handbook")
        assert holder is not None
        renewed = expiry(url)
        until(lambda: expiry(url) != renewed)
        with pytest.raises(LeaseError, match=holder), corpus_lease(ledger, "handbook", lock):
            pass
        process.kill()
        process.wait()
        taken = []

        def take() -> bool:
            try:
                with corpus_lease(ledger, "handbook", lock, seconds=1.0) as lease:
                    taken.append(lease.token)
            except LeaseError:
                return False
            return True

        until(take)
        assert taken == [token + 1]


def test_a_writer_with_the_same_lock_file_name_on_another_machine_is_not_taken_for_dead(
    ledger: Ledger, lock: Path
) -> None:
    # Shared storage whose file locks hold for one machine only: the file names the other machine's live writer.
    lock.parent.mkdir()
    lock.write_text("faraway:12:abcd\n")
    ledger.acquire_lease("handbook", "faraway:12:abcd", 60)
    with pytest.raises(LeaseError, match="faraway:12:abcd"), corpus_lease(ledger, "handbook", lock):
        pass
    assert lock.read_text() == "faraway:12:abcd\n"


def test_a_writer_that_was_taken_over_learns_it(ledger: Ledger, lock: Path) -> None:
    with corpus_lease(ledger, "handbook", lock, seconds=0.3) as lease:
        lease.check()
        other = ledger.acquire_lease("handbook", "faraway:12:abcd", 60, dead=lease.holder)

        def lost() -> bool:
            try:
                lease.check()
            except LeaseError as error:
                return "took over" in str(error)
            return False

        until(lost)
    ledger.renew_lease("handbook", other, 60)  # what was theirs is left alone


def test_a_lease_that_could_not_be_renewed_in_time_is_checked_with_the_ledger(
    ledger: Ledger, url: str, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with corpus_lease(ledger, "handbook", lock, seconds=3600) as lease:
        monkeypatch.setattr(lease, "_renewed", time.monotonic() - 3601)
        before = expiry(url)
        lease.check()
        assert expiry(url) > before
        monkeypatch.setattr(lease, "_renewed", time.monotonic() - 3601)
        engine = create_engine(url)
        with write(engine) as connection:
            connection.execute(sa.text("UPDATE leases SET token = token + 1"))
        engine.dispose()
        with pytest.raises(LeaseError, match="took over"):
            lease.check()
