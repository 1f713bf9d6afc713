"""Verification sets: every way they were ever pickled gives the same images and pairs."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from facelab.data.sources.bin import Bin
from facelab.errors import DataError
from tests.data.made_formats import pictures, png, write_bin

PIXELS = pictures(6)
IMAGES = [png(one) for one in PIXELS]
GENUINE = [True, False, True]


def _arrays() -> tuple[object, object]:
    return [np.frombuffer(image, np.uint8).reshape(-1, 1) for image in IMAGES], np.array(GENUINE)


def _objects() -> tuple[object, object]:
    found = np.empty(6, dtype=object)
    found[:] = IMAGES
    return found, np.array(GENUINE, dtype=object)


FORMS = {
    "lists": (IMAGES, GENUINE),
    "tuples": (tuple(IMAGES), tuple(GENUINE)),
    "one list": [IMAGES, GENUINE],
    "numbers": (IMAGES, [1, 0, 1]),
    "array": (IMAGES, np.array(GENUINE)),
    "number array": (IMAGES, np.array([1, 0, 1], ">i4")),
    "scalars": (IMAGES, [np.True_, np.False_, np.True_]),
    "arrays": _arrays(),
    "objects": _objects(),
}


def _is_as_written(path: Path) -> None:
    found = Bin(path=str(path), image_size=16).load()
    assert np.array_equal(np.stack([found.pixels[index] for index in range(6)]), PIXELS)
    assert found.columns["genuine"].texts.tolist() == ["yes", "yes", "no", "no", "yes", "yes"]
    assert found.columns["pair"].texts.tolist() == ["0", "0", "1", "1", "2", "2"]
    assert list(found.names) == ["0_1", "0_2", "1_1", "1_2", "2_1", "2_2"]
    assert not found.has_identities


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", FORMS)
def test_pairs_are_read_as_written(tmp_path: Path, form: str, protocol: int) -> None:
    path = tmp_path / "lfw.bin"
    # Protocol 5 stores arrays by a function that the reader does not allow.
    path.write_bytes(pickle.dumps(FORMS[form], min(protocol, 4) if "array" in form else protocol))
    _is_as_written(path)


@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_arrays_of_old_and_new_numpy_are_read(tmp_path: Path, core: bytes) -> None:
    written = pickle.dumps((IMAGES, np.array(GENUINE)), 2).replace(b"numpy._core.multiarray", core)
    assert core in written
    (tmp_path / "lfw.bin").write_bytes(written)
    _is_as_written(tmp_path / "lfw.bin")


def test_strings_of_python_2_are_read_as_bytes(tmp_path: Path) -> None:
    def string(content: bytes) -> bytes:
        return b"T" + len(content).to_bytes(4, "little") + content

    images = b"".join(string(image) + b"q" + bytes([number]) for number, image in enumerate(IMAGES))
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02b1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    genuine = array + b"(K\x01K\x03\x85" + dtype + b"\x89U\x03\x01\x00\x01tb"
    (tmp_path / "lfw.bin").write_bytes(b"\x80\x02](" + images + b"e" + genuine + b"\x86.")
    reference, same = pickle.loads((tmp_path / "lfw.bin").read_bytes(), encoding="bytes")
    assert (reference, same.tolist()) == (IMAGES, GENUINE)
    _is_as_written(tmp_path / "lfw.bin")


BAD = {
    "empty": (b"", "is empty"),
    "words": (b"no pickle", "is no pickle, or is damaged"),
    "cut": (pickle.dumps((IMAGES, GENUINE))[:-20], "is no pickle, or is damaged"),
    "dictionary": (pickle.dumps({"bins": IMAGES}), "holds the instruction EMPTY_DICT"),
    "one": (pickle.dumps(IMAGES), "does not hold two lists"),
    "no lists": (pickle.dumps((b"ab", GENUINE)), "does not hold two lists"),
    "odd": (pickle.dumps((IMAGES[:5], GENUINE)), "holds 5 images for 3 pairs, not two per pair"),
    "texts": (pickle.dumps((["text"] * 6, GENUINE)), "holds an image that is not bytes"),
    "numbers": (pickle.dumps((IMAGES, [0, 1, 2])), "neither true nor false"),
    "nothing": (pickle.dumps((IMAGES, [None] * 3)), "neither true nor false"),
    "floats": (pickle.dumps((IMAGES, np.array([0.0, 1, 1])), 4), "not a list of integers or booleans"),
    "float": (pickle.dumps((IMAGES, [0.0, 1.0, 1.0])), "holds the instruction BINFLOAT"),
    "damaged picture": (pickle.dumps(([b"no picture", *IMAGES[1:]], GENUINE)), "0_1 is not an image"),
    "no pairs": (pickle.dumps(([], [])), "holds no images"),
}


@pytest.mark.parametrize(("content", "says"), BAD.values(), ids=BAD)
def test_another_content_is_told(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "lfw.bin").write_bytes(content)
    with pytest.raises(DataError) as caught:
        Bin(path=str(tmp_path / "lfw.bin")).load()
    assert says in str(caught.value)
    assert str(tmp_path / "lfw.bin") in str(caught.value)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.path: .*lfw\.bin does not exist"):
        Bin(path=str(tmp_path / "lfw.bin")).load()
    with pytest.raises(DataError, match="is a folder"):
        Bin(path=str(tmp_path)).load()


def test_one_kind_of_pair_only_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one class only"):
        Bin(path=str(write_bin(tmp_path / "lfw.bin", PIXELS, [True] * 3))).load()
