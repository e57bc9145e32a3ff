"""The memory model: lifetimes, donation, results written over operands, and reading all that from IR."""

from __future__ import annotations

from random import Random

import pytest
from torch_mlir import ir

from jogak.ir.context import new_context
from jogak.ir.module import main_function
from jogak.memory.reading import read_tape
from jogak.memory.tape import Step, Tape, lay_out

HEADER = """
#id = affine_map<(d0, d1) -> (d0, d1)>
#turn = affine_map<(d0, d1) -> (d1, d0)>
"""
EXP = """
  ^bb0(%in: f32, %out: f32):
    %e = math.exp %in : f32
    linalg.yield %e : f32
  } -> tensor<16x16xf32>
"""
KB = 16 * 16 * 4


def exp(result: str, operand: str, maps: str = "#id, #id") -> str:
    return (
        f"{result} = linalg.generic {{indexing_maps = [{maps}], iterator_types = ['parallel', 'parallel']}} "
        f"ins({operand} : tensor<16x16xf32>) outs(%empty : tensor<16x16xf32>) {{{EXP}"
    ).replace("'", '"')


def read(body: str, arguments: str = "%x: tensor<16x16xf32>", results: str = "tensor<16x16xf32>"):
    text = (
        f"{HEADER}func.func @main({arguments}) -> ({results}) {{\n%empty = tensor.empty() : tensor<16x16xf32>\n{body}}}"
    )
    module = ir.Module.parse(text, new_context())
    return module, read_tape(main_function(module).operation)


def peak(body: str, arguments: str = "%x: tensor<16x16xf32>", results: str = "tensor<16x16xf32>") -> int:
    _module, reading = read(body, arguments, results)
    return lay_out(reading.tape).peak


def test_elementwise_chain_runs_in_one_buffer_beside_the_argument():
    body = exp("%a", "%x") + exp("%b", "%a") + exp("%c", "%b") + "return %c : tensor<16x16xf32>"
    assert peak(body) == 2 * KB


def test_a_transposed_read_needs_a_second_buffer():
    body = exp("%a", "%x") + exp("%b", "%a", "#turn, #id") + "return %b : tensor<16x16xf32>"
    assert peak(body) == 3 * KB


def test_a_value_that_is_read_later_is_not_overwritten():
    body = exp("%a", "%x") + exp("%b", "%a") + "return %a, %b : tensor<16x16xf32>, tensor<16x16xf32>"
    assert peak(body, results="tensor<16x16xf32>, tensor<16x16xf32>") == 3 * KB


def test_reshapes_and_slices_in_one_stretch_are_views_and_others_are_copies():
    row = "%r = tensor.extract_slice %a[3, 0] [2, 16] [1, 1] : tensor<16x16xf32> to tensor<2x16xf32>\n"
    column = "%r = tensor.extract_slice %a[0, 3] [16, 2] [1, 1] : tensor<16x16xf32> to tensor<16x2xf32>\n"
    flat = "%f = tensor.collapse_shape %a [[0, 1]] : tensor<16x16xf32> into tensor<256xf32>\n"
    assert peak(exp("%a", "%x") + row + "return %r : tensor<2x16xf32>", results="tensor<2x16xf32>") == 2 * KB
    assert peak(exp("%a", "%x") + flat + "return %f : tensor<256xf32>", results="tensor<256xf32>") == 2 * KB
    assert peak(exp("%a", "%x") + column + "return %r : tensor<16x2xf32>", results="tensor<16x2xf32>") == 2 * KB + 128


UPDATED = "tensor<16x16xf32> {jogak.updates = 0 : i64}"


def test_an_update_is_written_over_its_argument_once_nobody_reads_the_old_value():
    assert peak(exp("%a", "%x") + "return %a : tensor<16x16xf32>", results=UPDATED) == KB
    late = exp("%a", "%x") + exp("%b", "%x") + "return %a, %b : tensor<16x16xf32>, tensor<16x16xf32>"
    assert peak(late, results=f"{UPDATED}, tensor<16x16xf32>") == 3 * KB
    assert peak(exp("%a", "%x") + "return %a : tensor<16x16xf32>") == 2 * KB


def test_fills_cost_nothing_where_kernels_do_them_and_memory_where_ops_need_them():
    zero = "%z = arith.constant 0.0 : f32\n"
    zero += "%f = linalg.fill ins(%z : f32) outs(%empty : tensor<16x16xf32>) -> tensor<16x16xf32>\n"
    total = (
        "%s = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d2)>,"
        " affine_map<(d0, d1, d2) -> (d2, d1)>,"
        ' affine_map<(d0, d1, d2) -> (d0, d1)>], iterator_types = ["parallel", "parallel", "reduction"]}'
        " ins(%x, %x : tensor<16x16xf32>, tensor<16x16xf32>) outs(%f : tensor<16x16xf32>) {\n"
        "^bb0(%p: f32, %q: f32, %o: f32):\n%m = arith.mulf %p, %q : f32\n%n = arith.addf %o, %m : f32\n"
        "linalg.yield %n : f32\n} -> tensor<16x16xf32>\n"
    )
    assert peak(zero + total + "return %s : tensor<16x16xf32>") == 2 * KB
    insert = "%i = tensor.insert_slice %x into %f[0, 0] [16, 16] [1, 1] : tensor<16x16xf32> into tensor<16x16xf32>\n"
    _module, reading = read(zero + insert + "return %i : tensor<16x16xf32>")
    assert [op.name for op in reading.ops] == ["linalg.fill", "tensor.insert_slice"]
    assert lay_out(reading.tape).peak == 2 * KB


def random_tape(seed: int, steps: int = 30) -> Tape:
    random = Random(seed)
    arguments = 3
    sizes = [64 * random.randint(1, 9) for _ in range(arguments)]
    made = []
    for _ in range(steps):
        reads = tuple(sorted(random.sample(range(len(sizes)), min(len(sizes), random.randint(1, 3)))))
        over = tuple(value for value in reads if value >= arguments and random.random() < 0.5)
        sizes.append(sizes[over[0]] if over else 64 * random.randint(1, 9))
        made.append(Step(reads, (len(sizes) - 1,), (over,)))
    return Tape(made, sizes, arguments, frozenset({len(sizes) - 1}))


@pytest.mark.parametrize("seed", range(10))
def test_live_bytes_are_those_of_values_that_someone_still_reads(seed):
    """Against a second account: walk backwards over live values, and count what is written over once."""
    tape = random_tape(seed)
    layout = lay_out(tape)
    live = set(tape.results)
    for position in reversed(range(len(tape.steps))):
        step = tape.steps[position]
        value = step.writes[0]
        after = {v for v in live | {value} if v >= tape.arguments}
        dying = [v for v in step.reads if v not in live]
        over = any(v in dying and tape.sizes[v] == tape.sizes[value] for v in step.reuse[0])
        kept = {v for v in {*after, *step.reads} if v >= tape.arguments}
        expected = tape.resident + sum(tape.sizes[v] for v in kept) - (tape.sizes[value] if over else 0)
        assert layout.live[position] == expected
        live = (live - {value}) | set(step.reads)


def test_a_repeated_step_makes_a_second_buffer_and_readers_take_the_newest():
    tape = Tape([Step((0,), (1,)), Step((1,), (2,)), Step((1, 2), (3,))], [64, 640, 64, 64], 1, frozenset({3}))
    assert lay_out(tape).live == [704, 768, 832]
    again = lay_out(tape, [0, 1, 0, 2])
    assert again.live == [704, 768, 768, 832]
    assert len(again.buffers) == 1 + 4
