"""What is counted of a program's traffic."""

import jax.numpy as jnp
import pytest

from benchmarks import cost, traffic

PARAMS = cost.shapes(width=16, blocks=1)


def test_one_all_reduce_is_counted_in_a_program():
    assert traffic.collectives(
        "%a = f32[] all-reduce(%b)\n%c = f32[4] all-gather-start(%d)\n%e = f32[] add(%a, %b)"
    ) == {"all_reduces": 1, "other_collectives": 1}


def test_what_a_program_for_a_tpu_moves_is_its_arrays_in_main_memory():
    program = """
ENTRY %main (p: f32[8,4]) -> f32[8,4] {
  %p = f32[8,4]{1,0:T(8,128)} parameter(0)
  %q = (f32[8,4]{1,0:T(8,128)S(1)}, f32[8,4]{1,0}, u32[]{:S(2)}) copy-start(%p)
  %r = f32[8,4]{1,0:T(8,128)S(1)} copy-done(%q)
  ROOT %s = bf16[8,4]{1,0:T(8,128)} fusion(%p, %r), kind=kLoop
}
"""
    assert traffic.moved(program) == 128 + (128 + 64)


def test_kernels_are_the_operations_of_the_entry_that_are_launched():
    program = """
%fused (p: f32[4]) -> f32[4] {
  ROOT %a = f32[4]{0} add(%p, %p)
}

ENTRY %main (p: f32[4]) -> (f32[4], f32[]) {
  %p = f32[4]{0} parameter(0)
  %zero = f32[] constant(0)
  %b = f32[4]{0} fusion(%p), kind=kLoop, calls=%fused
  %c = f32[] reduce(%b, %zero), dimensions={0}
  ROOT %d = (f32[4]{0}, f32[]) tuple(%b, %c)
}
"""
    assert traffic.kernels(program) == 2


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_schedule_and_its_edits_cost_few_kernels_for_any_number_of_arrays(blocks):
    params = cost.shapes(width=16, blocks=blocks)
    ours, theirs = (
        traffic.kernels(cost.compiled(cost.TRANSFORMS[name], params).as_text())
        for name in ("adam", "optax adam")
    )
    assert ours - theirs <= 6


RECORD_OF_EDITS = (7 + 8) * 4
"""Bytes of the numbers beside a schedule, which every update reads."""


@pytest.mark.parametrize(
    ("name", "copies"), [("adam", 7), ("dog", 6), ("momo", 8), ("prodigy", 13), ("polyak", 4)]
)
def test_the_least_is_a_pass_for_the_sums_and_one_for_the_rest(name, copies):
    transform = cost.TRANSFORMS[name]
    least = traffic.least(cost.step_of(transform), *cost.arguments_of(transform, PARAMS))
    assert least == copies * traffic.size(PARAMS) + RECORD_OF_EDITS


def test_what_is_given_back_as_it_was_is_not_moved():
    def step(kept, changed):
        return kept, 2 * changed

    assert traffic.least(step, jnp.ones(3), jnp.ones(5)) == 2 * 5 * 4
