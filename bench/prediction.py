"""Predicted against measured, and the plan of the search against those of experts; see jogak.testing.prediction.

jogak machine probe --nproc 4 -o machine.toml
python bench/prediction.py [gpt llama resnet] --nproc 4 --machine machine.toml --folder plans [--rounds 3]
"""

from jogak.testing.prediction import main

if __name__ == "__main__":
    main()
