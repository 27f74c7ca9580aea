"""Packed weights: bit-equal to the decoded model wherever they are, counted as what they take, and read by patches."""

from typing import Any

import pytest
import torch
from devices import FakeDevice
from packed_nets import WIDTH, decoded, net, packed
from torch import Tensor, nn

from latentloom.engine.errors import BudgetError
from latentloom.engine.models.device import Device, PlainDevice
from latentloom.engine.models.pool import DevicePool
from latentloom.engine.models.weights import HostModel
from latentloom.nodes.families.packing.weight import PackedWeight

BYTES = WIDTH * WIDTH  # of a layer's numbers
SCALES = WIDTH * 4  # of its rows
BIAS = WIDTH * 4
PACKED = BYTES + SCALES + BIAS
DECODED = 4 * WIDTH * WIDTH
BIG = 2**40
X = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))


def run(module: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    with torch.no_grad():
        found: Tensor = module(X.to(dtype))
        return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layers", [4, 3.5, 3, 2], ids=["resident", "nearly", "one fetched", "all fetched"])
def test_every_placement_is_the_decoded_model(layers: float, dtype: torch.dtype) -> None:
    size, decode = BYTES + SCALES + WIDTH * dtype.itemsize, WIDTH * WIDTH * dtype.itemsize
    budget = int(layers * size) + decode
    device = FakeDevice(limit=budget)
    module = net(device=device)
    pool, model = DevicePool(device, dtype, budget), HostModel(module)
    expected = run(decoded(module, dtype), dtype)
    for _ in range(3):
        with pool.use([model]):
            assert torch.equal(run(model.content, dtype), expected)
            assert pool.held_bytes == device.used <= budget
    pool.clear()
    assert pool.held_bytes == 0


def test_on_a_processor_packed_bytes_serve_where_they_are() -> None:
    module = net()
    pool, model = DevicePool(PlainDevice("cpu"), torch.float32, DECODED), HostModel(module)
    expected = run(decoded(module))
    with pool.use([model]):
        assert torch.equal(run(model.content), expected)
        assert pool.held_bytes == DECODED  # one layer at a time
    assert pool.held_bytes == 0


def test_the_plan_knows_both_sizes() -> None:
    pool, model = DevicePool(FakeDevice(), torch.float32, BIG), HostModel(net())
    plan = pool.plan([model])
    assert (plan.packed_bytes, plan.unpacked_bytes) == (4 * (BYTES + SCALES), 4 * DECODED)
    assert (plan.resident_bytes, plan.buffers, plan.nbytes) == (4 * PACKED, DECODED, 4 * PACKED + DECODED)
    pool.budget = 3 * PACKED + DECODED
    plan = pool.plan([model])
    assert (plan.resident_bytes, plan.streamed_bytes, plan.buffer_bytes) == (PACKED, 3 * PACKED, PACKED)


def test_packed_bytes_are_what_is_copied() -> None:
    device = FakeDevice()
    with DevicePool(device, torch.float32, BIG).use([HostModel(net())]):
        assert device.copied_bytes == 4 * PACKED
    device = FakeDevice()
    model = HostModel(net())
    with DevicePool(device, torch.float32, 2 * PACKED + DECODED).use([model]):
        run(model.content)
        assert device.copied_bytes == 4 * PACKED


def test_what_cannot_fit_counts_the_memory_to_decode_into() -> None:
    pool = DevicePool(FakeDevice(), torch.float32, PACKED)
    with pytest.raises(BudgetError) as caught, pool.use([HostModel(net())]):
        pass
    assert caught.value.problem.expected == f"at least {2 * PACKED + DECODED} bytes"


@pytest.mark.parametrize("device", [PlainDevice("cpu"), FakeDevice()], ids=["processor", "device"])
def test_convolutions_tied_and_small_layers_are_decoded_too(device: Device) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.large = nn.Conv2d(64, 64, 3)
            self.small = nn.Linear(8, 8)
            self.one, self.other = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
            for layer in (self.large, self.small, self.one):
                layer.weight = packed(layer.weight.detach())
            self.other.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            maps = self.large(x.repeat(1, 64).view(3, 64, 16, 16)).flatten(1)[:, :WIDTH]
            return self.other(self.one(maps)) + self.small(maps[:, :8]).repeat(1, WIDTH // 8)

    module = Odd().requires_grad_(False)
    expected = run(decoded(module))
    pool, model = DevicePool(device, torch.float32, BIG), HostModel(module)
    with pool.use([model]):
        assert torch.equal(run(model.content), expected)
    in_one = [layer.packed for layer in model.layers]
    assert in_one == [True, False, False, False]


def test_models_over_the_same_packed_weights_share_them_and_a_patched_layer_is_plain() -> None:
    device, base = FakeDevice(), HostModel(net())
    pool, patched = DevicePool(device, torch.float32, BIG), base.clone()
    with pool.use([base]):
        pass
    before = device.copied_bytes
    layer = patched.content[1]
    layer.weight = nn.Parameter(layer.weight.float() + 0.01, requires_grad=False)
    expected = run(decoded(patched.content))
    patched = HostModel(patched.content)
    with pool.use([patched]):
        assert torch.equal(run(patched.content), expected)
    assert device.copied_bytes - before == DECODED
    assert patched.own_bytes(base) == DECODED


def test_a_packed_weight_reads_as_its_numbers_and_cannot_be_written_to() -> None:
    weight = net(1)[0].weight
    numbers = weight.packed.decoded(torch.float32)
    assert torch.equal(weight.float(), numbers)
    assert torch.equal(weight.double(), numbers.double())
    assert torch.equal(weight + 1, numbers.half() + 1)
    assert torch.equal(torch.empty(WIDTH, WIDTH).copy_(weight), numbers)
    assert torch.equal(PackedWeight(weight.packed.rows(3, 9)).float(), numbers[3:9])
    with pytest.raises(RuntimeError, match="cannot be written to"):
        weight.add_(1)


def test_between_calls_nothing_is_decoded() -> None:
    model = HostModel(net())
    with DevicePool(FakeDevice(), torch.float32, BIG).use([model]):
        run(model.content)
        assert all(layer.weight.isnan().all() for layer in model.content)
    assert all(hasattr(layer.weight, "packed") for layer in model.content)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.content.modules())


def test_numbers_are_rounded_once_from_float32_whatever_the_size_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = net(1)[0].weight
    whole = weight.packed.decoded(torch.bfloat16)
    assert torch.equal(whole, weight.float().bfloat16())
    monkeypatch.setattr("latentloom.engine.models.packed.CHUNK", {"cpu": 1000})
    assert torch.equal(whole, weight.packed.decoded(torch.bfloat16))
