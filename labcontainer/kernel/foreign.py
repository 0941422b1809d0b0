"""Calls of C functions by `_ctypes`, the C half of Python's `ctypes`: the other costs 3 ms a start.

What `ctypes` adds is convenience: names for every C type, and checks that they have the size that
they should. Nine types and one maker of functions are all that system calls take. The names are
those of `ctypes`, and so is what they do.
"""

from __future__ import annotations

import _ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from ctypes import Array as Array
    from ctypes import addressof as addressof
    from ctypes import c_char as c_char
    from ctypes import c_char_p as c_char_p
    from ctypes import c_int as c_int
    from ctypes import c_long as c_long
    from ctypes import c_uint as c_uint
    from ctypes import c_ulong as c_ulong
    from ctypes import c_void_p as c_void_p
    from ctypes import get_errno as get_errno
    from typing import Any
else:
    Array, addressof, get_errno = _ctypes.Array, _ctypes.addressof, _ctypes.get_errno

    def _simple(name: str, code: str) -> type:
        """A C type; the codes are those of `struct`, and `z` for a string, `P` for a pointer."""
        return type(_ctypes._SimpleCData)(name, (_ctypes._SimpleCData,), {"_type_": code})

    c_char, c_char_p = _simple("c_char", "c"), _simple("c_char_p", "z")
    c_int, c_uint = _simple("c_int", "i"), _simple("c_uint", "I")
    c_long, c_ulong = _simple("c_long", "l"), _simple("c_ulong", "L")
    c_void_p = _simple("c_void_p", "P")


class _Libc:
    """What is loaded in this process already, libc among it."""

    _handle = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]


def function(name: str, result: type, *arguments: type) -> Callable[..., int]:
    """A function of libc with its prototype; `get_errno` gives the errno of its last call.

    Raises:
        AttributeError: this libc has none of that name.
    """
    flags = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    prototype = {"_argtypes_": arguments, "_restype_": result, "_flags_": flags}
    make_type: Any = type(_ctypes.CFuncPtr)
    made: Callable[..., int] = make_type(name, (_ctypes.CFuncPtr,), prototype)((name, _Libc))
    return made


def buffer(content: int | bytes) -> Array[c_char]:
    """Memory that the kernel reads or fills: so many zero bytes, or a copy of these."""
    size = content if isinstance(content, int) else len(content)
    made = (c_char * size)()
    if isinstance(content, bytes):
        made.raw = content
    return made
