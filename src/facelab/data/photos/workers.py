"""Process photos in threads, each photo by one thread."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2

from facelab.system import cores

_AHEAD_PER_CORE = 4  # photos handed to the threads in advance
Photo = TypeVar("Photo")
Outcome = TypeVar("Outcome")


def in_order(
    photos: Iterable[Photo], work: Callable[[Photo], Outcome], prepare: Callable[[], None] | None = None
) -> Generator[tuple[Photo, Outcome], None, None]:
    """Each photo with its outcome, in order, by as many threads as there are cores.

    Args:
        photos: the photos; taken a few at a time.
        work: processes one photo; OpenCV uses one thread in it, since a photo per thread is faster than several
            threads within a photo.
        prepare: called once in every thread.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(cores(), initializer=prepare)
    try:
        running: deque[tuple[Photo, Future[Outcome]]] = deque()
        for photo in photos:
            running.append((photo, pool.submit(work, photo)))
            if len(running) > _AHEAD_PER_CORE * cores():
                first, future = running.popleft()
                yield first, future.result()
        for photo, future in running:
            yield photo, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(before)
