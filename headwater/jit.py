"""The one way to compile a function: numba, without Python objects, cached on disk, free of the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


def jit(function: Function) -> Function:
    """Compile ``function`` at its first call for the types it is given.

    The machine code is kept beside the module, else in the user's cache folder or in ``NUMBA_CACHE_DIR``. Where none
    of them can be written (a read-only container, say) it is compiled anew in each process.
    """
    import numba

    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        return cast(Function, numba.njit(nogil=True)(function))
