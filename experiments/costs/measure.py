"""What single steps cost, each in a process of its own: experiments/costs/measure.py LFW > experiments/costs/table.md

`LFW` is the folder of its images. Times are processor time, so that other work on the machine changes them little;
memory is the most that is held beyond what the process held before the step. Torch has one thread.
"""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import psutil
import torch
from hydra import compose, initialize_config_dir

from facelab.commands.train import TrainConfig, check_training
from facelab.config.build import build
from facelab.config.compose import config_folder
from facelab.data import LFW, Splits
from facelab.data.columns import Column
from facelab.data.faces import FaceSet
from facelab.data.image_list import ImageList
from facelab.data.module import FaceDataModule
from facelab.data.near import near_pairs
from facelab.data.order import ByImage
from facelab.models import Diffusion, FaceModule
from facelab.models.edm import denoising_losses, training_noise
from facelab.protocols import Identification, Outputs, Protocol, Subject, Verification

MEBI = 2**20
STEPS, BATCH = 60, 32  # of training
Step = Callable[[], str]  # does what is measured, and says what came out


def made(people: int, images: int) -> FaceSet:
    """A set of black images of so many people, with so many images each."""
    codes = np.repeat(np.arange(people), images)
    pixels = np.broadcast_to(np.zeros((1, 8, 8, 1), np.uint8), (len(codes), 8, 8, 1))
    names, digests = [f"{i}.jpg" for i in range(len(codes))], [f"{i:064x}" for i in range(len(codes))]
    identity = Column(codes, [f"person {person}" for person in range(people)])
    return FaceSet("made", "made", pixels, names, digests, {"identity": identity}, "identity")


def judged(protocol: Protocol, faces: FaceSet, numbers: int) -> Step:
    """Judge random embeddings of all images of a set."""
    none, images, random = np.array([], np.int64), np.arange(len(faces)), np.random.default_rng(0)
    people = random.standard_normal((int(faces.identities.max()) + 1, numbers), np.float32)
    vectors = people[faces.identities] + random.standard_normal((len(images), numbers), np.float32)
    train = Outputs(vectors[:0], None, none, none, none)
    test = Outputs(vectors, None, faces.labels, faces.identities, images)
    subject = Subject(faces, Splits(none, none, images), train, test, cast(FaceModule, None), 0)

    def step() -> str:
        protocol.evaluate(subject)
        return "with intervals and pictures"

    return step


def pairs() -> Step:
    """Compare pairs of 1,000 people's images."""
    return judged(Verification(), made(1_000, 46), 256)


def searches() -> Step:
    """Search 10,000 people, enrolled by an image each."""
    return judged(Identification(unenrolled_share=0), made(10_000, 12), 128)


def near() -> Step:
    """Look for near-duplicates among random hashes."""
    hashes = np.random.default_rng(0).integers(0, 256, (1_000_000, 32), dtype=np.uint8)
    return lambda: f"{len(near_pairs(hashes)):,} found"


def image_list() -> Step:
    """Write the list of a run's images, with digests that do not compress."""
    random, none = np.random.default_rng(0), np.array([], np.int64)
    faces = made(100_000, 10)
    faces = replace(faces, digests=[random.bytes(32).hex() for _ in range(len(faces))])

    def step() -> str:
        with tempfile.TemporaryDirectory() as folder:
            path, splits = Path(folder) / "images.parquet", Splits(np.arange(len(faces)), none, none)
            ImageList.of(LFW(root=folder), faces, splits).write(path)
            return f"{path.stat().st_size / MEBI:.0f} MiB on disk"

    return step


def loading() -> Step:
    """Load batches as an evaluation does, without a model."""
    faces, none = made(1_000, 100), np.array([], np.int64)
    splits, order = Splits(none, none, np.arange(len(faces))), ByImage(none, 1, seed=0)
    data = FaceDataModule(faces, splits, experiment("model=cnn").augment, order, 1, 0, 0)

    def step() -> str:
        begun = time.process_time()
        count = sum(len(batch["image"]) for batch in data.evaluation_loader(splits.test))
        return f"{1e6 * (time.process_time() - begun) / count:.1f} µs an image"

    return step


def experiment(*overrides: str) -> TrainConfig:
    """The objects of a config."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return TrainConfig(**build(check_training(compose("train", ["split=few_shot", *overrides]))))


def diffusion() -> Diffusion:
    """The default diffusion model of grey images of 64 x 64."""
    module = experiment("model=diffusion").model(image_shape=(1, 64, 64), num_classes=40)
    return cast(Diffusion, module.to(memory_format=torch.channels_last))


def denoising_steps() -> Step:
    """Train in the precision that training chooses on this machine."""
    module, images = diffusion(), torch.rand(BATCH, 1, 64, 64) * 2 - 1
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    bf16 = experiment("model=diffusion").trainer.resolved().precision == "bf16-mixed"
    labels = torch.zeros(BATCH, dtype=torch.int64)

    def step() -> str:
        begun = time.process_time()
        for _ in range(STEPS):
            noise, levels = torch.randn_like(images), training_noise(torch.randn(BATCH))
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = denoising_losses(lambda *given: module.network(*given, labels), images, noise, levels).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        seconds, kind = (time.process_time() - begun) / STEPS / BATCH, "bf16" if bf16 else "float32"
        return f"{kind}: {1 / seconds:.0f} images a second; 128,000 in {128_000 * seconds / 60:.0f} minutes"

    return step


def denoised() -> Step:
    """Make 64 faces of 35 passes each."""
    module, noise = diffusion().eval(), torch.randn(64, 64 * 64)

    @torch.inference_mode()
    def step() -> str:
        begun = time.process_time()
        module.generate(noise, torch.zeros(64, dtype=torch.int64))
        return f"{(time.process_time() - begun) / 64 / 35 * 1000:.1f} ms a pass and face"

    return step


def reading(root: str) -> Step:
    """Load LFW, from its files or from the cache."""
    return lambda: f"{len(LFW(root=root, image_size=64, channels=3).load()):,} images"


CASES: dict[str, Callable[[], Step]] = {
    "verification of a million genuine and a million impostor pairs, 46,000 embeddings of 256 numbers": pairs,
    "identification, 110,000 searches of 10,000 people, embeddings of 128 numbers": searches,
    "near-duplicates among a million random hashes": near,
    "list of a run's 1,000,000 images": image_list,
    "loading 100,000 images of 8 x 8 for an evaluation": loading,
    f"training `diffusion`, {STEPS} steps of {BATCH} images": denoising_steps,
    "64 faces of `diffusion`, 18 steps of two passes": denoised,
}


def processor_seconds() -> float:
    """Of this process and of those that it has started and that have ended."""
    return sum(os.times()[:4])


def measured(case: Callable[[], Step], cell: "multiprocessing.Queue[str]") -> None:
    """Put a row's cells into a queue; runs in a fresh process."""
    torch.set_num_threads(1)
    step = case()
    before, begun = psutil.Process().memory_info().rss, processor_seconds()
    said = step()
    seconds = processor_seconds() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    cell.put(f"{seconds:.1f} | {max(0, peak) / MEBI:,.0f} | {said}")


def main() -> None:
    """Print Markdown."""
    root = Path(sys.argv[1]).absolute().as_posix()
    lfw = {f"LFW at 64 x 64 in colour, {start}": partial(reading, root) for start in ("first start", "further starts")}
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        print("| what | processor time, s | memory, MiB | result |\n|---|---|---|---|")
        for name, case in {**lfw, **CASES}.items():
            cell: multiprocessing.Queue[str] = spawn.Queue()
            process = spawn.Process(target=measured, args=(case, cell))
            process.start()
            print(f"| {name} | {cell.get()} |", flush=True)
            process.join()


if __name__ == "__main__":
    main()
