"""Which images of a batch each of several devices takes, and what is synchronised; processes are in tests/engines."""

from __future__ import annotations

import socket
import sys

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sweeper.data.batches import Batch
from sweeper.errors import RankLost, TrialError
from sweeper.training.gradients import to_the_end
from sweeper.training.micro_batch import MicroBatches, parts
from sweeper.training.ranks import ALONE, Ranks, interface_of, new_store
from sweeper.training.trainer import epoch_seed

CPU = torch.device("cpu")


@given(images=st.integers(1, 300), count=st.integers(1, 9))
def test_the_shares_of_all_ranks_are_the_batch_and_equal_to_within_an_image(images: int, count: int) -> None:
    ranks = [Ranks(rank, count) for rank in range(count)]
    taken = [list(range(images))[each.share(images)] for each in ranks]
    if images < 2 * count and count > 1:
        assert taken == [list(range(images))] * count
        assert all(each.copies(images) == count for each in ranks)
    else:
        assert [image for share in taken for image in share] == list(range(images))
        assert all(each.copies(images) == 1 for each in ranks)
    sizes = {len(share) for share in taken}
    assert sizes <= {ranks[0].smallest_share(images), ranks[0].largest_share(images)}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a machine has one loopback address")
def test_ranks_meet_at_one_address_of_the_machine_and_at_no_other() -> None:
    store = new_store("127.0.0.1")
    with socket.create_connection(("127.0.0.1", store.port), timeout=5):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", store.port), timeout=5)


def test_ranks_do_not_meet_at_an_address_of_another_machine() -> None:
    with pytest.raises(RankLost, match="does not answer"):
        new_store("192.0.2.1")


@given(images=st.integers(4, 200), limit=st.integers(1, 50))
def test_all_ranks_cut_their_shares_into_as_many_parts(images: int, limit: int) -> None:
    ranks = [Ranks(rank, 2) for rank in range(2)]
    cut = parts(ranks[0].smallest_share(images), limit, smallest=1)
    for each in ranks:
        mine = torch.arange(images)[each.share(images)]
        covered = to_the_end(cut, Batch(mine, mine))
        assert torch.equal(torch.cat([mine[part] for part in covered]), mine)


def test_one_rank_alone_takes_all_and_exchanges_nothing() -> None:
    rows = torch.arange(6.0)
    assert ALONE.share(6) == slice(0, 6)
    assert ALONE.gathered(rows, 6) is rows
    assert ALONE.agree("x") == "x"
    assert (ALONE.first, ALONE.several) == (True, False)


def test_batch_normalisation_is_synchronised_on_gpus_with_the_same_weights() -> None:
    network = timm.create_model("test_resnet", num_classes=3).eval()
    images = torch.randn(2, 3, 32, 32)
    before, names = network(images), list(network.state_dict())
    assert Ranks(0, 2).synchronized(network, CPU) is network
    assert not Ranks.in_step(network)
    changed = Ranks(0, 2).synchronized(network, torch.device("cuda"))
    assert Ranks.in_step(changed)
    assert not any(type(module) is nn.BatchNorm2d for module in changed.modules())
    assert list(changed.state_dict()) == names
    assert torch.equal(changed(images), before)  # in evaluation it needs no GPU


def test_a_rank_that_others_wait_for_does_not_repeat_a_step_that_does_not_fit() -> None:
    tried = []

    def attempt(cut: list[slice]) -> None:
        tried.append(cut)
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(RankLost) as lost:
        MicroBatches(CPU, in_step=True).fit("training", 8, attempt, rewind=lambda: None)
    assert lost.value.for_memory
    assert len(tried) == 1


def test_dropout_differs_between_ranks_and_not_for_the_first() -> None:
    assert epoch_seed(5, 1) == epoch_seed(5, 1, 0)
    assert len({epoch_seed(5, 1, rank) for rank in range(4)}) == 4


def test_ranks_talk_over_the_network_that_the_address_of_their_machine_belongs_to() -> None:
    networks = {"lo": ["127.0.0.1", "::1"], "eth0": ["10.0.0.7", "fe80::1"], "eth1": ["192.168.1.7"]}
    assert interface_of("127.0.0.1", networks) == "lo"
    assert interface_of("192.168.1.7", networks) == "eth1"
    assert interface_of("172.16.0.1", networks) is None  # as behind a translation of addresses


def test_a_rank_that_stands_elsewhere_than_the_first_ends_before_it_trains() -> None:
    ALONE.require_same(3, "epoch")

    class Behind(Ranks):
        def agree(self, value: object) -> object:  # type: ignore[override]
            return 2

    with pytest.raises(TrialError, match="epoch should be that of the trial's first device, 2, got 3"):
        Behind(1, 2).require_same(3, "epoch")
