"""Architectures beyond the usual transformers: are they imported, and does sharded equal PyTorch?

    python bench/models.py [--models swin,t5] [--mesh data=2,model=2]

Prints a row for each model and mode: the largest relative error over all results with inputs and parameters split, the
share of the arithmetic on ops that are replicated by fallback, the share on ops with a dimension that stays whole, and
whether the collectives were as promised.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product

from jogak.ir.module import main_function
from jogak.registry import registry_of
from jogak.report.coverage import coverage
from jogak.sharding.reading import read_graph
from jogak.testing.equality import Case, check, prepare

MODELS = {
    "t5": "hf:t5?num_layers=2&num_decoder_layers=2&d_model=32&d_kv=8&num_heads=4&d_ff=64&vocab_size=96"
    "&batch=4&sequence=16",
    "mixtral": "hf:mixtral?num_hidden_layers=2&hidden_size=32&intermediate_size=64&num_attention_heads=4"
    "&num_key_value_heads=2&num_local_experts=4&vocab_size=96&batch=4&sequence=16",
    "swin": "hf:swin?embed_dim=16&depths=2,2&num_heads=2,4&window_size=4&image=32&patch_size=2&num_labels=8&batch=4",
    "unet": "zoo:unet?levels=2&width=16&groups=4&image=16&batch=8",
    "convnext": "hf:convnext?hidden_sizes=16,32,48,64&depths=1,1,2,1&num_labels=8&batch=4&image=64",
    "segformer": "hf:segformer?hidden_sizes=16,32,48,64&depths=1,1,1,1&num_attention_heads=1,2,4,8&sr_ratios=8,4,2,1"
    "&decoder_hidden_size=32&num_labels=8&batch=4&image=64",
    "mobilenet_v2": "hf:mobilenet_v2?depth_multiplier=0.35&num_labels=8&batch=4&image=64",
}
TOLERANCE = 1e-5


def row(name: str, mode: str, mesh: str) -> tuple[str, bool]:
    """One row of the table, and whether the case passed."""
    training = mode == "training"
    try:
        function = main_function(prepare(MODELS[name], training, None).module).operation
    except Exception as error:  # one broken model must not hide the others
        return f"| {name} | {mode} | NOT IMPORTED: {type(error).__name__}: {error} |", False
    covered = coverage(read_graph(function, registry_of(()).rules()).graph)
    fallback = covered.fallback_flops / covered.flops
    whole = sum(each.share for each in covered.replicated if not each.whole)
    try:
        verdict = check(Case(MODELS[name], training, mesh, "mixed"))
    except Exception as error:
        return f"| {name} | {mode} | FAILED: {type(error).__name__}: {error} | {fallback:.2%} | {whole:.2%} |", False
    kept = verdict.promised == verdict.counted
    promised = "as promised" if kept else "NOT AS PROMISED"
    text = f"| {name} | {mode} | {verdict.error:.1e} ({verdict.worst}) | {fallback:.2%} | {whole:.2%} | {promised} |"
    return text, kept and verdict.error <= TOLERANCE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--mesh", default="data=2,model=2")
    parser.add_argument("--modes", default="inference,training")
    options = parser.parse_args()
    print("| model | mode | largest relative error | replicated by fallback | a dimension whole | collectives |")
    print("|---|---|---|---|---|---|")
    passed = []
    for name, mode in product(options.models.split(","), options.modes.split(",")):
        text, good = row(name, mode, options.mesh)
        print(text, flush=True)
        passed.append(good)
    print(f"\n{sum(passed)} of {len(passed)} cases within {TOLERANCE:g}, collectives as promised")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
