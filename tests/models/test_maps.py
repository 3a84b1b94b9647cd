"""Unpooling and upsampling give what torch's own operators give, forward and backward."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap
from torch.nn import functional

from tasktrace.errors import ConfigError
from tasktrace.models.maps import check_size, unpool, upsample


def random(*shape, seed=0, layout=torch.contiguous_format):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.contiguous(memory_format=layout)


def gradient(function, maps):
    maps = maps.clone().requires_grad_()
    outputs = function(maps)
    outputs.backward(random(*outputs.shape, seed=1))
    return outputs.detach(), maps.grad


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
def test_unpooling_is_torchs(layout):
    pooled, indices = functional.max_pool2d(random(2, 3, 4, 6, layout=layout), 2, return_indices=True)
    maps = random(*pooled.shape, seed=2, layout=layout)
    own = gradient(lambda maps: unpool(maps, indices), maps)
    expected = gradient(lambda maps: functional.max_unpool2d(maps, indices, 2), maps)
    assert all(torch.equal(*pair) for pair in zip(own, expected, strict=True))
    assert own[0].count_nonzero() == maps.numel()


def test_unpooled_maps_have_their_channels_last():
    pooled, indices = functional.max_pool2d(random(2, 3, 4, 6, layout=torch.channels_last), 2, return_indices=True)
    assert unpool(pooled, indices).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("shape", "factor"), [((2, 3, 4, 6), 8), ((1, 1, 1, 5), 3), ((2, 2, 3, 1), 1), ((1, 2, 1, 1), 8)]
)
def test_upsampling_is_torchs(shape, factor):
    size = [factor * side for side in shape[2:]]
    own = gradient(lambda maps: upsample(maps, factor), random(*shape))
    expected = gradient(
        lambda maps: functional.interpolate(maps, size, mode="bilinear", align_corners=True), random(*shape)
    )
    for found, known in zip(own, expected, strict=True):
        torch.testing.assert_close(found, known, rtol=1e-12, atol=1e-12)


def test_mixed_precision_does_not_round_the_upsampling():
    maps = random(2, 3, 4, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = upsample(maps, 8)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), upsample(maps.double(), 8), rtol=0, atol=1e-6)


def test_both_have_derivatives_of_any_order_and_of_single_samples():
    maps = random(2, 2, 2, 2).requires_grad_()
    _, indices = functional.max_pool2d(random(2, 2, 4, 4), 2, return_indices=True)
    for function in (lambda maps: unpool(maps, indices).square(), lambda maps: upsample(maps, 2).square()):
        assert gradcheck(function, maps)
        assert gradgradcheck(function, maps)
    alone = grad(lambda maps, indices: upsample(unpool(maps[None], indices[None]), 2).square().sum())
    whole = torch.autograd.grad(upsample(unpool(maps, indices), 2).square().sum(), maps)[0]
    torch.testing.assert_close(vmap(alone)(maps.detach(), indices), whole)


def test_other_sizes_are_refused():
    check_size(torch.zeros(1, 3, 32, 64), 32, "segnet")
    for shape in ((1, 3, 33, 64), (1, 3, 32, 60)):
        with pytest.raises(ConfigError, match=f"segnet takes .* multiples of 32, found {shape[2]}x{shape[3]}"):
            check_size(torch.zeros(shape), 32, "segnet")
