"""The pool of a device: every placement computes the same, the ledger is true, and no buffer is reused too early."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from devices import FakeDevice, OrderError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from packed_nets import decoded, net
from torch import Tensor, nn
from torch.nn import functional

from latentloom.engine.errors import BudgetError, OutOfMemoryError
from latentloom.engine.models.device import PlainDevice
from latentloom.engine.models.pool import DevicePool
from latentloom.engine.models.weights import HostModel

WIDTH = 256
LAYER = (WIDTH * WIDTH + WIDTH) * 4  # a multiple of the alignment
BIG = 2**40


class Net(nn.Module):
    """Layers that can be fetched, with a norm between them that stays; one is called twice."""

    def __init__(self, depth: int = 4, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.norm = nn.LayerNorm(WIDTH)
        self.register_buffer("shift", torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.layers, self.layers[0]):
            x = functional.gelu(layer(self.norm(x))) + self.shift
        return x


FIXED = 3 * WIDTH * 4
X = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))


def expected(dtype: torch.dtype = torch.float32, **net: Any) -> Tensor:
    return Net(**net).to(dtype)(X.to(dtype)).detach()


def compute(model: HostModel, dtype: torch.dtype = torch.float32) -> Tensor:
    with torch.no_grad():
        return model.content(X.to(dtype))


@pytest.mark.parametrize("room", [4 * LAYER, 3 * LAYER, 2 * LAYER + LAYER // 2, 2 * LAYER])
def test_every_placement_computes_the_same(room: int) -> None:
    device, model = FakeDevice(limit=FIXED + room), HostModel(Net())
    pool = DevicePool(device, torch.float32, FIXED + room)
    for _ in range(3):
        with pool.use([model]):
            assert torch.equal(compute(model), expected())
            assert pool.held_bytes == device.used <= FIXED + room


@pytest.mark.parametrize("budget", [BIG, FIXED + 2 * LAYER])
def test_weights_of_another_type_are_converted_on_the_way(budget: int) -> None:
    model = HostModel(Net().half())
    with DevicePool(PlainDevice("cpu"), torch.bfloat16, budget // 2).use([model]):
        found = compute(model, torch.bfloat16)
        assert torch.equal(found, Net().half().to(torch.bfloat16)(X.to(torch.bfloat16)))
    assert {slot.host.dtype for slot in model.slots()} == {torch.float16}


def test_convolutions_on_a_processor_have_channels_last_in_any_placement() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Conv2d(64, 64, 3) for _ in range(4)), nn.Conv2d(64, 64, 1)).half()
    x = torch.randn(2, 64, 24, 24, dtype=torch.bfloat16)
    found, strides = [], []

    def look(layer: nn.Module, _: Any) -> None:
        strides.append(layer.weight.stride())

    for budget in (BIG, 3 * net[0].weight.nbytes):
        with DevicePool(PlainDevice("cpu"), torch.bfloat16, budget).use([HostModel(net)]), torch.no_grad():
            hook = net[0].register_forward_pre_hook(look)  # after those that fetch the weights
            found.append(net(x))
            hook.remove()
    assert strides == [(64 * 9, 1, 64 * 3, 64)] * 2
    assert torch.equal(*found)
    reference = net.to(torch.bfloat16)(x)
    assert (found[0] - reference).abs().max() <= 0.02 * reference.abs().max()


def test_a_processor_uses_weights_of_the_right_type_where_they_are() -> None:
    model, pool = HostModel(Net()), DevicePool(PlainDevice("cpu"), torch.float32, 1)
    with pool.use([model]):
        assert pool.held_bytes == 0
        assert torch.equal(compute(model), expected())


def test_after_use_the_model_holds_the_tensors_of_its_file() -> None:
    net = Net()
    before = {name: id(tensor.untyped_storage()) for name, tensor in net.state_dict(keep_vars=True).items()}
    pool, model = DevicePool(FakeDevice(), torch.float32, FIXED + 2 * LAYER), HostModel(net)
    with pool.use([model]):
        compute(model)
    pool.clear()
    assert {name: id(tensor.untyped_storage()) for name, tensor in net.state_dict(keep_vars=True).items()} == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_fetched_weight_that_is_read_uncalled_is_nan_and_not_wrong() -> None:
    model = HostModel(Net())
    with DevicePool(FakeDevice(), torch.float32, FIXED + 2 * LAYER).use([model]):
        assert model.content.layers[3].weight.isnan().all()
        assert model.content.layers[3].weight.shape == (WIDTH, WIDTH)


def test_the_next_layer_is_copied_while_this_one_works() -> None:
    """Once the order is known, every layer is on its way before it is called."""
    device, model = FakeDevice(), HostModel(nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(4))))
    with DevicePool(device, torch.float32, 2 * LAYER).use([model]):
        compute(model)
        compute(model)
        begun: list[int] = []
        for layer in model.content:
            layer.register_forward_pre_hook(lambda *_: begun.append(device.copies), prepend=True)
        before = device.copies
        compute(model)
    assert [n - before for n in begun] == [0, 2, 4, 6]  # two copies, weight and bias, ahead of each call


def watched(device: FakeDevice, net: Net) -> Net:
    """The net, whose layers tell the device when they read their weights."""

    def forward(layer: nn.Linear, x: Tensor) -> Tensor:
        device.check_reading(layer.weight)
        return functional.linear(x, layer.weight, layer.bias)

    for layer in net.layers:
        layer.forward = partial(forward, layer)
    return net


def test_no_buffer_is_read_or_overwritten_too_early() -> None:
    device = FakeDevice()
    model = HostModel(watched(device, Net(depth=5)))
    with DevicePool(device, torch.float32, FIXED + 2 * LAYER).use([model]):
        for _ in range(3):
            assert torch.equal(compute(model), expected(depth=5))


@pytest.mark.parametrize("event", ["copies_wait", "computation_waits"])
def test_the_order_checker_sees_a_wait_that_is_left_out(event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice()
    model = HostModel(watched(device, Net(depth=5)))
    monkeypatch.setattr(device, event, lambda event: None)
    with (
        DevicePool(device, torch.float32, FIXED + 2 * LAYER).use([model]),
        pytest.raises(OrderError),
    ):
        compute(model)


def test_a_first_copy_waits_for_what_still_computes_with_the_memory_that_it_got(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An allocator hands out memory at once, although kernels that read it are still queued."""
    device, order = FakeDevice(), []
    for name in ("empty", "computed", "copies_wait", "copy"):
        act = getattr(device, name)
        monkeypatch.setattr(device, name, lambda *given, act=act, name=name: (order.append(name), act(*given))[1])
    model = HostModel(Net())
    with DevicePool(device, torch.float32, FIXED + 2 * LAYER).use([model]):
        begun = len(order)
        compute(model)
    assert order[begun - 2 : begun + 1] == ["computed", "copies_wait", "copy"]


def test_a_pass_that_raises_leaves_the_layers_usable() -> None:
    model = HostModel(Net())
    with DevicePool(FakeDevice(), torch.float32, FIXED + 2 * LAYER).use([model]):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), torch.no_grad():
            model.content.layers[3](torch.zeros(1, 3))
        assert torch.equal(compute(model), expected())


def test_what_cannot_fit_is_refused_with_needed_and_available_bytes() -> None:
    pool, model = DevicePool(FakeDevice(), torch.float32, LAYER), HostModel(Net())
    with pytest.raises(BudgetError) as caught, pool.use([model]):
        pass
    assert str(caught.value) == (
        f"the model does not fit into its memory budget (expected at least {FIXED + 2 * LAYER} bytes, "
        f"got {LAYER} bytes)\n  hint: raise --vram-budget, or --ram-budget on a CPU"
    )
    assert pool.held_bytes == 0


# Several models


def test_two_models_that_both_fit_are_copied_once() -> None:
    device = FakeDevice()
    pool, a, b = DevicePool(device, torch.float32, BIG), HostModel(Net()), HostModel(Net(seed=1))
    for model in (a, b, a, b):
        with pool.use([model]):
            pass
    assert device.copied_bytes == 2 * (4 * LAYER + FIXED)


@pytest.mark.parametrize("budget", [BIG, 2 * LAYER + 2 * FIXED], ids=["resident", "streamed"])
def test_a_model_with_a_type_of_its_own_shares_its_host_tensors_and_not_its_copies(budget: int) -> None:
    pool, base = DevicePool(FakeDevice(), torch.bfloat16, budget), HostModel(Net())
    exact = base.clone()
    for module in exact.content.modules():
        module.computes_in = torch.float32
    exact = HostModel(exact.content)
    for _ in range(2):
        with pool.use([base]):
            assert {tensor.dtype for tensor in base.content.parameters()} == {torch.bfloat16}
        with pool.use([exact]):
            assert torch.equal(compute(exact), expected())
            assert torch.float32 in {tensor.dtype for tensor in exact.content.parameters()}
    assert exact.own_bytes(base) == 0


def test_the_model_that_was_used_longest_ago_makes_room() -> None:
    device = FakeDevice()
    pool = DevicePool(device, torch.float32, 2 * (4 * LAYER + FIXED))
    a, b, c = (HostModel(Net(seed=n)) for n in range(3))
    for model in (a, b, a, c):
        with pool.use([model]):
            pass
    before = device.copies
    with pool.use([a, c]):
        assert device.copies == before
    with pool.use([b]):
        assert device.copies > before


def test_a_model_in_use_stays_and_another_takes_what_is_left() -> None:
    pool = DevicePool(FakeDevice(), torch.float32, 6 * LAYER + 2 * FIXED + LAYER // 2)
    a, b = HostModel(Net()), HostModel(Net(seed=1))
    with pool.use([a]):
        with pool.use([b]):
            assert torch.equal(compute(b), expected(seed=1))
            assert torch.equal(compute(a), expected())
        assert torch.equal(compute(a), expected())


def test_models_may_be_given_back_in_any_order() -> None:
    """The buffers of one that is still in use stay, whoever asked for them first."""
    pool = DevicePool(FakeDevice(), torch.float32, 6 * LAYER + 2 * FIXED)
    a, b = HostModel(Net(depth=6)), HostModel(Net(seed=1))
    pool.take([a], working=2 * LAYER + FIXED)
    pool.take([a, b])
    pool.give_back([a])
    assert torch.equal(compute(a), expected(depth=6)) and torch.equal(compute(b), expected(seed=1))
    pool.give_back([a, b])
    pool.clear()
    assert pool.held_bytes == 0


def test_models_over_the_same_weights_share_them() -> None:
    device = FakeDevice()
    pool, base = DevicePool(device, torch.float32, BIG), HostModel(Net())
    patched = base.clone()
    patched.content.layers[1].weight = nn.Parameter(torch.zeros(WIDTH, WIDTH), requires_grad=False)
    patched = HostModel(patched.content)
    with pool.use([base]):
        pass
    before = device.copied_bytes
    with pool.use([patched]):
        assert not torch.equal(compute(patched), expected())
    assert device.copied_bytes - before == WIDTH * WIDTH * 4
    with pool.use([base]):
        assert torch.equal(compute(base), expected())


# Memory runs out


def test_an_allocation_that_fails_is_tried_again_with_everything_else_gone() -> None:
    device = FakeDevice()
    pool, a, b = DevicePool(device, torch.float32, BIG), HostModel(Net()), HostModel(Net(seed=1))
    with pool.use([a]):
        pass
    device.failures = {device.allocations + 3}
    with pool.use([b]):
        assert torch.equal(compute(b), expected(seed=1))
    assert device.released == 1
    assert pool.held_bytes == 4 * LAYER + FIXED


def test_a_device_that_stays_full_is_told_so() -> None:
    pool, model = DevicePool(FakeDevice(limit=LAYER), torch.float32, BIG), HostModel(Net())
    with pytest.raises(OutOfMemoryError, match="cpu has less free memory than its budget"), pool.use([model]):
        pass
    pool.clear()
    assert pool.held_bytes == 0


def test_what_other_programs_hold_is_no_room() -> None:
    size = 4 * LAYER + FIXED
    device = FakeDevice(limit=2 * size, others=2 * size - (FIXED + 3 * LAYER))
    pool, model = DevicePool(device, torch.float32, 2 * size), HostModel(Net())
    with pool.use([model]):
        assert torch.equal(compute(model), expected())
        assert pool.held_bytes <= FIXED + 3 * LAYER
    pool.clear()
    device.others = 2 * size - LAYER
    with pytest.raises(OutOfMemoryError) as caught, pool.use([model]):
        pass
    assert str(caught.value) == (
        f"cpu has less free memory than its budget (expected {FIXED + 2 * LAYER} bytes for weights, got {LAYER} "
        f"bytes, and a budget of {2 * size} bytes, which other programs may share)\n"
        "  hint: close other programs that use the device, or lower --vram-budget"
    )
    device.others = 0
    with pool.use([model]):
        assert pool.held_bytes == size


@pytest.mark.parametrize("spare", [0, LAYER, BIG])
def test_spare_bytes_are_left_as_far_as_the_model_can_do_without(spare: int) -> None:
    pool, model = DevicePool(FakeDevice(), torch.float32, FIXED + 4 * LAYER), HostModel(Net())
    with pool.use([model], spare=spare):
        assert torch.equal(compute(model), expected())
        assert pool.held_bytes == FIXED + {0: 4, LAYER: 3, BIG: 2}[spare] * LAYER


def test_spare_bytes_never_refuse_a_model_that_only_fits_whole() -> None:
    model = HostModel(nn.Sequential(nn.Linear(WIDTH, WIDTH)))
    with DevicePool(FakeDevice(), torch.float32, LAYER).use([model], spare=BIG):
        assert compute(model).shape == X.shape


class Ledger(RuleBasedStateMachine):
    """Whatever is used, nested, dropped and refused: the ledger is true, kept, and empty in the end."""

    @initialize(budget=st.integers(FIXED + 2 * LAYER, 12 * LAYER))
    def start(self, budget: int) -> None:
        self.device = FakeDevice()
        self.pool = DevicePool(self.device, torch.float32, budget)
        self.models = [HostModel(Net(depth=depth, seed=depth)) for depth in (1, 2, 3)] + [HostModel(net(4))]
        self.expected = [expected(depth=depth, seed=depth) for depth in (1, 2, 3)] + [decoded(net(4))(X).detach()]
        self.open: list[tuple[contextlib.ExitStack, list[int]]] = []

    @rule(which=st.lists(st.integers(0, 3), min_size=1, max_size=2), working=st.integers(0, LAYER))
    def use(self, which: list[int], working: int) -> None:
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(self.pool.use([self.models[n] for n in which], working))
        except OutOfMemoryError:
            return
        self.open.append((stack, which))

    @rule()
    def leave(self) -> None:
        if self.open:
            self.open.pop()[0].close()

    @rule(fail=st.integers(1, 6))
    def fail_soon(self, fail: int) -> None:
        self.device.failures = {self.device.allocations + fail}

    @rule(n=st.integers(0, 3))
    def forget(self, n: int) -> None:
        self.pool.forget(self.models[n])

    @rule()
    def clear(self) -> None:
        self.pool.clear()

    @invariant()
    def the_ledger_is_true(self) -> None:
        assert self.pool.held_bytes == self.device.used <= self.pool.budget

    @invariant()
    def what_is_in_use_computes(self) -> None:
        for n in {n for _, which in self.open for n in which}:
            assert torch.equal(compute(self.models[n]), self.expected[n])

    def teardown(self) -> None:
        for stack, _ in reversed(self.open):
            stack.close()
        self.pool.clear()
        assert self.device.used == 0


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=15)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
