"""Chat completions as OpenAI's clients send and read them.

Headwater takes what decides *what* is asked, and leaves out what steers a model's sampling: how answers are written is
the corpus' configuration. What would promise something else than an answer with sources is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from serving.models.answers import AnswerResponse, Conversation
from serving.models.fields import Groups, has_no_nul
from serving.models.filters import AnyFilters, Filters

PREFIX = "headwater/"
"""How the names of models begin; the rest is the corpus'."""

MAX_MESSAGES = 1000
MAX_CONTENT = 200_000


class TextPart(BaseModel):
    """A piece of a message."""

    type: Literal["text"]
    text: Annotated[str, Field(max_length=MAX_CONTENT), AfterValidator(has_no_nul)]


class ChatMessage(BaseModel):
    """One message. Headwater answers the last one of the user; it has its own instructions, so it reads no others."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[str, Field(max_length=MAX_CONTENT), AfterValidator(has_no_nul)] | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """The text of the message; empty when it has none."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(BaseModel):
    """What a stream tells besides."""

    include_usage: bool | None = None


class ResponseFormat(BaseModel):
    """The form of the answer; there is only text."""

    type: Literal["text"]


class ChatRequest(BaseModel):
    """A chat completion. Fields that steer sampling are accepted and have no effect."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "model": "headwater/handbook",
                    "messages": [{"role": "user", "content": "How long is the notice period?"}],
                }
            ]
        },
    )
    model: str = Field(min_length=1, max_length=100, description="`headwater/` and the name of a corpus.")
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    response_format: ResponseFormat | None = None
    groups: Groups | None = None
    filters: AnyFilters = Field(default_factory=Filters, description="Only documents that match are read.")
    conversation: Conversation | None = None

    @field_validator("messages")
    @classmethod
    def _ends_with_a_question(cls, messages: list[ChatMessage]) -> list[ChatMessage]:
        if messages[-1].role != "user" or not messages[-1].text.strip():
            raise ValueError("the last message must be the user's, with text")
        return messages


class UrlCitation(BaseModel):
    """Characters of the content from ``start_index`` to ``end_index`` are supported by what is at ``url``."""

    url: str
    title: str
    start_index: int
    end_index: int


class Annotation(BaseModel):
    """One citation."""

    type: Literal["url_citation"] = "url_citation"
    url_citation: UrlCitation


class AssistantMessage(BaseModel):
    """The answer: its sentences with markers such as [1], and the sources by these numbers below it."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: str | None = Field(description="Why the question was refused; the content says the same.")
    annotations: list[Annotation]
    headwater: AnswerResponse = Field(description="The answer as /v1/answer gives it.")


class Choice(BaseModel):
    """The one answer."""

    index: Literal[0] = 0
    message: AssistantMessage
    logprobs: None = None
    finish_reason: Literal["stop"] = "stop"


class ChatUsage(BaseModel):
    """Tokens that a language model read and wrote; none when the sentences are quoted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatResponse(BaseModel):
    """A chat completion."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    system_fingerprint: str = Field(description="The release that was answered from.", examples=["release-12"])


class ModelOut(BaseModel):
    """A corpus as a model."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When its live release went live, in seconds since 1970.")
    owned_by: Literal["headwater"] = "headwater"


class ModelList(BaseModel):
    """All corpora that the caller may ask."""

    object: Literal["list"] = "list"
    data: list[ModelOut]


def chunk(
    name: str, created: int, model: str, delta: dict[str, Any] | None, *, finish: str | None = None, **more: Any
) -> dict[str, Any]:
    """Return one piece of a streamed chat completion; without a delta, one without choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return {
        "id": name,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": choices,
        **more,
    }
