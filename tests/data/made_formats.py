"""Small data sets in the formats people distribute, written byte by byte."""

import io
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAGIC = 0xCED7230A
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def pictures(count: int, size: int = 16, channels: int = 3) -> NDArray[np.uint8]:
    """Different pictures: (count, size, size, channels)."""
    return np.random.default_rng(count).integers(0, 256, (count, size, size, channels), np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An encoded picture, without loss."""
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG")
    return file.getvalue()


def record(content: bytes) -> bytes:
    """One record as dmlc-core's RecordIOWriter writes it, split where the content holds the magic number."""
    magic = struct.pack("<I", MAGIC)
    parts, start = list[bytes](), 0
    for place in range(0, len(content) // 4 * 4, 4):
        if content[place : place + 4] == magic:
            parts.append(content[start:place])
            start = place + 4
    parts.append(content[start:])
    kinds = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    heads = [magic + struct.pack("<I", kind << 29 | len(part)) for kind, part in zip(kinds, parts, strict=True)]
    return b"".join(head + part + b"\0" * (-len(part) % 4) for head, part in zip(heads, parts, strict=True))


def packed(labels: Sequence[float], image: bytes, flag: int = 0) -> bytes:
    """The content of a record, as MXNet's recordio.pack makes it."""
    further = struct.pack(f"<{flag}f", *labels) if flag else b""
    return struct.pack("<IfQQ", flag, 0 if flag else labels[0], 1, 0) + further + image


def write_records(path: Path, contents: Sequence[bytes], keys: Sequence[int] | None = None) -> Path:
    """A `.rec` and its `.idx`."""
    place, lines, written = 0, [], b""
    for key, content in zip(range(len(contents)) if keys is None else keys, contents, strict=True):
        lines.append(f"{key}\t{place}\n")
        written += record(content)
        place = len(written)
    path.write_bytes(written)
    path.with_suffix(".idx").write_text("".join(lines))
    return path


def insightface_records(path: Path, images: Sequence[bytes], labels: Sequence[int]) -> Path:
    """Records as insightface packs them: a count, the images, and one record per person."""
    people = sorted(set(labels))
    end = len(images) + 1
    first = packed([end, end + len(people)], b"", 2)
    last = [packed([1 + labels.index(person), 2], b"", 2) for person in people]
    middle = [packed([label], image) for label, image in zip(labels, images, strict=True)]
    return write_records(path, [first, *middle, *last])


def write_fer2013(path: Path, pixels: NDArray[np.uint8], emotions: Sequence[int], usages: Sequence[str]) -> Path:
    """`fer2013.csv`."""
    texts = [" ".join(map(str, image.ravel().tolist())) for image in pixels]
    rows = [f"{one},{text},{usage}\n" for one, text, usage in zip(emotions, texts, usages, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("emotion,pixels,Usage\n" + "".join(rows))
    return path


def write_celeba(root: Path, people: Sequence[int], smiling: Sequence[int], parts: Sequence[int]) -> Path:
    """CelebA with two attributes, as in the original archive: several spaces between the fields."""
    (root / "img_align_celeba").mkdir(parents=True)
    names = [f"{number:06d}.jpg" for number in range(1, len(people) + 1)]
    for name, pixels in zip(names, pictures(len(people)), strict=True):
        (root / "img_align_celeba" / name).write_bytes(png(pixels))
    (root / "identity_CelebA.txt").write_text("".join(f"{n} {p}\n" for n, p in zip(names, people, strict=True)))
    (root / "list_eval_partition.txt").write_text("".join(f"{n} {p}\n" for n, p in zip(names, parts, strict=True)))
    rows = "".join(f"{name} {value:>2} {-value:>2}\n" for name, value in zip(names, smiling, strict=True))
    (root / "list_attr_celeba.txt").write_text(f"{len(people)}\n5_o_Clock_Shadow Smiling \n{rows}")
    return root


def write_rafdb(root: Path, rows: Sequence[tuple[str, int]]) -> Path:
    """RAF-DB with these image names and numbers of classes."""
    (root / "EmoLabel").mkdir(parents=True)
    (root / "Image" / "aligned").mkdir(parents=True)
    (root / "EmoLabel" / "list_patition_label.txt").write_text("".join(f"{name} {number}\n" for name, number in rows))
    for (name, _), pixels in zip(rows, pictures(len(rows)), strict=True):
        (root / "Image" / "aligned" / f"{Path(name).stem}_aligned.jpg").write_bytes(png(pixels))
    return root


def write_bin(path: Path, pixels: NDArray[np.uint8], genuine: Sequence[bool]) -> Path:
    """A verification set."""
    path.write_bytes(pickle.dumps(([png(image) for image in pixels], list(genuine)), 5))
    return path


def make_packed(choice: str, folder: Path) -> list[str]:
    """The set that `data=<choice>` is read from, in `folder`; returns the overrides that it needs."""
    if choice == "fer2013":
        usages = ["Training"] * 14 + ["PublicTest"] * 7 + ["PrivateTest"] * 7
        write_fer2013(folder / "faces" / "fer2013.csv", pictures(28, 48, 1), [*range(7)] * 4, usages)
    if choice == "celeba":
        write_celeba(folder / "faces", [*range(12)], [-1, 1] * 6, [0] * 6 + [1] * 2 + [2] * 4)
    if choice == "rafdb":
        names = [f"train_{number}.jpg" for number in range(14)] + [f"test_{number}.jpg" for number in range(7)]
        write_rafdb(folder / "faces", list(zip(names, [*range(1, 8)] * 3, strict=True)))
    if choice == "recordio":
        insightface_records(
            folder / "faces.rec", [png(one) for one in pictures(24)], [number // 6 for number in range(24)]
        )
    if choice == "bin":
        write_bin(folder / "faces.bin", pictures(40), [True, False] * 10)
    return ["split=official"] if choice in ("fer2013", "celeba", "rafdb") else []


def write_pair_folds(path: Path, people: int) -> Path:
    """A list of pairs of AT&T's first people, two people a fold: two genuine and two impostor pairs in each."""
    lines = ["first,second,genuine,fold"]
    for fold in range(people // 2):
        a, b = f"s{2 * fold + 1}", f"s{2 * fold + 2}"
        lines += [
            f"{a}/1,{a}/2,yes,{fold}",
            f"{b}/3,{b}/4,yes,{fold}",
            f"{a}/1,{b}/5,no,{fold}",
            f"{a}/2,{b}/3,no,{fold}",
        ]
    path.write_text("\n".join(lines))
    return path
