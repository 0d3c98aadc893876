"""A server of the OpenAI embeddings protocol with the bundled model, as a process of its own, that can be made to fail.

    python -m tests.embedding_server        prints its port, then serves until its standard input closes

``POST /trouble`` sets what goes wrong from then on: ``statuses`` (answers to the next requests), ``key`` (that is
wanted), ``refuse`` (a text that holds it is refused), ``poison`` (a text that holds it gets a vector of zeros),
``swap`` (another model: the numbers in reverse), ``narrow`` (half of the numbers). ``GET /seen`` returns the number of
requests and the largest number of texts in one.
"""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from headwater.embedding import Embedder

NAME = "bundled"


def application(embedder: Embedder) -> FastAPI:
    app = FastAPI()
    trouble: dict[str, Any] = {}
    seen = {"requests": 0, "texts": 0}

    @app.post("/trouble")
    async def set_trouble(request: Request) -> None:
        trouble.clear()
        trouble.update(await request.json())
        seen.update(requests=0, texts=0)

    @app.get("/seen")
    def get_seen() -> dict[str, int]:
        return seen

    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        body = await request.json()
        texts = body["input"]
        seen.update(requests=seen["requests"] + 1, texts=max(seen["texts"], len(texts)))
        if trouble.get("statuses"):
            return JSONResponse({"error": "busy"}, trouble["statuses"].pop(0), {"Retry-After": "0"})
        if trouble.get("key") and request.headers.get("authorization") != f"Bearer {trouble['key']}":
            return JSONResponse({"error": "who are you?"}, 401)
        if body["model"] != NAME:
            return JSONResponse({"error": "no such model"}, 404)
        if trouble.get("refuse") and any(trouble["refuse"] in text for text in texts):
            return JSONResponse({"error": "too long"}, 400)
        vectors = embedder.encode_documents(texts) * 3.0  # not of unit length: the client's business
        if trouble.get("swap"):
            vectors = vectors[:, ::-1]
        if trouble.get("narrow"):
            vectors = vectors[:, ::2]
        rows = [
            {"object": "embedding", "index": index, "embedding": vector.tolist()}
            for index, vector in enumerate(vectors)
        ]
        for row, text in zip(rows, texts, strict=True):
            if trouble.get("poison") and trouble["poison"] in text:
                row["embedding"] = [0.0] * len(row["embedding"])
        return JSONResponse({"object": "list", "model": NAME, "data": rows[::-1]})  # order is by index, not by place

    return app


def main() -> None:
    import torch

    torch.set_num_threads(1)
    server = uvicorn.Server(uvicorn.Config(application(Embedder(device="cpu")), log_level="warning"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # before the port is told: a client may be faster than uvicorn
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), setattr(server, "should_exit", True)), daemon=True).start()
        server.run(sockets=[listener])


if __name__ == "__main__":
    main()
