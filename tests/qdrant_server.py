"""A server that speaks Qdrant's gRPC protocol, with the client's in-memory mode behind it.

What the client sends goes over a socket and is taken apart again by the generated classes, so serialisation, filters,
deadlines and errors are real; the search itself is the in-memory mode's. The parameters of a collection, which that mode
forgets, are kept and changed here as a server does.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc
from qdrant_client import QdrantClient
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc import (
    collections_service_pb2_grpc,
    points_service_pb2_grpc,
    qdrant_pb2_grpc,
    snapshots_service_pb2_grpc,
)
from qdrant_client.models import PointStruct

VERSION = "1.20.0"


class QdrantServer:
    """``url`` and ``grpc_port`` are where it listens; ``requests`` are the messages that came, in order.

    ``fails`` maps the name of a message to the status codes that its next requests get instead of an answer; ``slow`` to
    how many seconds they wait. With ``api_key``, requests without it are refused. The cluster has ``nodes``, of which 1
    answers and ``copies`` says which hold a collection; ``differing`` is how many of the next reads that ask several
    copies find no two alike, ``catching_up`` whether those of node 1 are not whole yet. ``recovering`` has the states of a
    collection's copies that come after one another once a snapshot of it was taken in.
    """

    def __init__(self, api_key: str | None = None) -> None:
        self.client = QdrantClient(":memory:")
        self.lock = threading.RLock()
        self.requests: list[Any] = []
        self.fails: dict[str, list[grpc.StatusCode]] = {}
        self.slow: dict[str, float] = {}
        self.created: dict[str, Any] = {}
        self.snapshots: dict[str, dict[str, list[Any]]] = {}
        self.taken = 0
        self.recovered: list[dict[str, Any]] = []
        self.shards_elsewhere = 0
        self.nodes = 1
        self.copies: dict[str, list[int]] = {}
        self.differing = 0
        self.catching_up = False
        self.recovering: dict[str, list[list[int]]] = {}
        self.api_key = api_key
        self.url = ""
        self.grpc_port = 0

    def sent(self, message: str) -> list[Any]:
        """Return the requests of one kind."""
        return [request for request in self.requests if type(request).__name__ == message]

    def answer(self, work: Any) -> Any:
        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            name = type(request).__name__
            if self.api_key and dict(context.invocation_metadata()).get("api-key") != self.api_key:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key")
            with self.lock:
                self.requests.append(request)
                failing = self.fails.get(name) or [None]
            if code := failing.pop(0):
                context.abort(code, "a server may quote the text of a document here")
            time.sleep(self.slow.get(name, 0.0))
            try:
                with self.lock:
                    return work(request)
            except ValueError as error:
                context.abort(grpc.StatusCode.NOT_FOUND, str(error))

        return handle


def _collections(server: QdrantServer) -> Any:
    client = server.client

    def done(result: Any = True) -> Any:
        return wire.CollectionOperationResponse(result=bool(result))

    def create(request: Any) -> Any:
        vectors = {n: GrpcToRest.convert_vector_params(p) for n, p in request.vectors_config.params_map.map.items()}
        sparse = {n: GrpcToRest.convert_sparse_vector_params(p) for n, p in request.sparse_vectors_config.map.items()}
        client.create_collection(request.collection_name, vectors_config=vectors, sparse_vectors_config=sparse or None)
        server.created[request.collection_name] = request
        held = min(server.nodes, request.replication_factor or 1)
        server.copies[request.collection_name] = list(range(1, held + 1))
        return done()

    def get(request: Any) -> Any:
        held = server.created[_real(client, request.collection_name)]
        info = RestToGrpc.convert_collection_info(client.get_collection(request.collection_name))
        params = info.config.params
        params.vectors_config.CopyFrom(held.vectors_config)
        params.shard_number = held.shard_number or 1
        params.replication_factor = held.replication_factor or 1
        params.write_consistency_factor = held.write_consistency_factor or 1
        params.on_disk_payload = held.on_disk_payload
        info.config.hnsw_config.MergeFrom(held.hnsw_config)
        if held.HasField("quantization_config"):
            info.config.quantization_config.CopyFrom(held.quantization_config)
        return wire.GetCollectionInfoResponse(result=info)

    def update(request: Any) -> Any:
        held = server.created[_real(client, request.collection_name)]
        held.hnsw_config.MergeFrom(request.hnsw_config)
        if request.HasField("params"):
            for field, value in request.params.ListFields():
                setattr(held, field.name, value)
        for name, change in request.vectors_config.params_map.map.items():
            held.vectors_config.params_map.map[name].on_disk = change.on_disk
        if request.quantization_config.HasField("disabled"):
            held.ClearField("quantization_config")
        elif request.HasField("quantization_config"):
            held.quantization_config.scalar.CopyFrom(request.quantization_config.scalar)
        if request.metadata:
            client.update_collection(request.collection_name, metadata=GrpcToRest.convert_payload(request.metadata))
        return done()

    def aliases(_: Any) -> Any:
        found = client.get_aliases().aliases
        return wire.ListAliasesResponse(aliases=[RestToGrpc.convert_alias_description(entry) for entry in found])

    def exists(request: Any) -> Any:
        there = client.collection_exists(request.collection_name)
        return wire.CollectionExistsResponse(result=wire.CollectionExists(exists=there))

    def shards(request: Any) -> Any:
        nodes = server.copies[_real(client, request.collection_name)]
        states = dict.fromkeys(nodes, wire.ReplicaState.Active)
        if server.catching_up:
            states[1] = wire.ReplicaState.Partial
        if coming := server.recovering.get(request.collection_name):
            states = dict(zip(nodes, coming.pop(0), strict=True))
        here = [wire.LocalShardInfo(shard_id=0, state=states[1])] if 1 in nodes else []
        there = [(0, node) for node in nodes if node != 1] + [(n + 1, 2) for n in range(server.shards_elsewhere)]
        return wire.CollectionClusterInfoResponse(
            peer_id=1,
            shard_count=1 + server.shards_elsewhere,
            local_shards=here,
            remote_shards=[
                wire.RemoteShardInfo(shard_id=shard, peer_id=node, state=states.get(node, wire.ReplicaState.Active))
                for shard, node in there
            ],
        )

    def copy_shard(request: Any) -> Any:
        nodes, asked = server.copies[_real(client, request.collection_name)], request.replicate_shard
        assert asked.from_peer_id in nodes and asked.to_peer_id not in nodes and asked.to_peer_id <= server.nodes
        nodes.append(asked.to_peer_id)
        return wire.UpdateCollectionClusterSetupResponse(result=True)

    def change_aliases(request: Any) -> Any:
        return done(client.update_collection_aliases([GrpcToRest.convert_alias_operations(a) for a in request.actions]))

    return {
        "Create": create,
        "Get": get,
        "Update": update,
        "Delete": lambda request: done(client.delete_collection(request.collection_name)),
        "ListAliases": aliases,
        "UpdateAliases": change_aliases,
        "CollectionExists": exists,
        "CollectionClusterInfo": shards,
        "UpdateCollectionClusterSetup": copy_shard,
    }


def _points(server: QdrantServer) -> Any:
    client = server.client

    def done(result: Any) -> Any:
        return wire.PointsOperationResponse(result=RestToGrpc.convert_update_result(result))

    def upsert(request: Any) -> Any:
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        return done(client.upsert(request.collection_name, points))

    def delete(request: Any) -> Any:
        return done(client.delete(request.collection_name, GrpcToRest.convert_points_selector(request.points)))

    def set_payload(request: Any) -> Any:
        wanted = GrpcToRest.convert_points_selector(request.points_selector)
        payload = GrpcToRest.convert_payload(request.payload)
        return done(client.set_payload(request.collection_name, payload, points=wanted))

    def get(request: Any) -> Any:
        if server.differing and request.read_consistency.factor > 1:
            server.differing -= 1
            return wire.GetResponse(result=[])
        records = client.retrieve(
            request.collection_name,
            [GrpcToRest.convert_point_id(one) for one in request.ids],
            with_payload=GrpcToRest.convert_with_payload_interface(request.with_payload),
            with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
        )
        return wire.GetResponse(result=[RestToGrpc.convert_retrieved_point(record) for record in records])

    def scroll(request: Any) -> Any:
        records, offset = client.scroll(
            request.collection_name,
            scroll_filter=GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None,
            limit=request.limit,
            offset=GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None,
            with_payload=GrpcToRest.convert_with_payload_interface(request.with_payload),
            with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
        )
        return wire.ScrollResponse(
            result=[RestToGrpc.convert_retrieved_point(record) for record in records],
            next_page_offset=None if offset is None else RestToGrpc.convert_extended_point_id(offset),
        )

    def count(request: Any) -> Any:
        wanted = GrpcToRest.convert_filter(request.filter)
        return wire.CountResponse(
            result=wire.CountResult(count=client.count(request.collection_name, wanted, exact=True).count)
        )

    def query(request: Any) -> Any:
        asked = [GrpcToRest.convert_query_points(one) for one in request.query_points]
        answers = client.query_batch_points(request.collection_name, asked)
        hits = [[RestToGrpc.convert_scored_point(point) for point in answer.points] for answer in answers]
        return wire.QueryBatchResponse(result=[wire.BatchResult(result=found) for found in hits])

    def index(request: Any) -> Any:
        return done(client.create_payload_index(request.collection_name, request.field_name, "keyword"))

    return {
        "Upsert": upsert,
        "Delete": delete,
        "SetPayload": set_payload,
        "Get": get,
        "Scroll": scroll,
        "Count": count,
        "QueryBatch": query,
        "CreateFieldIndex": index,
    }


def _snapshots(server: QdrantServer) -> Any:
    def describe(name: str) -> Any:
        return wire.SnapshotDescription(name=name, size=7)

    def create(request: Any) -> Any:
        server.client.get_collection(request.collection_name)
        kept = server.snapshots.setdefault(request.collection_name, {})
        server.taken += 1
        name = f"{request.collection_name}-{server.taken}.snapshot"
        kept[name] = server.client.scroll(request.collection_name, limit=10_000, with_vectors=True)[0]
        return wire.CreateSnapshotResponse(snapshot_description=describe(name))

    def held(request: Any) -> Any:
        server.client.get_collection(request.collection_name)  # it keeps them without it, but doesn't give them
        return server.snapshots.get(request.collection_name, {})

    def delete(request: Any) -> Any:
        if held(request).pop(request.snapshot_name, None) is None:
            raise ValueError("snapshot not found")
        return wire.DeleteSnapshotResponse()

    def listed(request: Any) -> Any:
        return wire.ListSnapshotsResponse(snapshot_descriptions=[describe(name) for name in held(request)])

    return {"Create": create, "Delete": delete, "List": listed}


def _real(client: QdrantClient, name: str) -> str:
    return {entry.alias_name: entry.collection_name for entry in client.get_aliases().aliases}.get(name, name)


class _Rest(BaseHTTPRequestHandler):
    """Says which version it is, and recovers snapshots; everything else is asked over gRPC."""

    running: QdrantServer

    def do_GET(self) -> None:
        self._answer({"title": "qdrant", "version": VERSION})

    def do_PUT(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, _, name, *_ = urlsplit(self.path).path.split("/")
        server, file = self.running, unquote(asked["location"]).rpartition("/")[2]
        with server.lock:
            server.recovered.append(asked)
            held = server.created[name]
            if server.client.collection_exists(name):
                server.client.delete_collection(name)
            _collections(server)["Create"](held)
            points = [PointStruct(id=r.id, vector=r.vector, payload=r.payload) for r in server.snapshots[name][file]]
            server.client.upsert(name, points)
            if len(server.copies[name]) == 3:
                state = wire.ReplicaState
                server.recovering[name] = [
                    [state.Active, state.Partial, state.Active],  # node 2 takes it in; the others have what they had
                    [state.Active, state.Active, state.Active],
                    [state.Dead, state.Active, state.Active],
                    [state.Dead, state.Active, state.Dead],
                    [state.Partial, state.Active, state.Partial],
                    [state.Active, state.Active, state.Partial],
                ]
        self._answer({"result": True, "status": "ok", "time": 0.0})

    def _answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def qdrant_server(api_key: str | None = None) -> Iterator[QdrantServer]:
    """Run a server on free ports."""
    server = QdrantServer(api_key)
    methods = grpc.server(ThreadPoolExecutor(8))
    for base, add, handlers in (
        (
            collections_service_pb2_grpc.CollectionsServicer,
            collections_service_pb2_grpc.add_CollectionsServicer_to_server,
            _collections(server),
        ),
        (points_service_pb2_grpc.PointsServicer, points_service_pb2_grpc.add_PointsServicer_to_server, _points(server)),
        (
            snapshots_service_pb2_grpc.SnapshotsServicer,
            snapshots_service_pb2_grpc.add_SnapshotsServicer_to_server,
            _snapshots(server),
        ),
        (
            qdrant_pb2_grpc.QdrantServicer,
            qdrant_pb2_grpc.add_QdrantServicer_to_server,
            {"HealthCheck": lambda _: wire.HealthCheckReply(title="qdrant", version=VERSION)},
        ),
    ):
        servicer = base()
        for name, work in handlers.items():
            setattr(servicer, name, server.answer(work))
        add(servicer, methods)
    server.grpc_port = methods.add_insecure_port("127.0.0.1:0")
    methods.start()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Rest", (_Rest,), {"running": server})) as rest:
        thread = threading.Thread(target=rest.serve_forever)
        thread.start()
        server.url = f"http://127.0.0.1:{rest.server_port}"
        try:
            yield server
        finally:
            rest.shutdown()
            thread.join()
            methods.stop(None).wait()
            server.client.close()
