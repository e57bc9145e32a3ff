"""Trains a small convolutional network to tell generated images apart: stripes across, stripes down, checks, a disc.

python examples/train_cnn.py compile cnn --mesh data=2
torchrun --nproc-per-node 2 examples/train_cnn.py train cnn --steps 60
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

import jogak
from jogak.ingress.options import Optimizer

BATCH, SIZE, CLASSES = 16, 16, 4


def network() -> nn.Module:
    """Two convolutions and a classifier."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, CLASSES),
    )


def images(number: int) -> tuple[Tensor, Tensor]:
    """A batch of noisy figures and what each shows."""
    generator = torch.Generator().manual_seed(number)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    disc = (row - SIZE // 2) ** 2 + (column - SIZE // 2) ** 2 < SIZE
    figures = torch.stack([row % 4 < 2, column % 4 < 2, (row // 2 + column // 2) % 2 == 0, disc]).float()
    noise = 0.3 * torch.randn(BATCH, SIZE, SIZE, generator=generator)
    return (figures[labels] + noise).unsqueeze(1), labels


def compile_step(folder: str, mesh: str) -> None:
    """Make the training step for a mesh with an axis `data`."""
    pixels, _ = images(0)
    optimizer = Optimizer("adamw", learning_rate=1e-2)
    shard = {"input": "[data, _, _, _]", "target": "[data]"}
    made = jogak.compile(
        network(), (pixels,), mesh=mesh, train=optimizer, loss="cross_entropy", shard=shard, target="torch"
    )
    made.save(folder, force=True)
    print(made)


def train(folder: str, steps: int) -> None:
    """Run the step on new images each time."""
    step = jogak.load(folder)
    for number in range(steps):
        pixels, labels = images(number)
        loss = float(step(input=pixels, target=labels)["loss"])
        if step.mesh.rank == 0:
            print(f"step {number}  loss {loss:.6f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["compile", "train"])
    parser.add_argument("folder")
    parser.add_argument("--mesh", default="data=2")
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    if given.action == "compile":
        compile_step(given.folder, given.mesh)
    else:
        train(given.folder, given.steps)


if __name__ == "__main__":
    main()
