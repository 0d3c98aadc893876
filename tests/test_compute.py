"""Stages on a Ray cluster: the same rows as on one machine, whatever the cluster does meanwhile."""

from __future__ import annotations

import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest

from headwater.compute import LOCAL, open_compute
from headwater.compute import sameness as sameness_module
from headwater.compute.on_ray import RayBatches, RayCompute
from headwater.compute.sameness import check_same, installation
from headwater.corpus import Corpus, open_corpus
from headwater.costs import metered
from headwater.doctor import _cluster
from headwater.driver import CORE, Stage, _own, _told, row_schema, run_stage
from headwater.embedding import model_fingerprint, open_embedder
from headwater.errors import ConfigError, HeadwaterError
from headwater.lake import Table
from headwater.pipeline import Pipeline
from headwater.policies import ComputePolicy, CorpusPolicy, EmbedPolicy, ParsePolicy, SourcePolicy
from headwater.pool import WorkerFailure
from headwater.project import Project
from headwater.reports import NoProgress
from headwater.stages.parsed_documents import parse_stage
from tests.conftest import MakeCorpus, use_project, write_corpus
from tests.ray_cluster import LENGTHS, STORE_MB, length_rows, ray_cluster

HERE = "tests.ray_cluster"
STAGES = (
    "parsed_documents",
    "quality_documents",
    "injection_scans",
    "document_signatures",
    "deduplicated_documents",
    "name_spans",
    "anonymized_documents",
    "chunks",
    "embeddings",
    "leak_scans",
)
PLACES = ("weir", "lock", "sluice", "intake", "spillway", "culvert")


def documents(count: int) -> dict[str, bytes | str]:
    """Made documents of several formats, with names, an address, a copy and a file that can't be read."""
    files: dict[str, bytes | str] = {"broken.pdf": b"%PDF-1.7 and nothing else", "empty.txt": ""}
    for number in range(count):
        place = PLACES[number % len(PLACES)]
        text = (
            f"The {place} of reach {number} is inspected every {number % 9 + 2} weeks by Ingrid Solberg, who writes to "
            f"reach{number}@headwater.example when the gauge shows more than {number * 7 + 30} centimetres. "
            f"Its gate {number % 5} closes by itself, and crew {number * 13} keeps the spare seal in shed {number % 11}."
        )
        if number % 3:
            files[f"notes/{place}-{number}.md"] = (
                f"# Reach {number}\n\n{text}\n\n## Repairs\n\n{text[::-1]}\n\n{text}\n"
            )
        else:
            files[f"pages/{place}-{number}.html"] = f"<html><body><h1>Reach {number}</h1><p>{text}</p></body></html>"
    files["notes/copy.md"] = files["notes/lock-1.md"]
    return files


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes of one CPU, and a head that computes nothing."""
    with ray_cluster(workers=3) as running:
        yield running


@pytest.fixture
def on_cluster(cluster: Any, tmp_path: Path) -> Callable[..., RayCompute]:
    """A function ``(**settings) -> RayCompute`` on the cluster."""

    def make(**settings: Any) -> RayCompute:
        policy = ComputePolicy.model_validate({"engine": "ray", "address": cluster.address} | settings)
        return RayCompute(CorpusPolicy(source=SourcePolicy(uri=tmp_path.as_uri()), compute=policy))

    return make


def batches(compute: RayCompute, name: str, *args: Any, **options: Any) -> RayBatches:
    settings: dict[str, Any] = {"workers": None, "memory_mb": None, "prepare": None} | options
    return compute.batches(f"{HERE}:{name}", *args, **settings)


def reindexed(root: Path, files: dict[str, bytes | str], progress: Any = None, **attributes: Any) -> Corpus:
    """Index ``files`` as the corpus ``works`` of a new project at ``root``."""
    with pytest.MonkeyPatch.context() as patch:
        use_project(root, patch)
        folder = write_corpus(root, "works", files, **attributes)
        corpus = open_corpus(folder)
        Pipeline(corpus, progress, workers=2).run()
    return corpus


def same_rows(corpus: Corpus, expected: Corpus) -> None:
    """Check that all stage tables hold the same rows with the same fingerprints.

    Rows come back from nodes in any order, and where the CPU computes in bfloat16 the last digits of a vector hang on the
    texts that it is computed beside: vectors are the same as far as that goes.
    """
    for stage in STAGES:
        here, there = (getattr(one.tables, stage).scan().collect().sort("id") for one in (corpus, expected))
        assert here["fingerprint"].to_list() == there["fingerprint"].to_list(), stage
        if stage == "embeddings":
            ours, theirs = (np.array(one["vector"].to_list()) for one in (here, there))
            assert ((ours * theirs).sum(axis=1) > 0.9999).all()
            here, there = here.drop("vector"), there.drop("vector")
        assert here.equals(there), stage


# --- the same as on one machine -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_cluster_that_loses_nodes_midway_makes_the_same_rows_and_fingerprints_as_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = documents(40)
    expected = reindexed(tmp_path / "local", files)
    with ray_cluster(workers=3) as cluster:
        nodes = [node for node in cluster.list_all_nodes() if node is not cluster.head_node]
        lost: list[str] = []

        class Killer(NoProgress):
            """Kills a node as soon as the first rows of a stage are there, while others are under way on all nodes."""

            def advance(self, stage: str, rows: int) -> None:
                if stage in ("parsed_documents", "embeddings") and stage not in lost:
                    lost.append(stage)
                    cluster.remove_node(nodes.pop(), allow_graceful=False)

        compute = {"engine": "ray", "address": cluster.address, "actors": 2}
        corpus = reindexed(tmp_path / "cluster", files, Killer(), compute=compute)
    assert lost == ["parsed_documents", "embeddings"]
    same_rows(corpus, expected)
    assert corpus.tables.embeddings.scan().collect().height > 40

    # Going back to one machine, nothing is computed anew.
    use_project(corpus.project.root, monkeypatch)
    here = Corpus("works", corpus.policy.model_copy(update={"compute": ComputePolicy()}), corpus.project)
    report = Pipeline(here).run()
    assert {stage.stage: stage.recomputed for stage in report.stages if stage.recomputed} == {}


# --- batches --------------------------------------------------------------------------------------------------


def test_batches_run_on_all_nodes_and_each_result_has_its_number(on_cluster: Callable[..., RayCompute]) -> None:
    with batches(on_cluster(), "node_of") as pool:
        found = dict(pool.map([f"batch {number}" for number in range(12)]))
    assert {index: batch for index, (batch, _) in found.items()} == {n: f"batch {n}" for n in range(12)}
    assert len({node for _, node in found.values()}) == 3


@pytest.mark.parametrize(
    ("what", "kind"), [("exit", "crashed"), ("spin", "timeout"), ("allocate", "memory"), ("raise", "error")]
)
def test_a_batch_that_misbehaves_costs_itself_only(on_cluster: Callable[..., RayCompute], what: str, kind: str) -> None:
    with batches(on_cluster(), "misbehave", memory_mb=512) as pool:
        found = dict(pool.map(["fine", what, "well"], timeout=5))
    assert (found[0], found[2]) == ("fine", "well")
    assert isinstance(found[1], WorkerFailure)
    assert found[1].kind == kind


def test_more_data_than_the_object_stores_hold_passes_through_them(on_cluster: Callable[..., RayCompute]) -> None:
    size, count = 12, 40
    assert size * count > 4 * STORE_MB / 2
    data = os.urandom(size * 2**20)
    read: list[int] = []

    def source() -> Iterator[bytes]:
        for number in range(count):
            read.append(number)
            yield data

    taken = 0
    with batches(on_cluster(in_flight_mb=3 * size), "echo_length") as pool:
        for _, (length, copy) in pool.map(source()):
            taken += 1
            assert length == len(data)
            assert copy == data
            assert len(read) <= taken + 4  # what is out, and the one that is read next
    assert taken == count


def test_a_stage_that_one_machine_runs_by_itself_runs_on_the_nodes(
    on_cluster: Callable[..., RayCompute], tmp_path: Path
) -> None:
    schema = pa.schema([*CORE, ("text", pa.string())])
    upstream = Table(tmp_path / "upstream", schema)
    texts = ["bad", "die", *("x" * number for number in range(30))]
    rows = [
        {"id": str(n), "doc_id": str(n), "fingerprint": str(n), "text": text, "state": "ok", "reason": "ok"}
        for n, text in enumerate(texts)
    ]
    upstream.replace(pa.Table.from_pylist(rows, schema=schema).to_batches())
    stage = Stage("lengths", "1", {}, ("text",), LENGTHS, length_rows, batch_rows=8)
    target = Table(tmp_path / "target", stage.schema)
    report = run_stage(stage, upstream, target, NoProgress(), compute=on_cluster())
    assert report.reasons == {"ok": 30, "corrupt": 1, "worker_crashed": 1}  # here, this process would have died
    lengths = dict(target.read(["id", "length"]).iter_rows())
    assert lengths == {str(n): None if n < 2 else n - 2 for n in range(32)}


def test_no_more_batches_are_read_than_may_be_out(on_cluster: Callable[..., RayCompute]) -> None:
    read: list[int] = []

    def source() -> Iterator[int]:
        for number in range(20):
            read.append(number)
            yield number

    with batches(on_cluster(in_flight=2), "echo_length") as pool:
        results = pool.map(b"x" for _ in source())
        next(results)
        assert len(read) == 2
        results.close()  # type: ignore[attr-defined]


def test_what_is_under_way_ends_when_the_caller_stops(on_cluster: Callable[..., RayCompute], tmp_path: Path) -> None:
    file = tmp_path / "process"
    with batches(on_cluster(), "until_killed") as pool:
        results = pool.map(["", str(file)])
        assert next(results) == (0, None)
        process = psutil.Process(int(_awaited(lambda: file.exists() and file.read_text())))
        results.close()  # type: ignore[attr-defined]
    _awaited(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


@pytest.fixture
def lost_batch(
    cluster: Any, on_cluster: Callable[..., RayCompute], tmp_path: Path
) -> Iterator[Callable[..., Iterator[tuple[int, Any]]]]:
    """A function ``(**settings)`` that gives the outcome of a batch whose node is lost while it is there."""
    lost = 0

    def run(**settings: Any) -> Iterator[tuple[int, Any]]:
        nonlocal lost
        folder = tmp_path / "calls"
        folder.mkdir()
        with batches(on_cluster(**settings), "until_lost") as pool:
            results = pool.map(["", str(folder)])
            assert next(results) == (0, 0)
            raylet = int(_awaited(lambda: (folder / "1").exists() and (folder / "1").read_text()))
            [node] = [one for one in cluster.list_all_nodes() if _raylet(one) == raylet]
            cluster.remove_node(node, allow_graceful=False)
            lost += 1
            yield from results

    yield run
    for _ in range(lost):
        cluster.add_node(num_cpus=1, object_store_memory=STORE_MB * 2**20)


def _raylet(node: Any) -> int:
    """Return the process number of a node's raylet."""
    return int(node.all_processes["raylet"][0].process.pid)


def test_a_batch_that_is_lost_with_its_node_is_sent_again(
    lost_batch: Callable[..., Iterator[tuple[int, Any]]],
) -> None:
    assert list(lost_batch()) == [(1, 2)]  # its second call is the one that gives a result


def test_a_batch_that_is_lost_more_often_than_it_may_be_stops_the_run(
    lost_batch: Callable[..., Iterator[tuple[int, Any]]],
) -> None:
    with pytest.raises(HeadwaterError, match=r"lost a batch 1 time \(.*compute\.retries"):
        list(lost_batch(retries=0))


def _awaited(look: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return found


# --- what stops a run -----------------------------------------------------------------------------------------


def test_a_worker_that_cannot_start_stops_the_run_and_names_the_node(on_cluster: Callable[..., RayCompute]) -> None:
    pool = batches(on_cluster(), "misbehave", prepare=f"{HERE}:fail_to_prepare")
    with (
        pool,
        pytest.raises(HeadwaterError, match=rf"On the Ray node {socket.gethostname()}: .*no model in this image"),
    ):
        list(pool.map(["fine"]))


def test_a_reservation_that_no_node_can_take_is_an_error_and_not_a_wait_for_ever(
    on_cluster: Callable[..., RayCompute],
) -> None:
    pool = batches(on_cluster(cpus_per_task=64, wait_seconds=0.1), "misbehave")
    with pool, pytest.raises(ConfigError, match=r"64 CPU.*compute\.cpus_per_task"):
        list(pool.map(["fine"]))


def test_a_worker_with_another_secret_stops_the_run_without_telling_it(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKS_PASSWORD", "rusty-sluice")  # set after the nodes were started
    policy = CorpusPolicy.model_validate(
        {
            "source": {"uri": tmp_path.as_uri()},
            "parse": {"passwords": ["WORKS_PASSWORD"]},
            "compute": {"engine": "ray", "address": cluster.address},
        }
    )
    with batches(RayCompute(policy), "misbehave") as pool, pytest.raises(ConfigError, match="WORKS_PASSWORD") as caught:
        list(pool.map(["fine"]))
    assert "rusty-sluice" not in str(caught.value)
    assert b"rusty-sluice" not in pool._expected


def test_a_folder_that_a_worker_does_not_have_stops_the_run(cluster: Any, tmp_path: Path) -> None:
    policy = CorpusPolicy(
        source=SourcePolicy(uri=(tmp_path / "not there").as_uri()),
        compute=ComputePolicy(engine="ray", address=cluster.address),
    )
    with batches(RayCompute(policy), "misbehave") as pool, pytest.raises(ConfigError, match="Mount it on every node"):
        list(pool.map(["fine"]))


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_does_not_answer_is_an_error_that_says_what_to_do(scheme: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nothing answers there
        address = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        import ray

        ray.shutdown()
        policy = CorpusPolicy(
            source=SourcePolicy(uri=tmp_path.as_uri()), compute=ComputePolicy(engine="ray", address=address)
        )
        with pytest.raises(ConfigError, match=rf"{address}.*compute.engine: local"):
            list(batches(RayCompute(policy), "misbehave").map(["fine"]))
    assert time.monotonic() - began < 60  # Ray itself would go on for minutes


def _not_asked() -> Any:
    raise AssertionError("the model of the run's own process is not asked")


def test_another_model_on_a_node_stops_the_run(cluster: Any, on_cluster: Callable[..., RayCompute]) -> None:
    with (
        on_cluster().embedding(EmbedPolicy(), "the fingerprint of another model", _not_asked) as engine,
        pytest.raises(ConfigError, match=rf"On the Ray node {socket.gethostname()}: embed.model is another model"),
    ):
        engine.load()


def test_the_doctor_looks_for_the_cluster(make_corpus: MakeCorpus, project: Project, cluster: Any) -> None:
    make_corpus("works", {}, compute={"engine": "ray", "address": cluster.address})
    assert [finding.state for finding in _cluster(project, "works")] == ["ok"]
    make_corpus("lost", {}, compute={"engine": "ray", "address": "127.0.0.1:1"})
    with pytest.raises(ConfigError, match="nothing answers there"):
        list(_cluster(project, "lost"))


def test_a_cluster_is_used_from_outside_of_it_even_where_its_first_try_to_serve_us_fails(
    cluster: Any, on_cluster: Callable[..., RayCompute], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    compute = on_cluster(address=cluster.client_address)
    ray.shutdown()
    begun: list[str] = []

    def init(address: str, **options: Any) -> Any:
        begun.append(address)
        if len(begun) == 1:
            raise ConnectionAbortedError("Initialization failure from server")
        return really(address, **options)

    really = ray.init
    monkeypatch.setattr(ray, "init", init)
    with batches(compute, "misbehave") as pool:
        found = dict(pool.map(["fine", "raise", "well"]))
    assert (found[0], found[1].kind, found[2]) == ("fine", "error", "well")
    assert 2 <= len(begun) <= 3  # a busy cluster fails a try by itself
    assert set(begun) == {cluster.client_address}


def test_a_cluster_that_never_serves_us_is_given_up(
    on_cluster: Callable[..., RayCompute], cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    begun: list[str] = []

    def init(address: str, **_options: Any) -> Any:
        begun.append(address)
        raise ConnectionAbortedError("Initialization failure from server")

    ray.shutdown()
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ConfigError, match="Initialization failure from server"):
        list(batches(on_cluster(address=cluster.client_address), "misbehave").map(["fine"]))
    assert begun == [cluster.client_address] * 3


# --- what it costs --------------------------------------------------------------------------------------------


def test_cpu_seconds_of_nodes_count_once_for_the_stage_that_sent_the_work(
    on_cluster: Callable[..., RayCompute],
) -> None:
    with metered() as meter, batches(on_cluster(), "use_cpu") as pool:
        assert len(list(pool.map([1.5] * 6))) == 6
    # The nodes are this process' children, so what their workers report could be seen a second time.
    assert 9 <= meter.cpu_seconds < 17


def test_cpu_seconds_of_embedding_actors_count(on_cluster: Callable[..., RayCompute]) -> None:
    texts = [f"The gauge of reach {number} is read every morning. " * 20 for number in range(48)]
    with metered() as here:
        expected = open_embedder(EmbedPolicy(device="cpu")).encode_documents(texts)
    with metered() as meter, on_cluster().embedding(EmbedPolicy(), model_fingerprint(), _not_asked) as engine:
        vectors = engine.load().encode_documents(texts)
    np.testing.assert_allclose(vectors, expected, atol=1e-3)
    assert meter.cpu_seconds > here.cpu_seconds / 2


# --- without a cluster ----------------------------------------------------------------------------------------


def test_by_default_stages_run_on_this_machine(tmp_path: Path) -> None:
    assert open_compute(CorpusPolicy(source=SourcePolicy(uri=tmp_path.as_uri()))) is LOCAL


def test_installations_differ_by_code_library_secret_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKS_KEY", "one")
    here = installation(["WORKS_KEY"], str(tmp_path))
    check_same(here)
    monkeypatch.setenv("WORKS_KEY", "another")
    with pytest.raises(ConfigError, match="WORKS_KEY"):
        check_same(here)
    monkeypatch.setenv("WORKS_KEY", "one")
    monkeypatch.setattr(sameness_module, "_versions", lambda: {**here.versions, "polars": "0.1"})
    with pytest.raises(ConfigError, match=r"polars is 0\.1"):
        check_same(here)
    monkeypatch.undo()
    monkeypatch.setenv("WORKS_KEY", "one")
    monkeypatch.setattr(sameness_module, "_code", lambda: "other")
    with pytest.raises(ConfigError, match="headwater package"):
        check_same(here)


def test_batches_of_a_stage_that_waits_for_others_are_worked_on_side_by_side(tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=30)

    def upper(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
        together.wait()  # breaks, and the rows fail, unless three batches are here at once
        rows = [{"input": name, "id": name, "state": "ok", "reason": "ok"} for name in batch.column("id").to_pylist()]
        return pa.Table.from_pylist(rows, schema=row_schema(pa.schema([])))

    upstream, target = Table(tmp_path / "upstream", CORE), Table(tmp_path / "target", CORE)
    rows = [{"id": str(n), "doc_id": str(n), "fingerprint": str(n), "state": "ok", "reason": "ok"} for n in range(6)]
    upstream.replace(pa.Table.from_pylist(rows, schema=CORE).to_batches())
    stage = Stage("upper", "1", {}, (), pa.schema([]), upper, batch_rows=1, at_once=3)
    report = run_stage(stage, upstream, target, NoProgress())
    assert (report.rows, report.quarantined) == (6, 0)


def test_what_tells_passwords_apart_is_not_sent_to_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKS_PASSWORD", "rusty-sluice")
    stage = parse_stage(ParsePolicy(passwords=["WORKS_PASSWORD"]), "file:///documents")
    assert stage.parameters["password_set"] is not None
    assert "password_set" not in _told(stage)


@pytest.mark.parametrize("wrong", [{"address": "http://ray:1"}, {"cpus_per_task": 1.5}, {"engine": "dask"}])
def test_what_ray_could_not_use_is_refused_when_it_is_read(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ComputePolicy.model_validate(wrong)


def test_rows_of_a_piece_are_sent_without_the_table_that_it_is_of() -> None:
    table = pa.table({"text": ["x" * 1000] * 1000})
    piece = table.slice(500, 3)
    assert _own(piece).equals(piece)
    assert len(pickle.dumps(_own(piece))) < 10_000
    assert _own(table) is table
