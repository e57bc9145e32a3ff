"""Alpa's closed forms through the whole path: PyTorch model, program, search, predicted communication.

    python bench/closed_forms.py [A1 ...]

One line for each: the published cost, the plan's communication in the same units, their ratio, the proven bound.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jogak.testing.closed_forms import FORMS, WHY, search_form

MACHINE = Path(__file__).parent / "machines" / "alpa.toml"


def main() -> None:
    print("form | program | published | ours | ratio | bound / ours | why it differs")
    for name in sys.argv[1:] or FORMS:
        form = FORMS[name]
        outcome = search_form(form, str(MACHINE))
        ours = outcome.communication_s
        proven = outcome.lower_bound / ours if ours else 1.0
        cells = [name, form.what, f"{form.known:.2f}", f"{ours:.2f}", f"{ours / form.known:.6f}", f"{proven:.6f}"]
        print(" | ".join([*cells, WHY.get(name, "")]), flush=True)


if __name__ == "__main__":
    main()
