"""The language model that writes answers."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from headwater.policies.base import Policy


class LlmPolicy(Policy):
    """The language model that writes answers: any server of OpenAI's chat protocol with JSON schemas, vLLM first."""

    url: str = Field(
        pattern=r"^https?://[^@?#\s]+$", description="Base of the server's interface, such as http://vllm:8000/v1."
    )
    model: str = Field(min_length=1, description="The model's name as the server knows it.")
    prompt: str = Field(
        default="answer",
        pattern=r"^answer(\.[a-z0-9][a-z0-9_-]{0,39})?$",
        description="Name of its system prompt: answer, or a variant such as answer.legal (headwater prompts list).",
    )
    key_env: str = Field(
        default="LLM_API_KEY",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable with the server's key, if it wants one. Never the key itself.",
    )
    temperature: float = Field(default=0.0, ge=0, le=2, description="0 writes the likeliest words.")
    seed: int | None = Field(default=0, description="Of the sampling; null sends none.")
    max_tokens: int = Field(default=512, ge=16, description="Longest answer in the model's tokens, JSON included.")
    max_sentences: int = Field(default=6, ge=1, le=50, description="At most this many sentences are written.")
    max_sentence_characters: int = Field(default=400, ge=40, le=4000, description="Longest sentence.")
    context_tokens: int = Field(
        default=8192,
        ge=256,
        description="Tokens of prompt and answer together; passages are cut, whole sentences, to fit. A server that says it takes less is believed.",
    )
    connect_seconds: float = Field(default=3.0, gt=0, description="Time to connect.")
    first_token_seconds: float = Field(
        default=20.0, gt=0, description="Time to the first token of an attempt; no further one is made after it."
    )
    total_seconds: float = Field(default=60.0, gt=0, description="Time for the whole answer, attempts and pauses too.")
    attempts: int = Field(
        default=3, ge=1, le=10, description="Tries before the first token: the server is busy, away or failing."
    )
    breaker_failures: int = Field(
        default=5, ge=1, description="After this many failed attempts in a row the server is left alone for a while."
    )
    breaker_seconds: float = Field(
        default=30.0, gt=0, description="... for this long; then one request tries it again."
    )
    rewrite: bool = Field(
        default=True, description="The model makes a follow-up question stand alone; false leaves it to a plain rule."
    )
    prompt_price: float | None = Field(default=None, ge=0, description="Price of a million tokens read.")
    completion_price: float | None = Field(default=None, ge=0, description="Price of a million tokens written.")
    extra: dict[str, Any] = Field(
        default={},
        description="Further fields of every request, such as {chat_template_kwargs: {enable_thinking: false}}.",
    )

    @field_validator("extra")
    @classmethod
    def _extra_leaves_the_request_whole(cls, value: dict[str, Any]) -> dict[str, Any]:
        taken = sorted(value.keys() & {"model", "messages", "stream", "stream_options", "response_format", "n"})
        if taken:
            raise ValueError(f"{', '.join(taken)} can't be set: the answerer depends on it")
        return value

    @model_validator(mode="after")
    def _prompt_has_room(self) -> LlmPolicy:
        if self.max_tokens > self.context_tokens // 2:
            raise ValueError("max_tokens must be half of context_tokens at most, so that there is room for passages")
        return self
