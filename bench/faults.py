"""kill -9 of one rank at random moments of a training run that saves after every step; see jogak.testing.faults.

python bench/faults.py FOLDER PROCESSES [COUNT]
"""

import sys

from jogak.testing.faults import main

if __name__ == "__main__":
    sys.exit(main())
