"""Runs the program beside this file on every device of its mesh. Start it with torchrun:

    torchrun --nproc-per-node 4 run.py --steps 10

It needs torch and safetensors. Every rank reads only its own slices of the values (those in weights/, or the files
that --values names). Results that are the next value of an argument go back in at the next step. Processes compute on
CUDA devices (NCCL) where there are some, else on the CPU (gloo).
"""

import importlib
from pathlib import Path

if __name__ == "__main__":
    main = importlib.import_module("rank.main").main  # in the folder beside this file
    main(Path(__file__).resolve().parent, __doc__ or "")
