"""One plan on several targets against PyTorch eager; see jogak.testing.targets.

torchrun --nproc-per-node 2 bench/targets.py FOLDER FOLDER ...
"""

from jogak.testing.targets import main

if __name__ == "__main__":
    main()
