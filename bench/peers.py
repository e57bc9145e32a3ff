"""A compiled training step against DistributedDataParallel or FSDP2; see jogak.testing.peers.

torchrun --nproc-per-node 2 bench/peers.py FOLDER --peer ddp
"""

from jogak.testing.peers import main

if __name__ == "__main__":
    main()
