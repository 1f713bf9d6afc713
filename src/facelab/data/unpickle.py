"""Read pickles of plain values and NumPy arrays without running anything in them.

A pickle is a program for a stack machine that can import and call any function. This module does not use Python's
unpickler. It interprets a closed list of instructions; every other instruction and every name outside `_NAMES` is
refused. The few allowed names stand for functions of this module, which only convert values.

A file cannot claim memory that it does not fill: lengths are bounded by the file, the memo is a dictionary, and the
number of instructions and the bytes produced by `encode` are limited.
"""

import pickletools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 1 << 30
MAX_STEPS = 2_000_000

_NUMERIC = re.compile(r"b1|[iu][1248]")
_NAMES = {
    "_codecs encode": "encode",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    **{f"numpy.{core}.multiarray {name}": name for core in ("core", "_core") for name in ("_reconstruct", "scalar")},
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_ARGUMENTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG1"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # of Python 2: bytes
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_ORDERS = ("|", "<", ">", "=")
_MARK = object()


class RefusedPickleError(Exception):
    """The pickle is damaged or not plain. The message is a sentence without its subject, the file."""


@dataclass(frozen=True)
class _Name:
    """An allowed global name."""

    name: str


@dataclass
class _DType:
    """A NumPy dtype: its code, such as `u1`, and its byte order."""

    code: str
    order: str = "="


@dataclass
class PlainArray:
    """The parts of a pickled NumPy array; only `values` converts them."""

    shape: object = ()
    dtype: object = None
    data: object = b""

    def values(self) -> Sequence[object] | NDArray[Any]:
        """The array, of one dimension, or the list of values if it holds Python objects.

        Raises:
            RefusedPickleError: the parts do not fit together, or it holds other numbers or has more dimensions.
        """
        if isinstance(self.dtype, _DType) and self.dtype.code in ("O", "O8") and isinstance(self.data, list):
            return self.data
        return _numbers(self.dtype, self.shape, self.data)


def read_plain(path: Path) -> object:
    """Read a pickle of lists, tuples, bytes, texts, integers, booleans and NumPy arrays, of protocol 0 to 5.

    Python 2's strings are read as bytes.

    Args:
        path: a regular file.

    Returns:
        The value; a NumPy array as a `PlainArray`, a NumPy scalar as a Python number.

    Raises:
        RefusedPickleError: it is damaged, too large, or holds anything else.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        if size == 0:
            raise RefusedPickleError("is empty (0 bytes)")
        if size > MAX_BYTES:
            raise RefusedPickleError(f"has {size:,} bytes, more than {MAX_BYTES:,}")
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            try:
                return _Machine(size).run(content)
            except RefusedPickleError:
                raise
            except (ValueError, IndexError, TypeError, OverflowError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
                raise RefusedPickleError(f"is no pickle, or is damaged ({reason})") from error


class _Machine:
    """The stack machine of one pickle.

    Args:
        size: bytes of the file, which bounds the bytes that `encode` may produce.
    """

    def __init__(self, size: int) -> None:
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}
        self.left = size

    def run(self, content: mmap) -> object:
        """Interpret the instructions up to STOP."""
        for number, (opcode, argument, _) in enumerate(pickletools.genops(cast(Any, content))):
            if number >= MAX_STEPS:
                raise RefusedPickleError(f"has more than {MAX_STEPS:,} instructions")
            if opcode.name == "STOP":
                break
            self._step(opcode.name, argument)
        return self.stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        if name in _ARGUMENTS:
            self.stack.append(argument)
        elif name in _STRINGS:
            self.stack.append(argument.encode("latin-1"))
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _PUTS:
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in _GETS:
            if argument not in self.memo:
                raise RefusedPickleError("is damaged: it refers to a value before it")
            self.stack.append(self.memo[argument])
        elif name not in ("PROTO", "FRAME"):
            self._build(name, argument)

    def _build(self, name: str, argument: Any) -> None:
        """Instructions that combine values."""
        if name == "MARK":
            self.stack.append(_MARK)
        elif name == "EMPTY_LIST":
            self.stack.append([])
        elif name in ("LIST", "TUPLE"):
            items = self._since_mark()
            self.stack.append(items if name == "LIST" else tuple(items))
        elif name in _SHORT_TUPLES:
            count = _SHORT_TUPLES[name]
            self.stack[-count:] = [tuple(self.stack[-count:])]
        elif name in ("APPEND", "APPENDS"):
            items = [self.stack.pop()] if name == "APPEND" else self._since_mark()
            into = self.stack[-1]
            if not isinstance(into, list):
                raise RefusedPickleError("is damaged: it appends to something that is not a list")
            into.extend(items)
        elif name == "GLOBAL":
            self.stack.append(_allowed(argument))
        elif name == "STACK_GLOBAL":
            named, module = self.stack.pop(), self.stack.pop()
            self.stack.append(_allowed(f"{module} {named}" if isinstance(module, str) else ""))
        elif name == "REDUCE":
            arguments, called = self.stack.pop(), self.stack.pop()
            self.stack.append(self._call(called, arguments))
        elif name == "BUILD":
            state = self.stack.pop()
            _set_state(self.stack[-1], state)
        else:
            raise RefusedPickleError(f"holds the instruction {name}, which images and booleans do not need")

    def _since_mark(self) -> list[object]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise RefusedPickleError("is damaged: a mark is missing")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def _call(self, called: object, arguments: object) -> object:
        """What one of the allowed names returns."""
        match (called, arguments):
            case _Name("encode"), (str() as text, "latin1" | "latin-1"):
                self.left -= len(text)
                if self.left < 0:
                    raise RefusedPickleError("would produce more bytes than it has")
                return text.encode("latin-1")
            case _Name("dtype"), (str() | bytes() as code, *_):
                return _DType(_text(code))
            case _Name("_reconstruct"), (_Name("ndarray"), *_):
                return PlainArray()
            case _Name("scalar"), (_DType() as dtype, data):
                return _numbers(dtype, (1,), data)[0].item()
        raise RefusedPickleError("calls something that images and booleans do not need")


def _allowed(name: str) -> _Name:
    if name not in _NAMES:
        shown = name.replace(" ", ".")[:100].encode("ascii", "backslashreplace").decode()
        raise RefusedPickleError(f"asks for {shown or 'a function'}, which could run code; nothing was run")
    return _Name(_NAMES[name])


def _set_state(value: object, state: object) -> None:
    match (value, state):
        case PlainArray(), (int(), shape, dtype, _, data):
            value.shape, value.dtype, value.data = shape, dtype, data
        case _DType(), (int(), str() | bytes() as order, *_):
            value.order = _text(order)
        case _:
            raise RefusedPickleError("sets the state of something that is not an array")


def _numbers(dtype: object, shape: object, data: object) -> NDArray[Any]:
    """The one-dimensional array of integers or booleans with these bytes.

    Raises:
        RefusedPickleError: the parts do not fit together.
    """
    match (dtype, shape, data):
        case _DType(), (int() as count,), bytes() if _NUMERIC.fullmatch(dtype.code) and dtype.order in _ORDERS:
            found = np.dtype(dtype.order + dtype.code)
            if count * found.itemsize == len(data):
                return np.frombuffer(data, found)
    raise RefusedPickleError("holds an array that is damaged, or not a list of integers or booleans")


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
