"""Pickles of strangers: nothing in them runs, and they cannot claim memory that they do not fill."""

import contextlib
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from facelab.data import unpickle
from facelab.data.sources.bin import Bin
from facelab.errors import DataError


class _Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def _problem(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Bin(path=str(path)).load()
    assert f"data.path: {path}" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_a_command_is_refused(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "marker"
    content = pickle.dumps((_Runs(f"touch {marker}"), [True]), protocol)
    assert "asks for posix.system, which could run code; nothing was run" in _problem(tmp_path / "lfw.bin", content)
    assert not marker.exists()
    pickle.loads(content)  # Python's own reader runs it
    assert marker.exists()


NAMES = [
    *(
        b"builtins\neval",
        b"__builtin__\neval",
        b"builtins\ngetattr",
        b"os\nsystem",
        b"posix\nsystem",
        b"subprocess\nrun",
    ),
    *(b"_codecs\ndecode", b"_codecs\nlookup", b"codecs\nencode", b"numpy\nload", b"numpy\nfromfile"),
    *(
        b"numpy.core.multiarray\nfromfile",
        b"numpy._core.multiarray\n_reconstruct.__globals__",
        b"numpy\ndtype.__class__",
    ),
    *(b"pickle\nloads", b"facelab.data.unpickle\nread_plain", b"\n", b"_codecs encode\n", b"_codecs\nencode encode"),
]


@pytest.mark.parametrize("name", NAMES)
def test_other_names_are_refused_before_anything_else_happens(tmp_path: Path, name: bytes) -> None:
    assert "nothing was run" in _problem(tmp_path / "lfw.bin", b"c" + name + b"\n(S'x'\ntR.")
    module, _, function = name.partition(b"\n")
    stacked = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(text)]) + text for text in (module, function)) + b"\x93)R."
    assert "nothing was run" in _problem(tmp_path / "lfw.bin", stacked)


REDUCE = {
    "rot13": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
    "text encoding": b"c_codecs\nencode\nX\x01\x00\x00\x00a\x85R.",
    "string": b"X\x01\x00\x00\x00a)R.",
    "list": b"])R.",
    "another class": b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85C\x01b\x87R.",
    "ndarray": b"cnumpy\nndarray\nK\x05\x85R.",
    "arguments": b"c_codecs\nencode\nNR.",
}


@pytest.mark.parametrize("content", REDUCE.values(), ids=REDUCE)
def test_other_calls_are_refused(tmp_path: Path, content: bytes) -> None:
    assert "calls something that images and booleans do not need" in _problem(tmp_path / "lfw.bin", content)


BUILD = {"name": b"c_codecs\nencode\n", "list": b"]", "text": b"X\x01\x00\x00\x00a", "number": b"K\x01", "tuple": b")"}


@pytest.mark.parametrize("content", BUILD.values(), ids=BUILD)
def test_only_arrays_have_a_state(tmp_path: Path, content: bytes) -> None:
    assert "sets the state" in _problem(tmp_path / "lfw.bin", content + b"Nb.")


INSTRUCTIONS = {
    **{"INST": b"(ios\nsystem\n.", "OBJ": b"(No.", "NEWOBJ": b"N)\x81.", "NEWOBJ_EX": b"N)N\x92."},
    **{"PERSID": b"Px\n.", "BINPERSID": b"NQ.", "DICT": b"(d.", "EMPTY_SET": b"\x8f.", "NEXT_BUFFER": b"\x97."},
    **{"FLOAT": b"F1.0\n.", "LONG4": b"\x8b\x00\x00\x00\x00.", "DUP": b"N2.", "EXT1": b"\x82\x01.", "POP": b"NN0."},
}  # fmt: skip


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_other_instructions_are_refused(tmp_path: Path, name: str) -> None:
    assert f"holds the instruction {name}" in _problem(tmp_path / "lfw.bin", INSTRUCTIONS[name])


def _string(text: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text


HUGE = 1 << 40
CLAIMS = {
    "frame": b"\x80\x04\x95" + struct.pack("<Q", HUGE) + b"N.",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", HUGE) + b"N.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", HUGE) + b"N.",
    "text": b"\x80\x04\x8d" + struct.pack("<Q", HUGE) + b"N.",
    "short bytes": b"B\xff\xff\xff\xffN.",
    "negative": b"T\xff\xff\xff\xffN.",
    "memo": b"Nr\xff\xff\xff\xff.",
    "missing memo": b"j\xff\xff\xff\xff.",
    "number": b"I" + b"9" * 100_000 + b"\n.",
    "array": b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01"
    b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86cnumpy\ndtype\nX\x02\x00\x00\x00u1\x85R\x89C\x01xtb\x85]\x86.",
    "array of pairs": b"]cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01"
    b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86cnumpy\ndtype\nX\x02\x00\x00\x00u1\x85R\x89C\x01xtb\x86.",
    # 1 MB of text, encoded ten thousand times.
    "encode": b"c_codecs\nencode\nq\x00" + _string(b"a" * 1_000_000) + _string(b"latin1") + b"\x86q\x01R"
    + b"h\x00h\x01R" * 10_000 + b".",
    "itself": b"]q\x00h\x00a]\x86.",
    "deep": b")" + b"\x85" * 20_000 + b".",
    "nothing": b".",
    "too few": b"\x86.",
    "no mark": b"N(0t.",
    "unmarked": b"NNt.",
}  # fmt: skip


@pytest.mark.parametrize("content", CLAIMS.values(), ids=CLAIMS)
def test_claims_are_refused_without_their_memory(tmp_path: Path, content: bytes) -> None:
    tracemalloc.start()
    try:
        _problem(tmp_path / "lfw.bin", content)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def test_endless_instructions_and_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickle, "MAX_STEPS", 1000)
    assert "more than 1,000 instructions" in _problem(tmp_path / "lfw.bin", b"N" * 2000 + b".")
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(unpickle.MAX_BYTES + 1)
    with pytest.raises(DataError, match=r"has 1,073,741,825 bytes; at most 1,073,741,824 are read"):
        Bin(path=str(tmp_path / "large.bin")).load()


@pytest.mark.parametrize("protocol", range(5))
def test_damaged_pickles_are_read_or_refused(tmp_path: Path, protocol: int) -> None:
    random = np.random.default_rng(protocol)
    whole = pickle.dumps(([b"a" * 9] * 4, np.array([True, False])), protocol)
    for _ in range(100):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(0, 256)
        (tmp_path / "lfw.bin").write_bytes(damaged)
        with contextlib.suppress(DataError):
            Bin(path=str(tmp_path / "lfw.bin")).rows()
