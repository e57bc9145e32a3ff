"""Products over windows as matrix products: the same numbers, on the simulator and by IREE."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_mlir import ir

from jogak.ir.context import new_context, parse_module
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import LOWERING
from jogak.ir.rewrite.im2col import copied_bytes, find_form
from jogak.runtime.simulator import execute

_LOOPS = "g, n, f, h, w, c, k, l"
_KINDS = {  # read by data, filter, result; the summed loops
    "convolution": ("g, n, c", "g, f, c", "g, n, f", "ckl"),
    "gradient": ("g, n, c", "g, f, n", "g, f, c", "nkl"),
}


def program(sizes: dict[str, int], strides: tuple[int, int], kind: str, order: int, *, swap: bool) -> str:
    """A product over two windows, with the dimensions in front of the windows rotated by `order`."""
    data, filters, result, summed = _KINDS[kind]

    def turned(names: str) -> list[str]:
        each = names.split(", ")
        return each[order % 3 :] + each[: order % 3]

    windows = {
        f"h * {strides[0]} + k * {strides[1]}": (sizes["h"] - 1) * strides[0] + (sizes["k"] - 1) * strides[1] + 1,
        f"w * {strides[1]} + l * {strides[0]}": (sizes["w"] - 1) * strides[1] + (sizes["l"] - 1) * strides[0] + 1,
    }
    sizes = sizes | windows
    dims = [[*turned(data), *windows], [*turned(filters), "k", "l"], [*turned(result), "h", "w"]]
    types = ["tensor<" + "".join(f"{sizes[name]}x" for name in each) + "f32>" for each in dims]
    maps = [f"affine_map<({_LOOPS}) -> ({', '.join(each)})>" for each in dims]
    first, second = (1, 0) if swap else (0, 1)
    kinds = ", ".join('"reduction"' if loop in summed else '"parallel"' for loop in _LOOPS.split(", "))
    names = ("x", "k", "y")
    arguments = ", ".join(
        f'%{name}: {type_} {{jogak.name = "{name}"}}' for name, type_ in zip(names, types, strict=True)
    )
    return f"""
    func.func @main({arguments}) -> ({types[2]} {{jogak.name = "out"}}) {{
      %r = linalg.generic {{indexing_maps = [{maps[first]}, {maps[second]}, {maps[2]}], iterator_types = [{kinds}]}}
          ins(%{names[first]}, %{names[second]} : {types[first]}, {types[second]}) outs(%y : {types[2]}) {{
      ^bb0(%a: f32, %b: f32, %c: f32):
        %p = arith.mulf %a, %b : f32
        %s = arith.addf %c, %p : f32
        linalg.yield %s : f32
      }} -> {types[2]}
      return %r : {types[2]}
    }}"""


def inputs_of(module: ir.Module) -> dict[str, torch.Tensor]:
    types = main_function(module).attributes["function_type"].value.inputs
    generator = torch.Generator().manual_seed(0)
    shapes = [tuple(type_.shape) for type_ in types]
    return {name: torch.randn(shape, generator=generator) for name, shape in zip("xky", shapes, strict=True)}


def lowered(text: str) -> Any:
    module = parse_module(text, new_context())
    run_pipeline(module, LOWERING)
    assert "linalg.matmul" in str(module) or "linalg.batch_matmul" in str(module)
    return module


SIZES = st.fixed_dictionaries({name: st.integers(1, 4) for name in "gnfhwckl"})


@settings(max_examples=25, deadline=None)
@given(
    SIZES,
    st.tuples(st.integers(1, 3), st.integers(2, 3)),
    st.sampled_from(sorted(_KINDS)),
    st.integers(0, 2),
    st.booleans(),
)
def test_computes_the_same(sizes: dict[str, int], strides: tuple[int, int], kind: str, order: int, swap: bool) -> None:
    text = program(sizes, strides, kind, order, swap=swap)
    before = parse_module(text, new_context())
    inputs = inputs_of(before)
    after = lowered(text)
    run_pipeline(after, "builtin.module(func.func(linalg-generalize-named-ops))")
    expected = execute(before, inputs, precision="f64")["out"]
    torch.testing.assert_close(execute(after, inputs, precision="f64")["out"], expected, rtol=1e-12, atol=1e-12)


def test_counts_the_copies() -> None:
    sizes = {"g": 1, "n": 2, "f": 5, "h": 4, "w": 3, "c": 3, "k": 2, "l": 2}
    module = parse_module(program(sizes, (1, 2), "convolution", 0, swap=False), new_context())
    op = next(op.operation for op in main_function(module).regions[0].blocks[0].operations)
    form = find_form(op)
    assert form is not None
    windows, filters, result = 2 * 4 * 3 * 3 * 2 * 2, 5 * 3 * 2 * 2, 2 * 5 * 4 * 3
    assert copied_bytes(op) == 4 * (windows + filters + 2 * result)


@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_products_have_their_maps(kind: str) -> None:
    """Without them IREE crashes where it moves a transposition through a product."""
    sizes = dict.fromkeys("gnfhwckl", 2)
    text = lowered(program(sizes, (2, 2), kind, 0, swap=False)).operation.get_asm(print_generic_op_form=True)
    (line,) = [line for line in text.splitlines() if "matmul" in line]
    assert "indexing_maps" in line


@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_iree_computes_the_same(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("iree.compiler", reason="the extra [iree] is not installed")
    from jogak.targets.iree.backend import BACKENDS
    from jogak.targets.iree.compiler import compile_module
    from jogak.targets.iree.engine import Functions

    sizes = {"g": 2, "n": 3, "f": 5, "h": 6, "w": 7, "c": 4, "k": 3, "l": 2}
    text = program(sizes, (2, 2), kind, 1, swap=True)
    inputs = inputs_of(parse_module(text, new_context()))
    expected = execute(parse_module(text, new_context()), inputs)["out"]
    module = lowered(text)
    for name in [name for name in main_function(module).attributes if str(name).endswith("_attrs")]:
        del main_function(module).attributes[name]
    kind_ = main_function(module).attributes["function_type"].value.inputs[2]
    function = main_function(module)
    types = [kind_, *function.attributes["function_type"].value.inputs]
    with module.context, ir.Location.unknown():
        block = function.regions[0].blocks[0]
        block.add_argument(kind_, ir.Location.unknown())
        for number in reversed(range(len(types) - 1)):  # the memory of the result comes first
            block.arguments[number + 1].set_type(types[number + 1])
            block.arguments[number].replace_all_uses_with(block.arguments[number + 1])
        block.arguments[0].set_type(kind_)
        function.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(types, [kind_]))
        notes = [{"iree.abi.output": ir.IntegerAttr.get(ir.IndexType.get(), 0)}, {}, {}, {}]
        function.attributes["arg_attrs"] = ir.ArrayAttr.get([ir.DictAttr.get(each) for each in notes])
        made = module.operation.get_asm(print_generic_op_form=True, enable_debug_info=False)
    compiled = compile_module(made, BACKENDS["iree"])
    path = tmp_path / "main.vmfb"
    path.write_bytes(compiled)
    functions = Functions(path, hashlib.sha256(compiled).hexdigest())
    (actual,) = functions.call("main", [(torch.float32, tuple(expected.shape))], *inputs.values())
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
