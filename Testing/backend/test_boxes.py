"""Boxes for CutMix."""

from __future__ import annotations

import pytest
import torch

from sslseg.transforms.boxes import ASPECT_LIMITS, box_mask, cuboid_mask, mix, random_cuboids
from sslseg.transforms.streams import torch_stream

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [(64, 64, 64), (16, 128, 96), (1, 96, 96)])
def test_cuboids_keep_their_volume_and_aspect(size: tuple[int, int, int]):
    first, stop = random_cuboids(2000, size, torch_stream(0, 0, "boxes"))
    sides = (stop - first).double()
    assert (first >= 0).all() and (stop <= torch.tensor(size)).all() and (sides >= 1).all()
    relative = sides / torch.tensor(size)
    share = relative.prod(1)
    # A side is rounded to voxels.
    slack = ((sides + 0.5) / sides).prod(1)
    assert (share >= 0.02 / slack).all() and (share <= 0.4 * slack).all()
    assert 0.18 < share.mean() < 0.24 and share.min() < 0.03 and share.max() > 0.37
    cut = relative[:, torch.tensor(size) > 1]
    ratio = cut.amax(1) / cut.amin(1)
    assert (ratio <= ASPECT_LIMITS[1] * slack).all() and ratio.max() > 2.5


def test_the_mask_is_the_box():
    first, stop = torch.tensor([[0, 1, 2], [3, 0, 0]]), torch.tensor([[2, 3, 5], [4, 1, 5]])
    mask = box_mask(first, stop, (4, 3, 5), CPU)
    expected = torch.zeros(2, 4, 3, 5, dtype=torch.bool)
    expected[0, 0:2, 1:3, 2:5] = True
    expected[1, 3:4, 0:1, 0:5] = True
    assert torch.equal(mask, expected)


def test_boxes_follow_from_seed_and_step():
    def drawn(seed: int, step: int) -> torch.Tensor:
        return cuboid_mask(3, (16, 16, 16), torch_stream(seed, step, "boxes"), CPU)

    assert torch.equal(drawn(1, 2), drawn(1, 2))
    assert not torch.equal(drawn(1, 2), drawn(1, 3))
    assert not torch.equal(drawn(1, 2), drawn(2, 2))


def test_mixing_takes_images_and_labels_from_the_same_place():
    mask = cuboid_mask(2, (8, 8, 8), torch_stream(0, 0, "boxes"), CPU)
    image, label = torch.rand(2, 3, 8, 8, 8), torch.randint(0, 9, (2, 8, 8, 8))
    mixed_image, mixed_label = mix(image, image.roll(1, 0), mask), mix(label, label.roll(1, 0), mask)
    for sample in range(2):
        inside = mask[sample]
        assert torch.equal(mixed_image[sample][:, inside], image[1 - sample][:, inside])
        assert torch.equal(mixed_image[sample][:, ~inside], image[sample][:, ~inside])
        assert torch.equal(mixed_label[sample][inside], label[1 - sample][inside])
        assert torch.equal(mixed_label[sample][~inside], label[sample][~inside])


def test_mixing_twice_with_swapped_roles_restores_the_pair():
    mask = cuboid_mask(2, (8, 8, 8), torch_stream(0, 0, "boxes"), CPU)
    a, b = torch.rand(2, 1, 8, 8, 8), torch.rand(2, 1, 8, 8, 8)
    mixed_a, mixed_b = mix(a, b, mask), mix(b, a, mask)
    assert torch.equal(mix(mixed_a, mixed_b, mask), a) and torch.equal(mix(mixed_b, mixed_a, mask), b)
