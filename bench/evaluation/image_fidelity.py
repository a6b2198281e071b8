"""FID, KID, precision and recall by torch-fidelity, on features of a shipped extractor or of a user's Inception file.

The reference is always the training images. Both sides are the same kind of uint8 images: clamped, scaled, rounded.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.common import fingerprint
from bench.common.errors import UsageError
from bench.common.paths import user_cache
from bench.core.data_types import Data
from bench.evaluation import feature_extractor

RECENT = 8
FEWEST = 8  # images; halves of them must have four nearest neighbours
NEIGHBOURS = 3
KID_SUBSETS = 100
INCEPTION_ENTRIES = 566
STANDARD_INCEPTION = "6726825d"  # the sha256 of the weights that published FIDs are taken on begins so
_KEPT: list[Any] = []  # a declared operator lives as long as its library object


@cache
def torch_fidelity() -> Any:
    """The library, imported when first needed: it takes two seconds and 90 MB.

    It imports torchvision. One pinned torchvision serves CPU and CUDA machines, but beside a CPU torch its compiled
    part does not load, and then its Python part fails because two operators of that part have no declaration. They
    are declared here, without an implementation, and the import is tried again; on a CUDA machine the first try
    succeeds and nothing is touched.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
        import torchvision  # noqa: F401
    import torch_fidelity

    return torch_fidelity


@dataclass(frozen=True)
class Registered:
    """An extractor as torch-fidelity knows it.

    Attributes:
        name: what is printed and what caches are named by; it holds the digest of the weights.
        registered: the name that torch-fidelity finds it by.
        features: how many it gives.
        channels: those that it takes; None if it takes the data set's.
        options: what torch-fidelity needs beside the name.
    """

    name: str
    registered: str
    features: int
    channels: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def adapted(self, images: Tensor) -> Tensor:
        """uint8 images as this extractor takes them: grey ones threefold where it takes colour."""
        return images.expand(-1, self.channels, -1, -1) if self.channels not in (None, images.shape[1]) else images


@dataclass(frozen=True)
class Fidelity:
    """How n images compare with a reference; FID in squared units of features, precision and recall in [0, 1].

    Attributes:
        kid_stderr: standard deviation of KID over subsets of half the images. Over halves of one sample that is the
            jackknife's standard error; the reference's halves come on top, so it errs on the large side, by half or so.
    """

    fid: float
    kid: float
    kid_stderr: float
    precision: float
    recall: float
    n: int
    n_reference: int
    extractor: str
    features: int

    @property
    def warning(self) -> str:
        """Why the FID is not certified, or ""."""
        if self.n > self.features:
            return ""
        return f"a covariance of {self.features} features needs more than {self.n} images"

    @property
    def about(self) -> dict[str, Any]:
        """What every value must be read with."""
        return {"extractor": self.extractor, "reference": "train", "n_reference": self.n_reference}


@cache
def shipped(name: str) -> Registered:
    """A shipped extractor, registered with torch-fidelity.

    Raises:
        UsageError: if there is none of that name, or its weights have been changed.
    """
    found = feature_extractor.load(name)
    base: Any = torch_fidelity().FeatureExtractorBase

    class Adapter(base):  # type: ignore[misc]  # the library is not typed
        """The extractor behind torch-fidelity's interface."""

        def __init__(self, name: str, features_list: list[str], **kwargs: Any) -> None:
            super().__init__(name, features_list)
            self.network = found.network

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return (str(feature_extractor.FEATURES),)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return str(feature_extractor.FEATURES)

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            return (self.network(images)[0],)

    torch_fidelity().register_feature_extractor(name, Adapter)
    return Registered(name, name, feature_extractor.FEATURES)


def inception(path: Path) -> Registered:
    """The standard Inception network with the weights in a user's file.

    torch-fidelity unpickles such a file without any guard. So it is read with `weights_only` first, looked through, and
    written again; the copy is what torch-fidelity is given.

    Raises:
        UsageError: if the file cannot be read, holds anything but tensors, or not the tensors of this network.
    """
    rule = f"--inception needs the {INCEPTION_ENTRIES} tensors of torch-fidelity's Inception-v3 weights"
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[: feature_extractor.DIGITS]
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no archive of tensors fails in as many ways as there are files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{rule}; '{path}' cannot be read as tensors alone: {reason}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{rule}; '{path}' holds other things than named tensors")
    if len(state) != INCEPTION_ENTRIES:
        raise UsageError(f"{rule}; '{path}' holds {len(state)}")
    handle, copy = tempfile.mkstemp(suffix=".pth", prefix="bench-inception-")
    atexit.register(Path(copy).unlink, missing_ok=True)
    with os.fdopen(handle, "wb") as file:
        torch.save(state, file)
    options = {"feature_extractor_weights_path": copy}
    try:
        torch_fidelity().FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], **options)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise UsageError(f"{rule}; those in '{path}' do not fit: {' '.join(lines[1:2])}") from None
    name = "inception-v3" if digest == STANDARD_INCEPTION else "inception-v3-of-other-weights"
    return Registered(f"{name}-{digest}", "inception-v3-compat", 2048, 3, options)


class ImageSet(torch.utils.data.Dataset[Tensor]):
    """uint8 images (n, C, H, W) as torch-fidelity takes them.

    Raises:
        ValueError: if they are not; an extractor of one's own would be given floats without a word.
    """

    def __init__(self, images: Tensor) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ValueError(
                f"images must be uint8 of shape (n, C, H, W); got {images.dtype} {tuple(images.shape)}; pass them "
                "through bench.extractor.quantised"
            )
        self.images = images.cpu()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def images_digest(images: Tensor) -> str:
    """sha256 of the images and their shape."""
    plain = images.contiguous().cpu()
    return hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)}".encode() + plain.numpy().tobytes()).hexdigest()


def cache_folder() -> Path | None:
    """Where features of reference images are kept, private to the user; None if nothing can be written there.

    They are unpickled when read, so a folder that others may write to, such as /tmp, will not do.
    """
    folder = user_cache() / "ebm-bench" / "fidelity"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


class _Recent(dict[tuple[str, ...], Any]):
    """The results of the last few questions, by the digests of what was asked about."""

    def put(self, key: tuple[str, ...], value: Any) -> Any:
        while len(self) >= RECENT:
            del self[next(iter(self))]
        self[key] = value
        return value


_compared, _seen = _Recent(), _Recent()


def _code() -> str:
    return f"{fingerprint.code(Path(feature_extractor.__file__))}-{torch_fidelity().__version__}"


def images_of(x: Tensor, data: Data) -> Tensor:
    """uint8 images of samples or of data, by the range of the data set's pixels; data, too, may exceed it by its noise.

    Raises:
        UsageError: if the data set declares no range.
    """
    if data.value_range is None:
        raise UsageError(f"images need a range of values; {data.name} declares no value_range")
    return feature_extractor.quantised(x, data.value_range)


def image_features(x: Tensor, data: Data) -> tuple[Tensor, Tensor]:
    """Features (n, 64) and the classes' logits (n, K) of samples or of data, by the data set's own extractor."""
    if data.extractor is None:
        raise UsageError(f"features need an extractor; {data.name} declares none")
    images = images_of(x, data)
    key = (images_digest(images), data.extractor, str(images.device))
    found: tuple[Tensor, Tensor] = _seen.get(key) or _seen.put(key, feature_extractor.load(data.extractor)(images))
    return found


def image_warning(samples: Tensor) -> str:
    """Why samples cannot be compared as images, or ""."""
    if not samples.isfinite().all():
        return "some of the samples are not finite"
    return "" if len(samples) >= FEWEST else f"needs at least {FEWEST} samples; there are {len(samples)}"


def fidelity(samples: Tensor, data: Data) -> Fidelity:
    """Samples against the training images, by the data set's own extractor."""
    if data.extractor is None:
        raise UsageError(f"a comparison of images needs an extractor; {data.name} declares none")
    source = shipped(data.extractor)
    return compare(images_of(samples, data), images_of(data.train, data), source, cuda=samples.is_cuda)


def compare(images: Tensor, reference: Tensor, source: Registered, *, cuda: bool = False) -> Fidelity:
    """Images against a reference, both uint8 (n, C, H, W); precision and recall with 3 nearest neighbours.

    Features of the reference are kept on disk by the digests of the images, of the weights and of the code that applies
    them. The last results are kept in memory by those of both sides, since several metrics ask for the same comparison.

    Raises:
        ValueError: if either side is not uint8 images, or there are fewer than 8.
    """
    sets = [ImageSet(source.adapted(x)) for x in (images, reference)]
    n = min(len(s) for s in sets)
    if n < FEWEST:
        raise ValueError(f"a comparison of images needs at least {FEWEST} on either side; got {n}")
    key = (images_digest(images), images_digest(reference), source.name)
    if key not in _compared:
        folder = cache_folder()
        found = torch_fidelity().calculate_metrics(
            input1=sets[0],
            input2=sets[1],
            input2_cache_name=f"{key[1]}-{source.name}-{_code()}",
            cache=folder is not None,
            cache_root=None if folder is None else str(folder),
            cuda=cuda,
            fid=True,
            kid=True,
            prc=True,
            feature_extractor=source.registered,
            kid_subsets=KID_SUBSETS,
            kid_subset_size=n // 2,
            prc_neighborhood=NEIGHBOURS,
            prc_batch_size=1000,
            save_cpu_ram=True,
            verbose=False,
            **source.options,
        )
        result = Fidelity(
            fid=float(found["frechet_inception_distance"]),
            kid=float(found["kernel_inception_distance_mean"]),
            kid_stderr=float(found["kernel_inception_distance_std"]),
            precision=float(found["precision"]),
            recall=float(found["recall"]),
            n=len(images),
            n_reference=len(reference),
            extractor=source.name,
            features=source.features,
        )
        _compared.put(key, result)
    kept: Fidelity = _compared[key]
    return kept
