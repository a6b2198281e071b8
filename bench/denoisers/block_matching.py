"""Block matching and collaborative filtering in three dimensions, by the package of its authors."""

from torch import Tensor

from bench.api import denoiser, filtered


@denoiser(
    package="bm3d",
    source="Dabov, Foi, Katkovnik & Egiazarian 2007, Image denoising by sparse 3-D transform-domain collaborative "
    "filtering; the package bm3d, free for non-commercial use (Mäkinen, Azzari & Foi 2020)",
)
def block_matching(y: Tensor, sigma: float) -> Tensor:
    """BM3D: similar blocks are stacked, their transform is shrunk, and estimates of a pixel are averaged; two passes.

    It has no parameter: σ decides. Its package holds compiled code that is free for non-commercial use, so it is no
    requirement of this project: `pip install bm3d` where that licence allows.

    Args:
        y: noisy images (n, C, H, W); colour by the luminance's matches.
        sigma: the noise's standard deviation, in units of y.
    """
    import bm3d

    return filtered(y, lambda image, channel_axis: (bm3d.bm3d_rgb if channel_axis else bm3d.bm3d)(image, sigma))
