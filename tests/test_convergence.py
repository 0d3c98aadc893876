"""Whatever happens to bucket, configuration and processes: the next reindex equals a rebuild from scratch.

Hypothesis plays sequences of adds, edits, renames, deletes, duplicates, mails with attachments, permission and
parameter changes, reindexes and kills at any step of any stage. ``HEADWATER_SEQUENCES`` says how many; the default is what CI plays.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from pypdf import PdfWriter
from reportlab.pdfgen.canvas import Canvas

from headwater.pipeline import Pipeline
from headwater.pool import drop_spares
from tests.convergence import PARAMETERS, SUBJECTS, TEXTS, Bucket, Killed, differences, killed_at, mail_of, text_of
from tests.mails import mail_bytes

SEQUENCES = int(os.environ.get("HEADWATER_SEQUENCES", "200"))
SHARDS = 8
"""Parts that the sequences are played in, each with a seed of its own, so that they can run beside each other."""

STEPS = 6

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 2 * 2**30 else None
"""A file system in memory where there is one: thousands of commits would otherwise wait for the disk's syncs."""

keys = st.sampled_from(["a.md", "b.md", "hr/a.md", "hr/c.md", "notes/d.txt"])
mails = st.sampled_from(["post.eml", "hr/post.eml"])
subjects = st.sampled_from(SUBJECTS)
variants = st.integers(0, 3)
groups = st.sampled_from([None, ["*"], ["hr"], ["field", "hr"], []])


class Convergence(RuleBasedStateMachine):
    """One sequence: a bucket, a corpus that follows it, and at the end a corpus built anew."""

    caches: Path
    """Vectors by text, shared by all sequences: embedding the same sentences over and over would test nothing."""

    make_bucket: type[Bucket] = Bucket

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="headwater-convergence-", dir=MEMORY))
        self.bucket = self.make_bucket(self.root)
        self.home, self.anew = self.root / "home", self.root / "anew"
        for home in (self.home, self.anew):
            home.mkdir()
            (home / "cache").symlink_to(self.caches)
        self.writes = 0

    def _write(self, key: str, text: str) -> None:
        self.bucket.write(key, text)
        self.writes += 1
        self.bucket.stamp(key, self.writes)

    def _chosen(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.bucket.keys()))

    @rule(key=keys, subject=subjects, variant=variants)
    def add_or_edit(self, key: str, subject: str, variant: int) -> None:
        self._write(key, text_of(subject, variant))

    @rule(key=mails, files=st.lists(st.tuples(subjects, variants), max_size=2), forwarded=st.booleans())
    def add_or_edit_mail(self, key: str, files: list[tuple[str, int]], forwarded: bool) -> None:
        self._write(key, mail_of(files, forwarded=forwarded))

    @rule(key=keys)
    def add_rubbish(self, key: str) -> None:
        self._write(key, "")

    @precondition(lambda self: self.bucket.keys())
    @rule(data=st.data(), to=keys)
    def rename(self, data: st.DataObject, to: str) -> None:
        self.bucket.rename(self._chosen(data), to)

    @precondition(lambda self: self.bucket.keys())
    @rule(data=st.data(), to=keys)
    def duplicate(self, data: st.DataObject, to: str) -> None:
        self._write(to, self.bucket.read(self._chosen(data)))

    @precondition(lambda self: self.bucket.keys())
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.bucket.delete(self._chosen(data))

    @precondition(lambda self: self.bucket.keys())
    @rule(data=st.data(), who=groups)
    def change_permissions(self, data: st.DataObject, who: list[str] | None) -> None:
        self.bucket.permit(self._chosen(data), who)

    @rule(parameters=st.sampled_from(PARAMETERS))
    def change_parameters(self, parameters: dict[str, object]) -> None:
        self.bucket.parameters = parameters

    @rule()
    def reindex(self) -> None:
        self.bucket.reindex(self.home)

    @rule(step=st.integers(2, 70))
    def reindex_and_be_killed(self, step: int) -> None:
        with self.bucket.opened(self.home) as corpus, killed_at(corpus, step):
            try:
                Pipeline(corpus, workers=1, confirm_removals=True).run()
            except Killed:
                note(f"killed at step {step}")

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                followed, built = self.bucket.reindex(self.home), self.bucket.reindex(self.anew)
                assert differences(followed, built) == []
        finally:
            shutil.rmtree(self.root, ignore_errors=True)


def play(caches: Path, sequences: int, machine: type[Convergence] = Convergence) -> None:
    caches.mkdir(exist_ok=True)
    machine.caches = caches
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


@pytest.mark.slow
@pytest.mark.shard
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_after_any_sequence_the_next_reindex_equals_a_rebuild(tmp_path: Path, shard: int) -> None:
    play(tmp_path / "cache", SEQUENCES // SHARDS)


def locked_pdf(text: str, password: str) -> bytes:
    """Return a PDF that opens with a password."""
    page, locked = io.BytesIO(), io.BytesIO()
    canvas = Canvas(page)
    canvas.drawString(40, 720, text)
    canvas.save()
    writer = PdfWriter(clone_from=page)
    writer.encrypt(password, algorithm="AES-128")
    writer.write(locked)
    return locked.getvalue()


@pytest.mark.slow
def test_a_changed_password_has_only_locked_documents_parsed_again_as_a_rebuild_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket(tmp_path)
    for number, subject in enumerate(SUBJECTS):
        bucket.write(f"{subject}.md", text_of(subject, number % 3))
    locked = {name: locked_pdf(text, name) for name, text in (("first", TEXTS["battery"]), ("second", TEXTS["weir"]))}
    mail = mail_bytes("Papers", TEXTS["lantern"], {"inside.pdf": locked["second"]})
    for key, data in {"first.pdf": locked["first"], "second.pdf": locked["second"], "post.eml": mail}.items():
        (bucket.documents / key).write_bytes(data)

    def parsed(password: str | None, names: list[str]) -> tuple[int, set[str]]:
        if password is None:
            monkeypatch.delenv("STATION_PASSWORD", raising=False)
        else:
            monkeypatch.setenv("STATION_PASSWORD", password)
        drop_spares()  # a worker that waits for the next run would have the environment that it began with
        bucket.parameters = {"parse": {"passwords": names}}
        with bucket.opened(tmp_path / "home") as corpus:
            report = Pipeline(corpus, workers=1, confirm_removals=True).run()
            recomputed = {stage.stage: stage.recomputed for stage in report.stages}["parsed_documents"]
            return recomputed, {each.key for each in corpus.receipts() if each.reason == "encrypted"}

    everything = {"first.pdf", "second.pdf", "post.eml!/inside.pdf"}
    assert parsed(None, []) == (len(SUBJECTS) + 4, everything)
    assert parsed("first", ["STATION_PASSWORD"]) == (3, everything - {"first.pdf"})
    assert parsed("first", ["STATION_PASSWORD"]) == (0, everything - {"first.pdf"})
    assert parsed("second", ["STATION_PASSWORD"]) == (3, {"first.pdf"})
    followed, built = bucket.reindex(tmp_path / "home"), bucket.reindex(tmp_path / "anew")
    assert differences(followed, built) == []


KILLED = """
import sys
from pathlib import Path
from headwater.pipeline import Pipeline
from tests.convergence import Bucket, kill_myself, killed_at

bucket = Bucket(Path(sys.argv[1]))
with bucket.opened(Path(sys.argv[2])) as corpus, killed_at(corpus, int(sys.argv[3]), kill_myself):
    Pipeline(corpus, workers=1, confirm_removals=True).run()
"""


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was indexed once and whose bucket has changed in every way since."""
    root = tmp_path_factory.mktemp("grown")
    bucket = Bucket(root)
    for number, subject in enumerate(SUBJECTS):
        bucket.write(f"{subject}.md", text_of(subject, number % 3))
    bucket.write("copy.md", text_of(SUBJECTS[0], 0))
    bucket.write("post.eml", mail_of([("lantern", 3), ("weir", 2)], forwarded=False))
    bucket.reindex(root / "home")
    bucket.write("battery.md", text_of("battery", 2))
    bucket.write("post.eml", mail_of([("lantern", 3), ("rail", 2)], forwarded=True))
    bucket.write("new.md", text_of("rail", 3))
    bucket.delete("leave.md")
    bucket.rename("train.md", "hr/train.md")
    bucket.permit("weir.md", ["field"])
    return root


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 12, 23, 30, 37, 44, 51, 58])
def test_after_a_real_kill_the_next_reindex_equals_a_rebuild(grown: Path, tmp_path: Path, step: int) -> None:
    root = tmp_path / "project"
    shutil.copytree(grown, root, copy_function=shutil.copy2)
    bucket = Bucket(root)
    run = [sys.executable, "-c", KILLED, str(root), str(root / "home"), str(step)]
    done = subprocess.run(run, check=False, capture_output=True, cwd=Path(__file__).parent.parent)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()[-2000:]
    followed, built = bucket.reindex(root / "home"), bucket.reindex(root / "anew")
    assert differences(followed, built) == []
