"""Intensity changes of patches `(B, C, D, H, W)` in [0, 1]; parameters are one number per sample, `(B,)`.

Every operation is a pure tensor function; `jitter` draws the parameters on the CPU and chains them, so that a
GPU is never waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sslseg.transforms.streams import chosen, to_device, uniform

BLUR_RADIUS = 3
"""Voxels to each side of the blur kernel: two standard deviations of the strongest blur used."""


@dataclass(frozen=True)
class IntensityJitter:
    """How much `jitter` changes. Each change happens to a sample with its own probability.

    Attributes:
        gamma: limits of the exponent.
        contrast: limits of the factor on the distance from the patch's mean.
        brightness: limits of what is added.
        blur: limits of the standard deviation in voxels.
        noise: limits of the standard deviation of white noise.
    """

    gamma: tuple[float, float]
    contrast: tuple[float, float]
    brightness: tuple[float, float]
    blur: tuple[float, float]
    noise: tuple[float, float]
    gamma_probability: float
    contrast_probability: float
    blur_probability: float
    noise_probability: float


WEAK = IntensityJitter(
    gamma=(0.7, 1.5),
    contrast=(0.75, 1.25),
    brightness=(-0.1, 0.1),
    blur=(0.5, 1.0),
    noise=(0.0, 0.05),
    gamma_probability=0.3,
    contrast_probability=0.3,
    blur_probability=0.15,
    noise_probability=0.15,
)
"""For every training patch; about the strength of nnU-Net's default pipeline."""

STRONG = IntensityJitter(
    gamma=(0.5, 2.0),
    contrast=(0.5, 1.5),
    brightness=(-0.25, 0.25),
    blur=(0.5, 1.5),
    noise=(0.0, 0.1),
    gamma_probability=0.5,
    contrast_probability=0.8,
    blur_probability=0.5,
    noise_probability=0.5,
)
"""For the strong view in consistency training, on top of a weak one."""


def jitter(image: Tensor, amount: IntensityJitter, generator: torch.Generator) -> Tensor:
    """Gamma, contrast and brightness, blur, noise, in this order, then clamped to [0, 1].

    Args:
        image: `(B, C, D, H, W)` in [0, 1], on any device; it is not changed.
        amount: how much.
        generator: a CPU generator; everything is drawn from it, the noise field from a seed drawn from it.
    """
    count = len(image)

    def change(
        probability: float, limits: tuple[tuple[float, float], ...], operation: Callable[..., Tensor]
    ) -> None:
        nonlocal image
        parameters = [uniform(count, pair, generator) for pair in limits]
        image = apply_to(image, chosen(count, probability, generator), operation, *parameters)

    change(amount.gamma_probability, (amount.gamma,), gamma)
    change(amount.contrast_probability, (amount.contrast, amount.brightness), contrast_brightness)
    change(amount.blur_probability, (amount.blur,), blur)
    noise_seed = int(torch.randint(2**62, (1,), generator=generator))
    field = torch.Generator(image.device).manual_seed(noise_seed)
    change(amount.noise_probability, (amount.noise,), lambda x, sigma: add_noise(x, sigma, field))
    return image.clamp(0.0, 1.0)


def strong_intensity(image: Tensor, generator: torch.Generator) -> Tensor:
    """The strong view of a weak one: the same geometry, `STRONG` intensities."""
    return jitter(image, STRONG, generator)


def apply_to(image: Tensor, indices: Tensor, operation: Callable[..., Tensor], *parameters: Tensor) -> Tensor:
    """`image` with the samples `indices` (CPU) replaced by `operation(samples, *their parameters)`."""
    if len(indices) == 0:
        return image
    moved = [to_device(parameter[indices], image.device) for parameter in parameters]
    if len(indices) == len(image):
        return operation(image, *moved)
    where = to_device(indices, image.device)
    return image.index_copy(0, where, operation(image.index_select(0, where), *moved))


def gamma(image: Tensor, exponent: Tensor) -> Tensor:
    """`image ** exponent`; values outside [0, 1] are clamped first, where a power would be NaN."""
    return image.clamp(0.0, 1.0).pow(_per_sample(exponent, image))


def contrast_brightness(image: Tensor, contrast: Tensor, brightness: Tensor) -> Tensor:
    """`(image - mean) * contrast + mean + brightness` with the mean of each sample."""
    mean = image.mean(dim=tuple(range(1, image.ndim)), keepdim=True)
    factor = _per_sample(contrast, image)
    return image * factor + (mean * (1 - factor) + _per_sample(brightness, image))


def add_noise(image: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """White Gaussian noise; `generator` lives on the image's device."""
    field = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
    return image + field * _per_sample(sigma, image)


def blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Separable Gaussian blur of `(B, C, D, H, W)` by `sigma (B,)` voxels; borders are repeated."""
    batch, channels = image.shape[:2]
    offsets = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    # Samples become channels of one image, so that each convolves with its own kernel.
    result = image.reshape(1, batch * channels, *image.shape[2:])
    for axis in range(3):
        shape = [batch * channels, 1, 1, 1, 1]
        shape[2 + axis] = len(offsets)
        padding = [0] * 6
        padding[4 - 2 * axis] = padding[5 - 2 * axis] = BLUR_RADIUS
        padded = F.pad(result, padding, mode="replicate")
        result = F.conv3d(padded, kernel.reshape(shape), groups=batch * channels)
    return result.reshape(image.shape)


def _per_sample(values: Tensor, image: Tensor) -> Tensor:
    return values.to(image.dtype).reshape(-1, *[1] * (image.ndim - 1))
