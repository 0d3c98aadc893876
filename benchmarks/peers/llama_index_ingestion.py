"""LlamaIndex's IngestionPipeline over a folder of Markdown: one run, with what an earlier one persisted."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    state = Path(task["state"])
    began = time.perf_counter()
    from llama_index.core import SimpleDirectoryReader
    from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.storage.docstore import SimpleDocumentStore
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient

    client = QdrantClient(path=str(state / "qdrant"))
    pipeline = IngestionPipeline(
        transformations=[
            SentenceSplitter(chunk_size=task["chunk_size"], chunk_overlap=0),
            HuggingFaceEmbedding(model_name=task["model"], device="cpu"),
        ],
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS,
        vector_store=QdrantVectorStore("documents", client=client),
    )
    if (state / "pipeline").exists():
        pipeline.load(str(state / "pipeline"))
    documents = SimpleDirectoryReader(
        task["folder"], recursive=True, required_exts=[".md"], filename_as_id=True
    ).load_data()
    nodes = pipeline.run(documents=documents)
    pipeline.persist(str(state / "pipeline"))
    points = client.count("documents").count
    client.close()
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "documents": len(documents), "embedded": len(nodes), "points": points}))


main()
