"""Makes datasets/files/fashion28.npz from Debian's package dataset-fashion-mnist, or from a user's own copy.

python scripts/make_fashion28.py [FOLDER]
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np

from bench.data.image_data import Pixels, embed

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
A_CLASS = {"train": 800, "t10k": 200}
CLASSES = 10


def read(path: Path, header: int) -> Pixels:
    """The bytes of a gzipped idx file after its header."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def first_of_each_class(folder: Path, part: str) -> tuple[Pixels, Pixels]:
    """The first so many images of each class, in the order of the file, and their classes."""
    labels = read(folder / f"{part}-labels-idx1-ubyte.gz", 8)
    images = read(folder / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == c)[: A_CLASS[part]] for c in range(CLASSES)]))
    return images[chosen], labels[chosen]


def main(folder: Path) -> None:
    """Writes the arrays of train, and of test in halves: of each class every other image is for validation."""
    images, labels = first_of_each_class(folder, "train")
    arrays = {"train_images": images, "train_labels": labels}
    images, labels = first_of_each_class(folder, "t10k")
    turn = np.empty(len(labels), dtype=np.int64)
    turn[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % 2
    for part, number in (("valid", 0), ("test", 1)):
        arrays |= {f"{part}_images": images[turn == number], f"{part}_labels": labels[turn == number]}
    path = embed("fashion28", arrays)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEBIAN)
