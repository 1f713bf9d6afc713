"""The pictures of a run that its page in MLflow opens on."""

from collections.abc import Collection

from PIL import Image

from facelab.tracking import TrackedRun, picture_file

_FOLDER, _SMALL = "pictures", "pictures/small"  # among the artifacts
_MOST = 3
_SIDES = (310, 250)  # pixels of a small one: the page shows images in their own size, in a column of about 650
# The most telling first; those of protocols that are not listed come after these.
_ORDER = (
    "samples",
    "reconstructions",
    "verification",
    "identification",
    "confusion_matrix",
    "confused_pairs",
    "nearest_training_faces",
    "hardest_pairs",
    "misclassified",
    "cmc",
    "embeddings",
    "prior_samples",
    "interpolations",
)


def record_pictures(tracked: TrackedRun, apart_from: Collection[str]) -> str:
    """Record up to three pictures as artifacts, each with a smaller copy; returns Markdown that shows them.

    Args:
        tracked: the run, with its pictures.
        apart_from: names of pictures that are not shown.
    """
    names = [str(item["picture"]) for item in tracked.spool.items() if "picture" in item]
    rank = {name: number for number, name in enumerate(_ORDER)}
    shown = sorted({*names} - {*apart_from}, key=lambda name: (rank.get(name, len(rank)), names.index(name)))[:_MOST]
    return " ".join(_record(tracked, name) for name in shown)


def _record(tracked: TrackedRun, name: str) -> str:
    source = picture_file(tracked.folder, name)
    if source is None:
        return ""
    folder = tracked.folder / _FOLDER
    (folder / "small").mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        whole = image.convert("RGB")
        whole.save(folder / f"{name}.png")
        whole.thumbnail(_SIDES, Image.Resampling.LANCZOS)
        whole.save(folder / "small" / f"{name}.png")
    tracked.file(f"{_FOLDER}/{name}.png", _FOLDER)
    tracked.file(f"{_SMALL}/{name}.png", _SMALL)
    return tracked.page.picture(f"{_FOLDER}/{name}.png", name.replace("_", " "), f"{_SMALL}/{name}.png")
