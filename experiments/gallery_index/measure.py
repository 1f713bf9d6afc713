"""What an index of a gallery finds, and how fast: experiments/gallery_index/measure.py [people] [numbers of each].

Times are processor time of one thread, so that other work on the machine changes them little.
"""

import sys
import time
from collections.abc import Callable

import psutil
import torch
from torch import Tensor
from torch.nn.functional import normalize

from facelab.galleries.index import Index, count_best
from facelab.galleries.search import Nearest, nearest

FACES = 256  # of each kind; searched at once, as `facelab identify` does
CHUNK = 10_000
# Standard deviations fall with these powers of a direction's rank, between people and between images of one person.
BETWEEN, WITHIN, WITHIN_SHARE = -0.65, -0.5, 0.3
SHARES = (64, 32, 16, 8)


def drawn(count: int, numbers: int, power: float, generator: torch.Generator) -> Tensor:
    """(count, numbers), normal, of mean squared length 1."""
    scale = torch.arange(1, numbers + 1).float().pow(power)
    return torch.mul(torch.randn(count, numbers, generator=generator), scale / scale.norm())


def images(people: Tensor, generator: torch.Generator) -> Tensor:
    """An embedding of an image of each person, of length 1."""
    deviations = drawn(len(people), people.shape[1], WITHIN, generator)
    return normalize(torch.add((1 - WITHIN_SHARE) ** 0.5 * people, WITHIN_SHARE**0.5 * deviations))


def row(name: str, search: Callable[[Tensor, int], Nearest], probes: list[Tensor], best: list[Tensor]) -> list[Tensor]:
    """Print milliseconds a face, and of how many faces of each kind the nearest person was found; gives the scores."""
    began = time.process_time()
    scores = [search(some, 3).scores[:, 0] for some in probes]
    milliseconds = (time.process_time() - began) / sum(map(len, probes)) * 1000
    found = " | ".join(f"{count_best(*pair)} of {len(pair[0])}" for pair in zip(scores, best or scores, strict=True))
    print(f"| {name} | {milliseconds:.1f} | {found} |", flush=True)
    return scores


def main() -> None:
    """Print Markdown."""
    given = [int(value) for value in sys.argv[1:]]
    count, numbers = [*given, *(1_000_000, 512)[len(given) :]]
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    known = drawn(FACES, numbers, BETWEEN, generator)
    others = [images(drawn(CHUNK, numbers, BETWEEN, generator), generator) for _ in range(0, count - FACES, CHUNK)]
    people = torch.cat([images(known, generator), *others])[:count]
    del others
    probes = [images(known, generator), images(drawn(FACES, numbers, BETWEEN, generator), generator)]
    print(f"| {count:,} people, {numbers} numbers each | a face, ms | nearest of enrolled people | of strangers |")
    print("|---|---|---|---|")
    best = row("everybody: the exact search", lambda some, k: nearest(people, some, k), probes, [])
    process, began = psutil.Process(), time.process_time()
    before = process.memory_info().rss
    index = Index(people)
    made, memory = time.process_time() - began, (process.memory_info().rss - before) / 2**20
    for share in SHARES:
        index.searched = max(1, index.lists // share)
        row(f"{index.searched} of {index.lists:,} lists", index.nearest, probes, best)
    beside = f"{people.nbytes / 2**20:,.0f} MiB of embeddings"
    print(f"\nMaking the index takes {made:.0f} s, and {memory:,.0f} MiB beside {beside}.")


if __name__ == "__main__":
    main()
