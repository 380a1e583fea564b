"""The flat gradient buffer, alone and over ranks with uneven shares."""

import math
import os
import socket

import pytest
import torch
import torch.multiprocessing
from torch import nn

from sr_core.train.gradients import GradientBuffer
from sr_core.world import World, open_world


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3)).to(memory_format=torch.channels_last)


def crops(num=5):
    return torch.rand(num, 3, 9, 9, generator=torch.manual_seed(1)).to(memory_format=torch.channels_last)


def loss_of(net, x):
    return net(x).square().mean()


def plain_gradients(num=5):
    net = network()
    loss = loss_of(net, crops(num))
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in net.parameters()]


def test_the_gradients_are_views_of_one_buffer():
    net = network()
    buffer = GradientBuffer([net], World())
    loss = loss_of(net, crops())
    loss.backward()
    buffer.reduce(loss, stop=True)
    expected_loss, expected = plain_gradients()
    for parameter, gradient in zip(net.parameters(), expected, strict=True):
        assert parameter.grad.untyped_storage().data_ptr() == buffer.gradients.untyped_storage().data_ptr()
        torch.testing.assert_close(parameter.grad, gradient)
    assert buffer.loss == expected_loss
    assert buffer.stop == 1
    buffer.zero()
    assert not buffer.gradients.any()


@pytest.mark.parametrize("max_norm", [0.0, 1e-3, 1e9])
def test_clipping_is_torchs(max_norm):
    net, plain = network(), network()
    buffer = GradientBuffer([net], World())
    loss_of(net, crops()).backward()
    loss_of(plain, crops()).backward()
    norm = buffer.clip(max_norm)
    expected = nn.utils.clip_grad_norm_(plain.parameters(), max_norm or math.inf)
    torch.testing.assert_close(norm, expected)
    for own, other in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_seen(bad):
    net = network()
    buffer = GradientBuffer([net], World())
    next(net.parameters()).grad[0, 0, 0, 0] = bad
    buffer.reduce(torch.tensor(1.0), stop=False)
    assert buffer.not_finite.tolist() == [1]
    buffer.zero()
    buffer.reduce(torch.tensor(bad), stop=False)
    assert buffer.not_finite.tolist() == [1]


def _rank(rank, size, batch, port, out):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(size))
    os.environ.update(LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    with open_world(timeout_s=30) as world:
        net = network()
        buffer = GradientBuffer([net], world)
        mine = crops(batch)[list(world.share(batch))]
        loss = loss_of(net, mine) * (len(mine) / batch)
        loss.backward()
        buffer.reduce(loss, stop=rank == 1)
        torch.save([buffer.loss, buffer.stop, *(p.grad.clone() for p in net.parameters())], out / f"{rank}.pt")


@pytest.mark.parametrize(("size", "batch"), [(2, 5), (3, 16)], ids=["2+3 crops", "5+5+6 crops"])
def test_ranks_with_uneven_shares_have_the_global_batchs_gradient(size, batch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_rank, (size, batch, port, tmp_path), nprocs=size)
    loss, gradients = plain_gradients(batch)
    for rank in range(size):
        found_loss, stop, *found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert stop == 1
        torch.testing.assert_close(found_loss, loss, rtol=1e-6, atol=0)
        for own, expected in zip(found, gradients, strict=True):
            assert (own - expected).norm() <= 1e-6 * expected.norm()
