"""How passages become vectors."""

from __future__ import annotations

from pydantic import Field, model_validator

from headwater.policies.base import Policy


class EmbedPolicy(Policy):
    """How chunks become vectors."""

    model: str | None = Field(
        default=None,
        description="sentence-transformers model: a folder or a name; default: the bundled all-MiniLM-L6-v2. With url: the name that the endpoint knows it by.",
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="Where to compute: auto takes all GPUs, else the CPU; cpu, mps, cuda (all GPUs) or cuda:1 (one).",
    )
    tokens_per_batch: int | None = Field(
        default=None,
        gt=0,
        description="Token budget of one forward pass; default: 1024 on a CPU, 32768 on a GPU. Longest chunks go first; halved by itself when memory runs out.",
    )
    url: str | None = Field(
        default=None,
        pattern=r"^https?://[^@?#\s]+$",
        description="OpenAI-compatible endpoint, such as http://vllm:8000/v1 (its key: EMBEDDINGS_API_KEY); default: the model runs in this process.",
    )
    tokenizer: str | None = Field(
        default=None,
        description="Folder or name of the model whose tokenizer counts; default: that of model. Needed with url when the endpoint's name for the model is neither.",
    )
    document_prompt: str = Field(
        default="",
        description="Put before every chunk (E5: 'passage: '); default: what a local model's files name, with url nothing.",
    )
    query_prompt: str = Field(default="", description="Put before every query (E5: 'query: '); default: likewise.")
    requests: int = Field(default=4, ge=1, description="With url: requests under way at once.")
    texts_per_request: int = Field(
        default=32, ge=1, description="With url: most texts of one request; 32 is what Text Embeddings Inference takes."
    )
    timeout_seconds: float = Field(
        default=60.0, gt=0, description="With url: time the endpoint may take for a request."
    )
    bm25_k: float = Field(
        default=0.9,
        ge=0,
        description="BM25 term-frequency saturation; 0.9 with b 0.4 is Anserini's tuning (Yang et al. 2017).",
    )
    bm25_b: float = Field(default=0.4, ge=0, le=1, description="BM25 length normalisation.")
    bm25_language: str = Field(
        default="auto",
        description="Stemmer and stop words of the sparse vectors: german, say, or none; auto: those of the language that at least half of the documents are in, else English.",
    )

    @model_validator(mode="after")
    def _endpoint_has_a_model(self) -> EmbedPolicy:
        if self.url is not None and not self.model:
            raise ValueError("url needs model: the model's name as the endpoint knows it")
        return self
