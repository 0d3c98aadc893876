"""Answers by a language model behind an OpenAI-compatible server, read sentence by sentence while they are written."""

from headwater.answering.generation.breaker import Breaker
from headwater.answering.generation.client import ChatClient, ChatStream, Ending, open_client
from headwater.answering.generation.conversation import Standalone, bounded, rewrite
from headwater.answering.generation.writer import Writer

__all__ = [
    "Breaker",
    "ChatClient",
    "ChatStream",
    "Ending",
    "Standalone",
    "Writer",
    "bounded",
    "open_client",
    "rewrite",
]
