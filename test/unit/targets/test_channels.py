"""Small messages over sockets: between ranks of one machine, in order, with an error where one is gone or silent."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
import torch
from torch.distributed import HashStore

from jogak.targets.distributed.rank import channels
from jogak.targets.distributed.rank.channels import SMALL, Channels, connect
from jogak.targets.distributed.rank.errors import CommunicationError


def connected(ranks: int, timeout: float = 20.0) -> list[Channels]:
    """The channels of some ranks, which are threads here."""
    store, found, errors = HashStore(), {}, []

    def join(rank: int) -> None:
        try:
            found[rank] = connect(rank, set(range(ranks)) - {rank}, store, timeout)
        except CommunicationError as error:
            errors.append(error)

    in_parallel([lambda rank=rank: join(rank) for rank in range(ranks)])
    assert not errors
    return [found[rank] for rank in range(ranks)]


def in_parallel(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
        assert not thread.is_alive()


@pytest.mark.parametrize("ranks", [2, 3])
def test_messages_come_in_order(ranks: int) -> None:
    made = connected(ranks)
    sizes = [1, 8, 4096, SMALL // 4, *(random.Random(0).randrange(1, SMALL // 4) for _ in range(40))]

    def value(rank: int, number: int) -> torch.Tensor:
        return torch.full((sizes[number],), float(1000 * rank + number))

    def run(rank: int) -> None:
        others = [each for each in range(ranks) if each != rank]
        received = {(n, other): torch.empty(size) for n, size in enumerate(sizes) for other in others}
        transfers = []
        for n in range(len(sizes)):  # more than the kernel takes at once
            for other in others:
                transfers += [made[rank].send(value(rank, n), other), made[rank].receive(received[n, other], other)]
        random.Random(rank).shuffle(transfers)  # in another order on each rank
        for transfer in transfers:
            assert transfer is not None
            transfer.wait()
        good[rank] = all(torch.equal(value(other, n), each) for (n, other), each in received.items())

    good: dict[int, bool] = {}
    in_parallel([lambda rank=rank: run(rank) for rank in range(ranks)])
    assert good == dict.fromkeys(range(ranks), True)


def test_large_and_empty_messages_go_elsewhere() -> None:
    first, _ = connected(2)
    assert first.send(torch.empty(SMALL + 1, dtype=torch.uint8), 1) is None
    assert first.receive(torch.empty(0), 1) is None
    assert first.send(torch.empty(1), 2) is None


def test_pieces_with_gaps_are_refused() -> None:
    first, _ = connected(2)
    with pytest.raises(ValueError, match="contiguous"):
        first.send(torch.zeros(4, 4).t(), 1)


def test_ranks_of_other_machines_have_no_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = iter(["one", "one", "other"])
    monkeypatch.setattr(channels, "_machine", lambda: next(machines))
    made = connected(3)
    reached = sorted(
        [other for other in range(3) if other != rank and made[rank].send(torch.zeros(1), other)] for rank in range(3)
    )
    assert [len(each) for each in reached] == [0, 1, 1]


def test_where_there_are_no_such_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_machine", lambda: "")
    assert all(each.send(torch.zeros(1), 1 - rank) is None for rank, each in enumerate(connected(2)))


def test_a_rank_that_is_gone() -> None:
    first, second = connected(2)
    transfer = first.receive(torch.empty(4), 1)
    second._channels[0].socket.close()
    assert transfer is not None
    with pytest.raises(RuntimeError, match="rank 1 has closed its connection"):
        transfer.wait()
    with pytest.raises(RuntimeError, match="rank 1 is gone"):
        first.send(torch.empty(4), 1)


def test_a_rank_that_is_silent() -> None:
    first, _second = connected(2)
    first._timeout = 0.05
    transfer = first.receive(torch.empty(4), 1)
    assert transfer is not None
    with pytest.raises(RuntimeError, match=r"rank 1 has not answered for 0\.05 s"):
        transfer.wait()


def test_a_rank_that_does_not_come() -> None:
    store = HashStore()
    store.set_timeout(timedelta(seconds=0.1))
    with pytest.raises(CommunicationError, match="rank 0 cannot reach ranks on its machine"):
        connect(0, {1}, store, 0.1)


def test_a_rank_that_calls_and_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    store = HashStore()
    monkeypatch.setattr(channels, "_machine", lambda: "here")

    def call_and_die() -> None:
        store.set("channel/1", "here nobody")
        store.wait(["channel/0"], timedelta(seconds=20))
        with socket.socket(socket.AF_UNIX) as made:
            made.connect("\0" + store.get("channel/0").decode().split()[-1])

    def answer() -> None:
        with pytest.raises(CommunicationError, match="rank 0 cannot reach ranks on its machine"):
            connect(0, {1}, store, 20.0)

    in_parallel([call_and_die, answer])
