"""The command `facelab generate`: generate faces with a trained model."""

import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from facelab.commands.labelled import labelled_plan, write_labelled, write_manifest
from facelab.config.build import build
from facelab.data.images import picture
from facelab.errors import ConfigError
from facelab.models.base import Generative, Varying
from facelab.models.finished import find_run
from facelab.models.sampling import interpolate, sample
from facelab.models.trained import Trained, load
from facelab.protocols import plots
from facelab.runs.origins import MANIFEST
from facelab.system import training_command
from facelab.tracking import Store

_COLUMNS = 8


@dataclass(frozen=True)
class Generation:
    """The root of the `generate` config.

    Args:
        run: id of a finished run of a generative model.
        tracking: the store to download the run from, if it has no folder here.
        n: number of faces; not used with `per_identity`.
        per_identity: write so many faces of each label of a conditional model, in a folder for each, which
            `data=folder` reads; null for `n` faces in one folder.
        label: class to generate, from 0, for a conditional model; null for all classes in turn.
        seed: of the latents; the i-th face of a seed does not depend on n.
        psi: factor on the latents; below 1 gives more typical, less diverse faces (truncation).
        out: folder for the images; created if it does not exist.
        runs_folder: where runs keep their files.
    """

    run: str
    tracking: Store
    n: Annotated[int, Field(ge=1, le=100_000)] = 64
    per_identity: Annotated[int, Field(ge=1, le=100_000)] | None = None
    label: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    psi: Annotated[float, Field(ge=0, le=2)] = 1.0
    out: str = "samples"
    runs_folder: str = "runs"


def generate(config: Mapping[str, Any]) -> None:
    """Write generated faces, a grid of them, latent interpolations, and a manifest; or a labelled set and a manifest.

    Args:
        config: a checked config of `Generation`.

    Raises:
        ConfigError: there is no such run, it cannot generate, or has no such label; the folder is not empty or not
            writable, or another process writes into it.
        TrackingError: the run is not here, and its store cannot be read.
    """
    options = Generation(**build(config))
    folder = find_run(options.run, Path(options.runs_folder), options.tracking)
    trained = _generative(options, folder)
    out = Path(options.out).absolute()
    try:
        _refuse_used(out)
        with _whole(out) as partial:
            if options.per_identity is None:
                _write_samples(options, trained, folder, partial)
            else:
                plan = labelled_plan(trained, options.per_identity, options.label)
                own = {name: getattr(options, name) for name in ("seed", "psi", "per_identity")}
                write_labelled(trained, folder, partial, plan, own)
    except OSError as error:
        raise ConfigError(
            f"out: {out} cannot be written ({error}). Choose another folder with out=<folder>."
        ) from error
    if options.per_identity is None:
        print(f"{options.n} faces, grid.png, interpolations.png and {MANIFEST} in {out}")
    else:
        print(f"{len(plan)} faces of {len(np.unique(plan.labels))} labels and {MANIFEST} in {out}")
        print(f"To train on them alone: {training_command()} data=folder data.root={shlex.quote(str(out))}")


def _refuse_used(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"out: {out} exists and is not empty. Choose another folder with out=<folder>.")
    if out.is_mount():
        raise ConfigError(f"out: {out} is the top of a file system. Choose a folder in it, such as out={out / 'set'}.")


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A new folder beside `out`, which takes its name once the block has filled it: half a set is none.

    What an earlier try left there, as one that was killed, is removed.

    Raises:
        ConfigError: another process fills it.
        OSError: it cannot be written.
    """
    partial, lock = (out.with_name(f".{out.name}.{kind}") for kind in ("partial", "lock"))
    out.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()  # a lock that cannot be made would pass for one that is held
    try:
        with FileLock(lock, timeout=0):
            try:
                if partial.exists():
                    shutil.rmtree(partial)
                partial.mkdir()
                yield partial
                partial.rename(out)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
                lock.unlink(missing_ok=True)
    except Timeout:
        raise ConfigError(
            f"out: another process is writing into {out}. Wait for it, or choose another folder with out=<folder>."
        ) from None


def _write_samples(options: Generation, trained: Trained, folder: Path, out: Path) -> None:
    images, labels = sample(trained.module, options.n, options.seed, options.label, options.psi)
    names = _label_names(trained)
    files = [f"{i:05d}.png" for i in range(options.n)]
    for file, image in zip(files, images, strict=True):
        picture(image).save(out / file)
    Image.fromarray(plots.tile(_grid(images))).save(out / "grid.png")
    strips = interpolate(
        trained.module, rows=_COLUMNS, columns=_COLUMNS, seed=options.seed, label=options.label, psi=options.psi
    )
    Image.fromarray(plots.tile(strips)).save(out / "interpolations.png")
    rows = [
        {"file": file, "index": i, "label": names[label] if names else None}
        for i, (file, label) in enumerate(zip(files, labels, strict=True))
    ]
    write_manifest(trained, folder, out, {"seed": options.seed, "psi": options.psi}, rows)


def _generative(options: Generation, folder: Path) -> Trained:
    trained = load(folder)
    if isinstance(trained.module, Varying):
        raise ConfigError(
            f"run={options.run}: its model, {type(trained.module).__name__}, makes other images of the person on a "
            "given one, and no new people. Its page in MLflow shows some; to train on them, type "
            f"synthetic=gan_transfer synthetic.run={options.run}."
        )
    if not isinstance(trained.module, Generative):
        kind = type(trained.module).__name__
        raise ConfigError(
            f"run={options.run}: its model, {kind}, cannot generate faces. Choose a run of model=gan, gan_conditional, "
            "dcgan, diffusion, diffusion_conditional or vae."
        )
    if options.per_identity is not None and not trained.module.num_labels:
        raise ConfigError(
            f"per_identity={options.per_identity}: this model is not conditioned on labels, so its faces belong to no "
            "person. Remove per_identity=, or choose a run of model=gan_conditional."
        )
    if options.label is not None and options.label >= trained.module.num_labels:
        if not trained.module.num_labels:
            raise ConfigError(
                f"label={options.label}: this model is not conditioned on labels. Remove label=, or choose a run of "
                "model=gan_conditional or diffusion_conditional."
            )
        names = trained.metadata.label_names
        raise ConfigError(
            f"label={options.label}: the run has {len(names)} labels, 0 ({names[0]}) to {len(names) - 1} ({names[-1]})."
        )
    if torch.cuda.is_available():
        trained.module.to("cuda")
    return trained


def _label_names(trained: Trained) -> tuple[str, ...]:
    assert isinstance(trained.module, Generative)
    return trained.metadata.label_names if trained.module.num_labels else ()


def _grid(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The first 256 faces in rows of eight; the last row is padded with white."""
    shown = images[:256]
    columns = min(_COLUMNS, len(shown))
    white = np.full((-len(shown) % columns, *shown.shape[1:]), 255, dtype=np.uint8)
    return np.concatenate([shown, white]).reshape(-1, columns, *shown.shape[1:])
