"""The server engine over Qdrant's own protocol: what is sent, with which parameters, and what happens when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import ValidationError

from headwater.errors import ConfigError, NotFoundError, ReleaseError
from headwater.index import connection, open_engine, registry, server_search, snapshots
from headwater.index.contract import IndexSpec, SearchRequest, SparseVector
from headwater.index.edge import EdgeEngine
from headwater.index.server import ServerEngine
from headwater.index.snapshots import Snapshot
from headwater.policies import IndexPolicy
from tests.qdrant_server import QdrantServer, qdrant_server
from tests.release_engines import QUIET, build, chunk_id, dense_request, held, numbers, terms, unit, wanted

pytestmark = QUIET


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[QdrantServer]:
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    monkeypatch.delenv("QDRANT_CA_FILE", raising=False)
    with qdrant_server() as running:
        yield running


def engine_of(server: QdrantServer, **fields: Any) -> ServerEngine:
    engine = open_engine("notes", Path("unused"), IndexPolicy(url=server.url, grpc_port=server.grpc_port, **fields))
    assert isinstance(engine, ServerEngine)
    return engine


def hybrid(number: int, **fields: Any) -> SearchRequest:
    indices, values = terms(number, 99)
    return dense_request(number, sparse=SparseVector(indices, values), candidates=30, **fields)


def test_releases_over_the_wire_are_what_the_embedded_engine_has(server: QdrantServer, tmp_path: Path) -> None:
    engines = (engine_of(server), EdgeEngine(tmp_path))
    found = []
    for engine in engines:
        build(engine, 1, numbers(60))
        build(engine, 2, [(3, 1), (70, 0)], parent=1, deletes=[4, 5])
        engine.redact(1, forget=["doc2"], readers={"doc0": ["law"]})
        engine.publish(2)
        rows: list[Any] = [held(engine, 1), held(engine, 2)]
        searcher = engine.open(2)
        for filters in (
            {},
            {"content_type": "text/html"},
            {"not": {"page": {"gte": 2}}},
            {"key": {"prefix": "folder/1"}},
        ):
            for readers in (None, frozenset({"*"}), frozenset({"staff", "*"})):
                hits = searcher.search(hybrid(1, filters=filters, readers=readers))
                rows.append([(hit.chunk_id, pytest.approx(hit.score, abs=1e-5)) for hit in hits])
                assert hits
        (hit,) = searcher.retrieve([chunk_id(3)], with_vectors=True)
        rows.append({k: v for k, v in hit.payload.items() if k != "vector"})
        assert hit.payload["vector"] == pytest.approx(unit(3, 1), abs=1e-6)
        searcher.close()
        engine.drop(1)
        assert engine.releases() == [2]
        found.append(rows)
    assert found[0] == found[1]


def test_what_the_policy_asks_for_is_what_is_sent(server: QdrantServer, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(
        server,
        shards=6,
        replication=3,
        quantization="int8",
        quantile=0.98,
        oversampling=3.0,
        vectors_on_disk=True,
        payload_on_disk=False,
        hnsw_on_disk=True,
        hnsw_m=24,
        hnsw_ef_construct=200,
        hnsw_ef=333,
        read_consistency="majority",
        search_timeout_seconds=7,
    )
    build(engine, 1, numbers(5))
    known, created = sorted(server.sent("CreateCollection"), key=lambda one: not one.collection_name.endswith("y"))
    assert (known.shard_number, known.replication_factor, known.write_consistency_factor) == (1, 3, 2)
    assert (created.shard_number, created.replication_factor, created.write_consistency_factor) == (6, 3, 2)
    assert not created.on_disk_payload and created.vectors_config.params_map.map["dense"].on_disk
    graph, int8 = created.hnsw_config, created.quantization_config.scalar
    assert (graph.m, graph.ef_construct, graph.on_disk) == (24, 200, True)
    assert int8.quantile == pytest.approx(0.98) and int8.always_ram
    monkeypatch.setattr(server_search, "EXACT_POINTS", 1)
    engine.open(1).search(hybrid(1))
    (asked,) = server.sent("QueryBatchPoints")
    majority = type(asked.read_consistency)(type=1)
    assert asked.timeout == 7 and asked.read_consistency == majority
    params = asked.query_points[0].params
    assert not params.exact and params.hnsw_ef == 333
    assert params.quantization.rescore and params.quantization.oversampling == 3.0
    assert server.sent("GetPoints")[-1].timeout == 7 and server.sent("GetPoints")[-1].read_consistency == majority
    assert all(one.wait for name in ("UpsertPoints", "SetPayloadPoints") for one in server.sent(name))


def test_parameters_that_qdrant_can_change_are_changed_where_they_are_and_others_left_alone(
    server: QdrantServer,
) -> None:
    build(engine_of(server), 1, numbers(5))
    build(engine_of(server), 2, [(1, 1)], parent=1)
    assert server.sent("UpdateCollection") == []
    changed = engine_of(server, quantization="int8", hnsw_m=32, vectors_on_disk=True)
    build(changed, 3, [(2, 1)], parent=2)
    (update,) = server.sent("UpdateCollection")
    assert update.hnsw_config.m == 32 and update.quantization_config.HasField("scalar")
    assert update.vectors_config.params_map.map["dense"].on_disk and not update.HasField("params")
    build(engine_of(server, quantization="int8", hnsw_m=32, vectors_on_disk=True), 4, [], parent=3)
    assert len(server.sent("UpdateCollection")) == 1
    build(engine_of(server), 5, [], parent=4)
    assert server.sent("UpdateCollection")[-1].quantization_config.HasField("disabled")
    assert len(server.created) == 2  # the registry, and one for all releases
    assert held(changed, 5) == wanted(numbers(5)) | wanted([(1, 1), (2, 1)])


def test_other_shards_or_copies_get_a_collection_of_their_own_while_the_releases_before_stay(
    server: QdrantServer,
) -> None:
    engine = engine_of(server)
    build(engine, 1, numbers(8))
    build(engine, 2, [(1, 1)], parent=1)
    searcher = engine.open(2)
    engine = engine_of(server, shards=4, replication=2)
    build(engine, 3, [(2, 1)], parent=2, deletes=[7])
    new = [request for request in server.sent("CreateCollection") if request.shard_number == 4]
    assert len(new) == 1 and new[0].replication_factor == 2
    expected = wanted(numbers(7)) | wanted([(1, 1), (2, 1)])
    assert held(engine, 3) == expected
    assert searcher.fingerprints() == wanted(numbers(8)) | wanted([(1, 1)])
    build(engine, 4, [], parent=3)  # in the new collection, nothing is copied again
    assert len([r for r in server.sent("CreateCollection") if r.shard_number == 4]) == 1
    build(engine, 5, [(5, 5)], parent=1)  # going back to a release of the old one
    assert held(engine, 5) == wanted(numbers(8)) | wanted([(5, 5)])
    assert held(engine, 4) == expected
    for release in (1, 2):
        engine.drop(release)
    assert held(engine, 4) == expected and len(server.client.get_collections().collections) == 2


def test_the_registry_has_as_many_copies_as_the_releases_that_it_knows(server: QdrantServer) -> None:
    server.nodes = 3
    build(engine_of(server), 1, numbers(5))
    assert server.copies["headwater-notes.registry"] == [1]
    replicated = engine_of(server, replication=3)
    build(replicated, 2, [(1, 1)], parent=1)
    assert sorted(map(len, server.copies.values())) == [1, 3, 3], "the first collection stays as it was made"
    assert len(server.copies["headwater-notes.registry"]) == 3
    held = server.created["headwater-notes.registry"]
    assert (held.replication_factor, held.write_consistency_factor) == (3, 2)
    asked = len(server.sent("UpdateCollectionClusterSetupRequest"))
    assert asked == 2
    build(replicated, 3, [(2, 1)], parent=2)
    assert len(server.sent("UpdateCollectionClusterSetupRequest")) == asked, "nothing is copied twice"
    server.copies["headwater-notes.registry"] = [2]  # the node that answers has none
    build(replicated, 4, [(3, 1)], parent=3)
    assert sorted(server.copies["headwater-notes.registry"]) == [1, 2, 3]
    build(engine_of(server), 5, [(4, 1)], parent=4)
    assert len(server.copies["headwater-notes.registry"]) == 3, "more than are asked for stay"


@pytest.mark.parametrize(("replication", "copies"), [(1, 1), (2, 1), (3, 2), (5, 3)])
def test_the_registry_is_read_and_written_while_a_node_is_down(
    server: QdrantServer, replication: int, copies: int
) -> None:
    engine = engine_of(server, replication=replication)
    build(engine, 1, numbers(3))
    reads = [one for one in server.sent("GetPoints") if one.collection_name.endswith(".registry")]
    assert {one.read_consistency.factor for one in reads} <= {copies, 1}
    assert reads[-1].read_consistency.factor == copies
    # 0 is weak, 2 strong, which goes through one certain node, whether it runs or not.
    writes = [one for one in server.sent("UpsertPoints") if one.collection_name.endswith(".registry")]
    assert {one.ordering.type for one in writes} == {1}


def test_copies_of_the_registry_that_differ_are_no_empty_index(
    server: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "PAUSES_SECONDS", (0.0, 0.0))
    engine = engine_of(server, replication=3)
    build(engine, 1, numbers(3))
    server.differing = 2
    assert engine.releases() == [1]
    server.differing = 3
    with pytest.raises(ReleaseError, match=r"copies of headwater-notes\.registry differ"):
        engine.releases()


def test_a_search_is_not_tried_again_after_its_time_and_a_write_is(server: QdrantServer) -> None:
    engine = engine_of(server, search_timeout_seconds=2)
    server.fails["UpsertPoints"] = [grpc.StatusCode.UNAVAILABLE] * 3
    build(engine, 1, numbers(3))
    searcher = engine.open(1)
    server.slow["QueryBatchPoints"] = 3
    with pytest.raises(ReleaseError, match="query_batch_points failed \\(gRPC DEADLINE_EXCEEDED\\)"):
        searcher.search(dense_request())
    assert len(server.sent("QueryBatchPoints")) == 1
    server.slow.clear()
    server.fails["QueryBatchPoints"] = [grpc.StatusCode.UNAVAILABLE]
    assert searcher.search(dense_request())


def test_a_server_that_limits_its_callers_is_asked_again(server: QdrantServer) -> None:
    engine = engine_of(server)
    server.fails["UpsertPoints"] = [grpc.StatusCode.RESOURCE_EXHAUSTED]
    build(engine, 1, numbers(3))
    assert held(engine, 1) == wanted(numbers(3))


def test_errors_name_the_server_and_quote_nothing(server: QdrantServer) -> None:
    engine = engine_of(server)
    server.fails["UpsertPoints"] = [grpc.StatusCode.INVALID_ARGUMENT]
    with pytest.raises(ReleaseError, match=r"127\.0\.0\.1.*INVALID_ARGUMENT") as caught:
        build(engine, 1, numbers(3))
    assert "document" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_the_key_is_sent_with_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with qdrant_server("sesame") as guarded:
        monkeypatch.setenv("QDRANT_API_KEY", "sesame")
        engine = engine_of(guarded)
        build(engine, 1, numbers(3))
        assert engine.releases() == [1] and guarded.sent("UpsertPoints")


def test_certificates_that_can_not_be_read_are_named(
    server: QdrantServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in (None, "no certificate"):
        file = tmp_path / "ca.pem"
        if content:
            file.write_text(content)
        monkeypatch.setenv("QDRANT_CA_FILE", str(file))
        with pytest.raises(ConfigError, match=r"QDRANT_CA_FILE: .*ca\.pem"):
            engine_of(server).releases()


def test_a_snapshot_brings_all_releases_back_and_an_erasure_takes_the_snapshots_away(server: QdrantServer) -> None:
    engine = engine_of(server)
    build(engine, 1, numbers(12))
    build(engine, 2, [(1, 1)], parent=1)
    taken = engine.take_snapshot()
    build(engine, 3, [(2, 1)], parent=2, deletes=[3])
    engine.drop(1)
    assert [one.id for one in engine.snapshots.all()] == [taken.id]
    engine.restore_snapshot(taken.id)
    assert engine.releases() == [1, 2]
    assert held(engine, 1) == wanted(numbers(12)) and held(engine, 2) == wanted(numbers(12)) | wanted([(1, 1)])
    (asked,) = server.recovered
    assert asked["location"].startswith(f"{server.url}/collections/headwater-notes.")
    assert asked["priority"] == "snapshot"
    build(engine, 4, [(5, 5)], parent=2)
    assert held(engine, 4) == wanted(numbers(12)) | wanted([(1, 1), (5, 5)])
    with pytest.raises(NotFoundError, match=f"no snapshot 'other'.*{taken.id}"):
        engine.restore_snapshot("other")
    engine.redact(1, forget=["doc1"])
    assert engine.snapshots.all() == [] and not any(server.snapshots.values())
    server.shards_elsewhere = 2
    with pytest.raises(ReleaseError, match=r"1 of the 3 shards.*headwater backup"):
        engine.take_snapshot()


def test_every_node_takes_whole_snapshots_of_what_has_a_copy_on_each(server: QdrantServer) -> None:
    server.nodes = 3
    engine = engine_of(server, replication=3)
    build(engine, 1, numbers(5))
    assert engine.take_snapshot().files
    server.catching_up = True
    with pytest.raises(ReleaseError, match=r"0 of the 1 shards.*catch up"):
        engine.take_snapshot()


def test_a_restored_snapshot_is_used_once_other_nodes_have_no_older_copy(
    server: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "LOOK_SECONDS", 0.0)
    server.nodes = 3
    engine = engine_of(server, replication=3)
    build(engine, 1, numbers(5))
    taken = engine.take_snapshot()
    build(engine, 2, [(1, 1)], parent=1)
    server.catching_up = True
    with pytest.raises(ReleaseError, match=r"not whole.*nothing was changed"):
        engine.restore_snapshot(taken.id)
    assert engine.releases() == [1, 2] and not server.recovered
    server.catching_up = False
    engine.restore_snapshot(taken.id)
    (left,) = server.recovering.values()
    assert left == [], "all states were waited for"
    assert engine.releases() == [1] and held(engine, 1) == wanted(numbers(5))
    monkeypatch.setattr(snapshots, "COPIED_SECONDS", 0.0)
    with pytest.raises(ReleaseError, match="have not copied it"):
        engine.restore_snapshot(taken.id)
    assert engine.releases() == []


def test_no_snapshot_of_a_collection_outlasts_it_or_an_erasure(server: QdrantServer) -> None:
    engine = engine_of(server)
    other = IndexSpec(8, "model-b")
    build(engine, 1, numbers(8))
    build(engine, 2, numbers(8), spec=other)
    taken = engine.take_snapshot()
    first, second = sorted(taken.files, key=lambda name: taken.registry.releases[1].collection != name)
    engine.drop(1)  # the last release of its collection
    assert not server.client.collection_exists(first) and not server.snapshots[first] and server.snapshots[second]
    (left,) = engine.snapshots.all()
    assert set(left.files) == set(left.registry.collections) == {second} and left.bytes == taken.bytes // 2
    engine.restore_snapshot(taken.id)
    assert engine.releases() == [2] and held(engine, 2) == wanted(numbers(8))
    # Made by calls of which nothing came back, and of a collection that somebody deleted.
    build(engine, 3, numbers(8))
    server.fails["CreateSnapshotRequest"] = [None, grpc.StatusCode.UNAVAILABLE]
    before = len(server.sent("CreateSnapshotRequest"))
    with pytest.raises(ReleaseError, match="create_snapshot failed"):
        engine.take_snapshot()
    assert len(server.sent("CreateSnapshotRequest")) == before + 2, "each call would make another file"
    assert len(engine.snapshots.all()) == 1 and sum(map(len, server.snapshots.values())) == 2
    engine.take_snapshot()
    server.client.delete_collection(second)
    engine.delete_snapshots()
    assert engine.snapshots.all() == [] and not any(server.snapshots.values())
    assert not server.client.collection_exists(second)


def test_nobody_opens_a_release_of_a_snapshot_before_it_is_narrowed(
    server: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(server)
    build(engine, 1, numbers(8))
    build(engine, 2, [(9, 9)], parent=1)
    engine.publish(2)
    taken = engine.take_snapshot()
    engine.redact(1, readers={"doc0": ["law"]})
    reader = engine_of(server)
    open_before = reader.open(1)
    recover = engine.snapshots.recover

    def watched(snapshot: Snapshot) -> None:
        recover(snapshot)
        assert reader.releases() == []

    monkeypatch.setattr(engine.snapshots, "recover", watched)
    seen = []

    def left(release: int) -> dict[str, list[str]] | None:
        seen.append(reader.releases())
        with pytest.raises(NotFoundError, match=f"release {release} .* is being restored"):
            reader.open(release)
        with pytest.raises(ReleaseError):
            open_before.search(dense_request(1))
        return {"doc0": ["law"]} if release == 1 else None

    engine.restore_snapshot(taken.id, left)
    assert seen == [[], [1]] and engine.releases() == [1]
    (hit,) = engine.open(1).retrieve([chunk_id(1)])
    assert hit.payload["readers"] == ["law"]

    def dies(release: int) -> dict[str, list[str]] | None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.restore_snapshot(taken.id, dies)
    assert engine.releases() == []
    build(engine, 5, numbers(4))
    assert engine.releases() == [5] and held(engine, 5) == wanted(numbers(4))
    points = [c for c in server.client.get_collections().collections if not c.name.endswith(".registry")]
    assert [server.client.count(c.name).count for c in points] == [5], "four, and the mark of the release"


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="write_consistency"):
        IndexPolicy(replication=2, write_consistency=3)
    assert [IndexPolicy(replication=n).write_copies for n in (1, 2, 3, 5)] == [1, 2, 2, 3]
