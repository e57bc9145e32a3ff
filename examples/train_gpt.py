r"""Trains a small GPT on text that a grammar makes. First compile the step, then start this script on every device:

    jogak compile 'zoo:gpt2?layers=2&width=64&heads=4&vocab=128&sequence=32&context=32&batch=8' --train adamw \
          --mesh data=2 --shard 'tokens=[data, _]' --shard 'target=[data, _]' --target torch -o gpt
    torchrun --nproc-per-node 2 examples/train_gpt.py gpt --steps 100 --checkpoints checkpoints

Every rank draws the same batch and takes its part of it, so the losses are those of one device, whatever the mesh.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator

import torch
from torch import Tensor

import jogak

SUBJECTS = ["the cat", "a compiler", "my neighbour", "the old mesh", "every device"]
VERBS = ["sees", "shards", "follows", "reduces", "waits for"]
OBJECTS = ["the loss", "a gradient", "its weights", "two axes", "the next step"]


def text(sentences: int, seed: int = 0) -> str:
    """Sentences of a small grammar."""
    draw = random.Random(seed)
    parts = (SUBJECTS, VERBS, OBJECTS)
    return " ".join(" ".join(draw.choice(words) for words in parts) + "." for _ in range(sentences))


def batches(batch: int, length: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of characters and the characters behind them; batch number `first` comes first, after any restart."""
    data = torch.tensor(list(text(4000).encode()))
    number = first
    while True:
        generator = torch.Generator().manual_seed(number)
        starts = torch.randint(0, len(data) - length - 1, (batch,), generator=generator)
        rows = torch.stack([data[start : start + length + 1] for start in starts])
        yield rows[:, :-1], rows[:, 1:]
        number += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="output of jogak compile --target torch")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--checkpoints", help="folder; training goes on from the newest one")
    given = parser.parse_args()
    step = jogak.load(given.folder)
    done = step.restore(given.checkpoints) if given.checkpoints else 0
    batch, length = step.entry("tokens")["shape"]
    for number, (tokens, target) in zip(range(done, given.steps), batches(batch, length, done), strict=False):
        loss = float(step(tokens=tokens, target=target)["loss"])
        if step.mesh.rank == 0:
            print(f"step {number}  loss {loss:.6f}", flush=True)
        if given.checkpoints and (number + 1) % 25 == 0:
            step.save(given.checkpoints, number + 1)


if __name__ == "__main__":
    main()
