"""Write the study's aligned faces: python experiments/expression/prepare.py YALE LFW OUT.

YALE holds subjectNN/subjectNN.CONDITION.png, LFW holds PERSON/PERSON_NNNN.jpg (the central 126 x 126 pixels of the
deep-funnelled release, resized to 96 x 96). No detector and no landmarks are used. The faces of Yale are aligned to a
template that is computed from them: it starts as the brows, eyes and nose of one picture, at a place given by hand, and
becomes the mean of the pictures of subjects 1 to 7, each moved, turned and scaled to where it resembles the template
best (congealing; Learned-Miller, "Data Driven Image Models through Continuous Joint Alignment", 2006). Every picture of
subjects 8 to 15 is aligned to that template alone, without the others. Labels are not used.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

EXPRESSIONS = ("happy", "sad", "sleepy", "surprised", "wink", "normal")
TEMPLATE_SUBJECTS, SUBJECTS = range(1, 8), range(1, 16)
SAME_PICTURE = "subject04.sad.png"  # the same bytes as subject04.normal.png: a picture under two labels
FIRST, CORNER = "subject01.normal.png", (121, 82)  # where the template starts: left and top, in pixels
WIDTH, HEIGHT = 120, 104  # of the template
LEFT, TOP, FACE = 4, 14, (128, 144)  # of the crop: margins around the template, and its size
SIDE = 64  # pixels of the pictures that are written
LEAST, MOST = 10, 40  # pictures of a person of LFW

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]
Pose = NDArray[
    np.float64
]  # of the template in a picture: angle in radians, logarithm of the scale, x and y of its middle
Levels = TypeVar("Levels", Image, Plane)
Place = tuple[float, float]  # mean and standard deviation of y
STEPS = np.array([np.radians(3), 0.04, 3.0, 3.0])  # of the fine search


def detail(image: Image) -> Plane:
    """Grey levels without their neighbourhood's brightness and contrast."""
    levels = np.log(image.astype(np.float32) / 255 + 0.1)
    difference = levels - cv2.GaussianBlur(levels, (0, 0), 12)
    variance = cv2.GaussianBlur(difference * difference, (0, 0), 12)
    return np.asarray(difference / np.sqrt(variance + 0.05**2), dtype=np.float32)


def matrix(pose: Pose) -> NDArray[np.float64]:
    """From points of the template to points of the picture, (3, 3)."""
    angle, scale = pose[0], np.exp(pose[1])
    c, s, x, y = scale * np.cos(angle), scale * np.sin(angle), WIDTH / 2, HEIGHT / 2
    return np.array([[c, -s, pose[2] - c * x + s * y], [s, c, pose[3] - s * x - c * y], [0, 0, 1]])


def taken(image: Levels, to_image: NDArray[np.float64], size: tuple[int, int]) -> Levels:
    """The part of a picture that a matrix points to, (height, width)."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(image, to_image[:2], size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cast(Levels, warped)


def penalty(angle: float, log_scale: float) -> float:
    """Heads are upright and about equally large: subtracted from the correlation."""
    return float(0.04 * (log_scale / 0.1) ** 2 + 0.01 * (angle / np.radians(6)) ** 2)


def coarse(picture: Plane, template: Plane, place: Place | None) -> Pose:
    """Best pose of a grid of angles and scales, at any position."""
    height, width = picture.shape
    middle, corner = np.array([width / 2, height / 2]), np.array([WIDTH / 2, HEIGHT / 2])
    best, found = -np.inf, np.zeros(4)
    for angle in np.radians(np.arange(-10, 11, 5)):
        for log_scale in np.linspace(-0.24, 0.24, 7):
            turn = np.exp(log_scale) * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            shift = middle - turn @ middle
            canvas = taken(picture, np.column_stack([turn, shift]), (width, height))
            scores = cv2.matchTemplate(canvas, template, cv2.TM_CCOEFF_NORMED)
            if place is not None:
                rows, columns = np.mgrid[: scores.shape[0], : scores.shape[1]]
                y = turn[1, 0] * (columns + corner[0]) + turn[1, 1] * (rows + corner[1]) + shift[1]
                scores = scores - 0.01 * ((y - place[0]) / place[1]) ** 2
            row, column = np.unravel_index(scores.argmax(), scores.shape)
            score = scores[row, column] - penalty(angle, log_scale)
            if score > best:
                best = score
                found = np.array([angle, log_scale, *(turn @ (np.array([column, row]) + corner) + shift)])
    return found


def fine(picture: Plane, template: Plane, place: Place, start: Pose) -> Pose:
    """The pose near `start` with the highest correlation less the penalties (Nelder-Mead)."""
    centred = template - template.mean()

    def cost(steps: NDArray[np.float64]) -> float:
        pose = start + steps * STEPS
        part = taken(picture, matrix(pose), (WIDTH, HEIGHT))
        part = part - part.mean()
        correlation = (part * centred).sum() / np.sqrt((part * part).sum() * (centred * centred).sum())
        return float(penalty(pose[0], pose[1]) + 0.01 * ((pose[3] - place[0]) / place[1]) ** 2 - correlation)

    simplex = np.vstack([np.zeros(4), np.eye(4)])
    options = {"initial_simplex": simplex, "xatol": 0.05, "fatol": 1e-4, "maxiter": 120}
    return np.asarray(start + minimize(cost, np.zeros(4), method="Nelder-Mead", options=options).x * STEPS)


def learned_template(pictures: Sequence[Plane], first: Plane) -> tuple[Plane, Place]:
    """The mean of aligned pictures, made symmetric, and where it lies in them."""
    template, place = first, None
    for _ in range(4):
        poses = [coarse(picture, template, place) for picture in pictures]
        if place is not None:
            poses = [fine(picture, template, place, pose) for picture, pose in zip(pictures, poses, strict=True)]
        parts = [taken(picture, matrix(p), (WIDTH, HEIGHT)) for picture, p in zip(pictures, poses, strict=True)]
        mean = np.mean(parts, axis=0)
        template = np.asarray((mean + mean[:, ::-1]) / 2, dtype=np.float32)
        y = np.array([pose[3] for pose in poses])
        place = (float(y.mean()), float(y.std()))
    assert place is not None
    return template, place


def aligned(images: Mapping[str, Image]) -> dict[str, Image]:
    """The faces by file name, (SIDE, SIDE), from brows to chin, eyes and mouth at the same places."""
    details = {name: detail(image) for name, image in images.items()}
    of_template = [d for name, d in details.items() if int(name[7:9]) in TEMPLATE_SUBJECTS]
    left, top = CORNER
    template, place = learned_template(of_template, details[FIRST][top : top + HEIGHT, left : left + WIDTH].copy())
    faces = {}
    for name, image in images.items():
        pose = fine(details[name], template, place, coarse(details[name], template, place))
        crop = taken(image, matrix(pose) @ np.array([[1, 0, -LEFT], [0, 1, -TOP], [0, 0, 1]]), FACE)
        faces[name] = np.asarray(cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return faces


def yale(root: Path, out: Path) -> None:
    """Aligned faces as OUT/yale/NAME, and all on one sheet, a row a person, to look at."""
    names = [f"subject{subject:02d}.{expression}.png" for subject in SUBJECTS for expression in EXPRESSIONS]
    images = {name: np.asarray(cv2.imread(str(root / name[:9] / name), cv2.IMREAD_GRAYSCALE)) for name in names}
    faces = aligned(images)
    rows = [np.hstack([faces[name] for name in names[start : start + 6]]) for start in range(0, len(names), 6)]
    out.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out / "yale.png"), np.vstack(rows))
    del faces[SAME_PICTURE]
    (out / "yale").mkdir(exist_ok=True)
    for name, face in faces.items():
        cv2.imwrite(str(out / "yale" / name), face)


def lfw(root: Path, out: Path) -> None:
    """People with ten pictures or more, of each the first 40; eyes and mouth about where `yale` has them."""
    for person in sorted(path for path in root.iterdir() if path.is_dir()):
        paths = sorted(person.glob("*.jpg"))
        if len(paths) >= LEAST:
            folder = out / "lfw" / person.name
            folder.mkdir(parents=True, exist_ok=True)
            for path in paths[:MOST]:
                face = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))[17:93, 14:82]
                cv2.imwrite(
                    str(folder / f"{path.stem}.png"), cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
                )


def main() -> None:
    """Write OUT/yale, OUT/lfw and the sheet OUT/yale.png."""
    if len(sys.argv) != 4:
        raise SystemExit("Expected three folders: python experiments/expression/prepare.py YALE LFW OUT")
    yale_root, lfw_root, out = map(Path, sys.argv[1:])
    yale(yale_root, out)
    lfw(lfw_root, out)


if __name__ == "__main__":
    main()
