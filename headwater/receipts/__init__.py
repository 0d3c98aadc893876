"""What became of every object: exactly one end state each, with the reason in plain words.

``states`` finds the end states in the stage tables, ``record`` keeps them in a table of their own with the time each
was reached, ``standing`` knows which revisions the live release holds, ``reading`` puts the two together for whoever
asks, and ``files`` writes the same beside the bucket.
"""

from __future__ import annotations

from headwater.receipts.reading import (
    RECEIPT_STATES,
    Receipt,
    ReceiptPage,
    ReceiptState,
    count_states,
    keys_in_state,
    page_of_receipts,
    read_receipts,
)
from headwater.receipts.record import RECEIPTS, record_receipts
from headwater.receipts.states import END_STATES, EndState, end_states
from headwater.receipts.words import explain

__all__ = [
    "END_STATES",
    "RECEIPTS",
    "RECEIPT_STATES",
    "EndState",
    "Receipt",
    "ReceiptPage",
    "ReceiptState",
    "count_states",
    "end_states",
    "explain",
    "keys_in_state",
    "page_of_receipts",
    "read_receipts",
    "record_receipts",
]
