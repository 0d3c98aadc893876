"""Erasing a document for good, and the proof that it is gone.

``erase`` removes a document from the history of every lake table, every release, the vector cache and the recorded
answers, looks for what might be left, and records a tombstone with the receipt. It may be killed at any point: the
next ``erase`` or ``recover`` finishes it.
"""

from headwater.erase.erasing import erase, recover, verify_erasure
from headwater.erase.records import ErasureReceipt, Verification

__all__ = ["ErasureReceipt", "Verification", "erase", "recover", "verify_erasure"]
