"""Settling down after the start: what was needed once is given back."""

import ctypes
import gc


def settle() -> None:
    """Collect the start's garbage, exempt what stays from later collections, shrink the heap.

    Imports and parsing leave free pages and tens of thousands of long-lived objects
    behind. Returning the pages keeps the process within its memory budget; freezing
    the objects keeps full collections from adding tens of milliseconds to a cycle.
    """
    gc.collect()
    gc.freeze()
    # glibc only; other C libraries return pages by themselves.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
