"""A client of Headwater's HTTP interface. What it returns are the values of the library: passages, answers, events.

::

    with Client("https://headwater.example", token="hw_...") as client:
        answer = client.answer("handbook", "How many days of leave does everyone have?")
"""

from headwater.client.client import Client
from headwater.client.errors import ApiError, ClientError, ConnectionFailed, FieldError
from headwater.client.records import (
    CorpusEntry,
    DocumentEntry,
    DocumentPart,
    Found,
    ReceiptEntry,
    ReleaseEntry,
    UnansweredQuestion,
)

__all__ = [
    "ApiError",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "CorpusEntry",
    "DocumentEntry",
    "DocumentPart",
    "FieldError",
    "Found",
    "ReceiptEntry",
    "ReleaseEntry",
    "UnansweredQuestion",
]
