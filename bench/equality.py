"""Sharded equals unsharded equals PyTorch: every model of the zoo on every mesh with every strategy.

    python bench/equality.py [--models gpt2,resnet] [--precision bf16] [--meshes data=2,model=2 ...]

Prints a line for each case: the largest relative error over all results, and whether the collectives were as promised.
In bf16 a case runs twice: in f64, where it must be equal to 1e-5, and as it rounds, where it may be twice as far from
the f64 result as PyTorch in bf16, and 2e-2 beyond that.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import product

from jogak.testing.equality import STRATEGIES, Case, check

MODELS = {
    "mlp": "zoo:mlp?layers=3&width=32&features=16&classes=8&batch=16",
    "gpt2": "zoo:gpt2?layers=2&heads=8&width=64&vocab=96&context=16&sequence=16&batch=8",
    "llama": "zoo:llama?layers=2&heads=8&kv_heads=4&width=64&hidden=96&vocab=96&sequence=16&batch=8",
    "bert": "zoo:bert?layers=2&heads=8&width=64&vocab=96&context=16&sequence=16&batch=8",
    "vit": "zoo:vit?layers=2&heads=8&width=64&image=32&patch=8&classes=16&batch=8",
    "resnet": "zoo:resnet?depth=18&width=8&image=32&classes=16&batch=8",
    "resnet50": "zoo:resnet?depth=50&width=8&image=32&classes=16&batch=8",
    "mobilenet_v2": "zoo:mobilenet_v2?width=0.25&stages=4&image=32&classes=16&batch=8",
    "unet": "zoo:unet?levels=2&width=16&groups=4&image=16&batch=8",
    "moe": "zoo:moe?layers=2&heads=4&width=32&hidden=64&experts=8&vocab=64&sequence=16&batch=8",
}
EXACT = 1e-5
"""Largest relative error of what is computed in f64."""
MESHES = ("a=2", "a=4", "a=2,b=2", "a=2,b=4", "a=2,b=2,c=2")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--meshes", nargs="*", default=MESHES)
    parser.add_argument("--modes", default="inference,training")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    options = parser.parse_args()
    autocast = "bf16" if options.precision == "bf16" else None
    tolerance = 2e-2 if autocast else EXACT
    failures = total = 0
    start = time.perf_counter()
    for name, mode in product(options.models.split(","), options.modes.split(",")):
        for mesh, strategy in product(options.meshes, STRATEGIES):
            case = Case(MODELS[name], mode == "training", mesh, strategy, autocast)
            total += 1
            try:
                verdict = check(case)
            except Exception as error:  # one broken case must not hide the others
                failures += 1
                print(f"FAILED  {name:13} {mode:9} {mesh:12} {strategy:7} {type(error).__name__}: {error}", flush=True)
                continue
            close = verdict.error <= tolerance and verdict.exact_error <= EXACT
            passed = close and verdict.promised == verdict.counted
            failures += not passed
            promised = "as promised" if verdict.promised == verdict.counted else "NOT AS PROMISED"
            word = "ok    " if passed else "FAILED"
            line = (
                f"{word}  {name:13} {mode:9} {mesh:12} {strategy:7} {verdict.error:9.2e} {promised} ({verdict.worst})"
            )
            line += f", {verdict.exact_error:.2e} in f64" if autocast else ""
            print(line, flush=True)
    print(f"{total - failures} of {total} cases within {tolerance:g} in {time.perf_counter() - start:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
