"""The chat interface that OpenAI's clients speak, over corpora: answers as messages, with citations."""

from serving.chat.routes import chat_routes

__all__ = ["chat_routes"]
