"""A real vLLM on the CPU, serving a tiny model with random weights that is made on the spot.

It writes nonsense, only what the grammar of a request admits and as much of it as that admits: just what the tests of
structured output, and of replies that break off, need.
vLLM lives in an environment of its own, ``build/vllm`` (``make vllm``), because it pins other versions than ours.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

PYTHON = Path(__file__).parent.parent / "build" / "vllm" / "bin" / "python"
MODEL = "tiny"
MAX_MODEL_LEN = 8192

_START_SECONDS = 420
"""Imports, warm-up and all take about a minute on two idle cores."""

_CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_TEXT = (
    "The notice period for crew members is six weeks to the end of a month. Trains are booked through the office. "
    '{"refused": false, "sentences": [{"text": "The gauge is read every fifteen minutes.", "cites": [1, 2]}]} '
    "[[source 1 0123456789abcdef]] [[end 1 0123456789abcdef]] Question: How long is it? Answer in one JSON object. "
)


@dataclass
class Vllm:
    """A running server."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    start_seconds: float

    def running_requests(self) -> int:
        """Return how many requests the engine works on or has waiting."""
        text = httpx.get(self.url.removesuffix("/v1") + "/metrics", timeout=10).text
        found = [
            line
            for line in text.splitlines()
            if line.startswith(("vllm:num_requests_running", "vllm:num_requests_waiting{"))
        ]
        assert found, "the server has no such metric"
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in found)

    def kill(self) -> None:
        """End the server and its engine at once, as a crash does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)


def make_model(folder: Path) -> None:
    """Write a Llama with two layers and random weights that ends no list early, and a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TEXT] * 3, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>", chat_template=_CHAT
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=MAX_MODEL_LEN,
        eos_token_id=0,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    # One direction that every state has, and that speaks against each token with a "]" or with white space: lists are as
    # long as they may be, and little stands between their items.
    unlikely = {
        "]",
        *pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(" \n\r\t")[0][0],
    }
    rare = [number for token, number in tokenizer.get_vocab().items() if unlikely & set(token)]
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 1.0
        model.lm_head.weight[rare, 0] = -1.0
    model.to(torch.bfloat16).save_pretrained(folder)


@contextmanager
def vllm_serving(folder: Path) -> Iterator[Vllm]:
    """Make the model in ``folder`` and serve it until the block ends."""
    make_model(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = {
        "--model": folder,
        "--served-model-name": MODEL,
        "--host": "127.0.0.1",
        "--port": port,
        "--max-model-len": MAX_MODEL_LEN,
        "--max-num-seqs": 64,
        "--max-num-batched-tokens": MAX_MODEL_LEN,
        "--dtype": "bfloat16",
        "--seed": 0,
    }
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    # On a CPU, vLLM 0.32 ends when a request with a seed meets a prompt that is read in parts ("CPU Generator does not
    # use offset").
    command += ["--no-enable-chunked-prefill"]
    for name, value in arguments.items():
        command += [name, str(value)]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "OMP_"))
    }
    environment |= {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CACHE_ROOT": str(folder / "cache"),
    }
    log = folder / "vllm.log"
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    server = Vllm(f"http://127.0.0.1:{port}/v1", process, log, 0.0)
    try:
        _wait(server)
        server.start_seconds = time.monotonic() - began
        yield server
    finally:
        server.kill()


def _wait(server: Vllm) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            if httpx.get(server.url.removesuffix("/v1") + "/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        gone, late = server.process.poll() is not None, time.monotonic() > deadline
        if gone or late:
            tail = server.log.read_text(errors="replace")[-4000:]
            raise AssertionError(f"vLLM {'ended' if gone else 'is not up in time'}; the end of its log:\n{tail}")
        time.sleep(0.25)
