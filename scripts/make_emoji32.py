"""Makes datasets/files/emoji32.npz from Debian's package fonts-noto-color-emoji; needs fontTools.

python scripts/make_emoji32.py [NotoColorEmoji.ttf]
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.image_data import Pixels, embed

DEBIAN = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
SIDE = 32
HELD_OUT = {"test": 400, "valid": 400}  # images, to the nearest group
LARGEST = 36  # a group of more images stays in training
ALIKE = 0.08  # root mean square distance of pixels in [0, 1] under which images share a group
TONES = range(0x1F3FB, 0x1F400)
WORDLESS = {*TONES, 0x200D, 0xFE0F, 0x2640, 0x2642, 0x27A1}  # tones, joiner, presentation, genders, facing right
ADULT, CHILD, TOGETHER = 0x1F9D1, 0x1F9D2, 0x1F46A
NEUTRAL = {
    **dict.fromkeys((0x1F468, 0x1F469), ADULT),
    **dict.fromkeys((0x1F466, 0x1F467), CHILD),
    **dict.fromkeys((0x1F474, 0x1F475), 0x1F9D3),  # older people
    **dict.fromkeys((0x1F478, 0x1F934), 0x1FAC5),  # with a crown
    **dict.fromkeys((0x1F930, 0x1FAC3), 0x1FAC4),  # with child
    **dict.fromkeys((0x1F46B, 0x1F46C, 0x1F46D, 0x1F48F, 0x1F491), TOGETHER),
    0x1F936: 0x1F385,  # Christmas
    0x1F57A: 0x1F483,  # dancers
    0x1FAF1: 0x1F91D,  # two hands that meet
    0x1FAF2: 0x1F91D,
}


def code_points(font: Any) -> dict[str, tuple[int, ...]]:
    """The sequence that each glyph stands for: its first code point, or the first ligature that gives it."""
    single: dict[str, tuple[int, ...]] = {}
    for point, glyph in sorted(font.getBestCmap().items()):
        single.setdefault(glyph, (point,))
    joined: dict[str, tuple[int, ...]] = {}
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            for first, ligatures in getattr(table, "ligatures", {}).items():
                for ligature in ligatures:
                    parts = [first, *ligature.Component]
                    joined.setdefault(ligature.LigGlyph, tuple(single[part][0] for part in parts))
    return {**single, **joined}


def base(points: Sequence[int]) -> str:
    """What is left of a sequence without skin tones, genders, facing and order; all couples and families are one."""
    left = [NEUTRAL.get(point, point) for point in points if point not in WORDLESS] or list(points)
    if TOGETHER in left or sum(point in (ADULT, CHILD) for point in left) > 1:
        left = [TOGETHER]
    return " ".join(f"{point:X}" for point in sorted(set(left)))


def picture(png: bytes) -> Pixels:
    """(32, 32, 3): on a white square, each pixel the mean over the area that it covers."""
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    side = max(image.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(square.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))


def groups(images: Pixels, bases: Sequence[str]) -> dict[str, list[int]]:
    """Indices that must lie in one part, by the smallest base among them: the same base, or nearly the same pixels."""
    flat = images.reshape(len(images), -1).astype(np.float32) / 255
    norm = (flat**2).sum(1)
    near = (norm[:, None] + norm - 2 * flat @ flat.T) / flat.shape[1] < ALIKE**2
    root = {name: name for name in bases}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for i, j in np.argwhere(near).tolist():
        low, high = sorted((find(bases[i]), find(bases[j])))
        root[high] = low
    members = defaultdict(list)
    for k, name in enumerate(bases):
        members[find(name)].append(k)
    return members


def main(path: Path) -> None:
    """Writes images and the sequences they stand for; groups go to a part in the order of the hash of their name."""
    from fontTools.ttLib import TTFont

    font = TTFont(path)
    points = code_points(font)
    seen: dict[bytes, tuple[Pixels, tuple[int, ...]]] = {}
    for glyph, bitmap in font["CBDT"].strikeData[0].items():
        bitmap.decompile()
        image = picture(bitmap.imageData)
        seen.setdefault(image.tobytes(), (image, points[glyph]))  # some flags are the same
    images = np.stack([image for image, _ in seen.values()])
    sequences = [sequence for _, sequence in seen.values()]
    members = groups(images, [base(sequence) for sequence in sequences])
    chosen: dict[str, list[int]] = {"test": [], "valid": [], "train": []}
    for name in sorted(members, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        open_parts = [part for part, size in HELD_OUT.items() if len(chosen[part]) < size]
        chosen[open_parts[0] if open_parts and len(members[name]) <= LARGEST else "train"] += members[name]
    arrays: dict[str, NDArray[Any]] = {}
    for part, indices in chosen.items():
        indices.sort(key=lambda k: hashlib.sha256(images[k].tobytes()).digest())  # the first n are of many groups
        arrays[f"{part}_images"] = images[indices]
        arrays[f"{part}_names"] = np.array([" ".join(f"{point:X}" for point in sequences[k]) for k in indices])
    path = embed("emoji32", arrays)
    sizes = ", ".join(f"{len(indices)} to {part}" for part, indices in chosen.items())
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB; {len(members)} groups; {sizes}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEBIAN)
