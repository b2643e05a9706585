"""The processes that train one trial together, each on a device of its own: torch's ranks.

Every rank builds the same network and the same batches, from the same random numbers. It puts its share of each batch
through the network; then the ranks exchange gradients, outputs and losses, so that every rank has those of the whole
batch and takes the same step. Whatever depends on the clock or the driver, the first rank decides for all. It alone
writes and reports.

This is data parallelism as in torch's DistributedDataParallel, but without its hooks: they exchange gradients after
each backward pass, and a batch that is cut to fit in memory has several passes and needs one exchange.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import psutil
import torch
import torch.distributed as dist
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from sweeper.errors import RankLost, TrialError

T = TypeVar("T")
Module = TypeVar("Module", bound=nn.Module)

LOOPBACK = "127.0.0.1"
PATIENCE = timedelta(days=7)
"""Long, since a process that starts ranks watches them and ends those that wait for one that is gone."""
PATIENCE_BETWEEN_MACHINES = timedelta(hours=1)
"""With an exchange of tensors, for a rank that is there and stands still; it may have features to compute before."""


@dataclass(frozen=True)
class Ranks:
    """The ranks of a trial as one of them sees them; by default it is the only one.

    Attributes:
        rank: Which one this is, from 0.
        count: How many there are.
        agreeing: The group by which they tell each other plain values, on the host.
    """

    rank: int = 0
    count: int = 1
    agreeing: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this rank decides, writes and reports."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        return self.count > 1

    def share(self, images: int) -> slice:
        """Return which of the images of a batch this rank takes: equal parts to within one.

        Of a batch with fewer than two images for each rank, every rank takes all: batch normalisation needs two.
        """
        if images < 2 * self.count:
            return slice(0, images)
        return slice(images * self.rank // self.count, images * (self.rank + 1) // self.count)

    def smallest_share(self, images: int) -> int:
        """Return how many images of a batch every rank takes at least."""
        return images if images < 2 * self.count else images // self.count

    def largest_share(self, images: int) -> int:
        """Return how many images of a batch a rank takes at most."""
        return images if images < 2 * self.count else -(-images // self.count)

    def copies(self, images: int) -> int:
        """Return how many ranks take each image of a batch."""
        return self.count if self.several and images < 2 * self.count else 1

    def sum_gradients(self, network: nn.Module) -> None:
        """Give every rank the sum of all ranks' gradients."""
        if self.several:
            gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
            self._sum(gradients)

    def average_buffers(self, network: nn.Module) -> None:
        """Give every rank the mean of all ranks' running statistics, where each has those of its own shares."""
        if self.several:
            statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
            self._sum(statistics)
            if statistics:
                torch._foreach_div_(statistics, self.count)

    def _sum(self, tensors: list[Tensor]) -> None:
        """Replace tensors by their sums over all ranks, those of one kind of number in one go."""
        for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
            alike = [tensor for tensor in tensors if tensor.dtype == kind]
            flat = torch.cat([tensor.detach().reshape(-1) for tensor in alike])
            with _lost_ranks_told():
                dist.all_reduce(flat)
            sums = [part.view(tensor.shape) for part, tensor in zip(_parts(flat, alike), alike, strict=True)]
            torch._foreach_copy_(alike, sums)

    def gathered(self, mine: Tensor, images: int) -> Tensor:
        """Return what all ranks made of their shares of a batch of `images`, [B, ...], from this rank's own rows."""
        if not self.several or self.copies(images) > 1:
            return mine
        whole = mine.new_zeros(images, *mine.shape[1:])
        whole[self.share(images)] = mine
        with _lost_ranks_told():
            dist.all_reduce(whole)
        return whole

    def agree(self, value: T) -> T:
        """Return the first rank's value, a plain one, once all ranks have asked for it."""
        if not self.several:
            return value
        told: list[Any] = [value]
        with _lost_ranks_told():
            dist.broadcast_object_list(told, src=0, group=self.agreeing, device=torch.device("cpu"))
        return told[0]  # type: ignore[no-any-return]

    def require_same(self, value: object, what: str) -> None:
        """Raise TrialError on a rank whose value is another than the first one's; all ranks must ask."""
        first = self.agree(value)
        if first != value:
            raise TrialError(f"{what} should be that of the trial's first device, {first}, got {value}")

    def first_before_others(self, work: Callable[[], T]) -> T:
        """Return what work gives on this rank; the others begin when the first one is done."""
        if self.first:
            result = work()
            self.agree(None)
            return result
        self.agree(None)
        return work()

    def synchronized(self, network: Module, device: torch.device) -> Module:
        """Return a network whose batch normalisation learns from whole batches.

        torch synchronises it on GPUs alone. On a CPU every rank normalises its share by itself, as the parts of a batch
        that does not fit do, and the running statistics are averaged after each epoch.
        """
        if not self.several or device.type != "cuda":
            return network
        return convert_sync_batchnorm(network)  # type: ignore[no-any-return,no-untyped-call]

    @staticmethod
    def in_step(network: nn.Module) -> bool:
        """Return whether ranks wait for each other within a forward pass, so that none can repeat one alone."""
        return any(isinstance(module, nn.SyncBatchNorm) for module in network.modules())


ALONE = Ranks()


def new_store(host: str = LOOPBACK) -> TCPStore:
    """Return where ranks find each other: it listens on a free port of this machine, at its address `host` alone.

    Left to itself, torch listens at all addresses, and whoever reaches one may send it what ranks unpickle. Raises
    RankLost where that is not its address.
    """
    with _lost_ranks_told():
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, 0), family=family)
        port = listening.getsockname()[1]
        return TCPStore(host, port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach())


def store_at(host: str, port: int) -> TCPStore:
    """Return the store that the first rank keeps on its machine. Raises RankLost."""
    with _lost_ranks_told():
        return TCPStore(host, port, is_master=False)


def join(rank: int, count: int, device: torch.device, store: Store, address: str = LOOPBACK) -> Ranks:
    """Join the other ranks; returns when all are there. NCCL carries tensors between GPUs, Gloo all the rest.

    `address` is that of this machine, where the others reach it. Raises RankLost.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    _talk_at(address)
    patience = PATIENCE if address == LOOPBACK else PATIENCE_BETWEEN_MACHINES
    with _lost_ranks_told():
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=patience)
        agreeing: Any = dist.new_group(backend="gloo", timeout=PATIENCE)
    return Ranks(rank, count, agreeing)


def _talk_at(address: str) -> None:
    """Let Gloo, and NCCL between machines, use the network that this address belongs to, unless the user has chosen.

    Gloo would ask for the address of this machine's name, and NCCL takes the first network that it finds.
    """
    found = {name: [each.address for each in of] for name, of in psutil.net_if_addrs().items()}
    if (name := interface_of(address, found)) is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        if address != LOOPBACK:
            os.environ.setdefault("NCCL_SOCKET_IFNAME", name)


def interface_of(address: str, interfaces: Mapping[str, Iterable[str]]) -> str | None:
    """Return the interface that has an address, by the addresses of each; None where none has it."""
    return next((name for name, addresses in interfaces.items() if address in addresses), None)


def leave_ranks() -> None:
    """Leave the other ranks, alive or not."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _lost_ranks_told() -> Iterator[None]:
    """Raise RankLost where ranks cannot be reached."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise RankLost(f"another device's process does not answer: {str(error).partition(chr(10))[0]}") from error


def _parts(flat: Tensor, like: Iterable[Tensor]) -> Iterator[Tensor]:
    """Cut a flat tensor into parts with as many numbers as each of the others has."""
    return iter(torch.split(flat, [tensor.numel() for tensor in like]))
