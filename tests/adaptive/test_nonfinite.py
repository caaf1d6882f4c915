"""The three policies for gradients that are not finite, for every adaptive method."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched
from tests.adaptive.methods import NEEDS_VALUE, gradients_of, parameters, update

ADAM = optax.scale_by_adam()
NAMES = {
    "adagrad_norm": (0.5,),
    "alig": (),
    "cocob": (),
    "dadapt_adagrad": (),
    "dadapt_adamw": (),
    "dadapt_lion": (),
    "dadapt_sgd": (),
    "dog": (),
    "dowg": (),
    "hdm": (),
    "hypergradient": (ADAM,),
    "kt": (),
    "ldog": (),
    "mechanize": (optax.adam(0.1),),
    "momo": (),
    "momo_adam": (),
    "polyak": (),
    "prodigy": (),
    "schedule_free": (optax.adam(0.1), 0.1),
    "schedule_free_adamw": (),
    "schedule_free_plus": (),
    "schedule_free_radam": (),
    "schedule_free_sgd": (),
}
every_method = pytest.mark.parametrize("name", NAMES)


def make(name, nonfinite):
    return getattr(lrsched, name)(*NAMES[name], nonfinite=nonfinite)


@dataclasses.dataclass
class Run:
    """A run of some steps, the gradients of one of which have an entry that is replaced."""

    name: str
    nonfinite: str
    steps: int = 12
    poison: float | None = None

    def __call__(self):
        optimizer, params = make(self.name, self.nonfinite), parameters(jnp.float32)

        def gradients(params, step):
            grads = gradients_of(params)
            if self.poison is not None:
                entry = jnp.where(step == 3, self.poison, grads["w"][0, 1])
                grads["w"] = grads["w"].at[0, 1].set(entry)
            return grads

        def body(carry, step):
            params, state = carry
            updated = update(optimizer, state, params, lambda params: gradients(params, step))
            return updated, None

        carry = (params, optimizer.init(params))
        return jax.jit(lambda: jax.lax.scan(body, carry, jnp.arange(self.steps))[0])()


@every_method
def test_the_policies_agree_on_finite_gradients(name):
    (params, state) = Run(name, "skip")()
    for nonfinite in ("zero", "propagate"):
        other, other_state = Run(name, nonfinite)()
        chex.assert_trees_all_close(other, params, rtol=1e-5, atol=1e-7)
        assert int(other_state.nonfinite_count) == int(state.nonfinite_count) == 0
        assert int(other_state.count) == int(state.count) == 12


@every_method
@pytest.mark.parametrize("poison", [np.nan, 1e30])
def test_zero_masks_the_entry_and_goes_on(name, poison):
    params, state = Run(name, "zero", poison=poison)()
    chex.assert_tree_all_finite((params, state.method_state))
    assert int(state.nonfinite_count) == 1
    assert int(state.count) == 12


@every_method
def test_skip_ignores_a_gradient_whose_square_overflows(name):
    params, state = Run(name, "skip", poison=1e30)()
    chex.assert_tree_all_finite((params, state.method_state))
    assert int(state.nonfinite_count) == 1
    assert int(state.count) == 11


@pytest.mark.parametrize("name", sorted(NAMES.keys() - {"dadapt_lion"}))
def test_propagate_keeps_what_is_not_finite(name):
    params, state = Run(name, "propagate", poison=np.nan)()
    leaves = jax.tree.leaves((params, state.method_state))
    assert any(bool(jnp.any(jnp.isnan(leaf))) for leaf in leaves)
    assert int(state.nonfinite_count) == 0


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(NEEDS_VALUE)])
@pytest.mark.parametrize("nonfinite", ["skip", "zero"])
def test_a_loss_that_is_not_finite_skips_the_update(name, nonfinite):
    optimizer, params = make(name, nonfinite), parameters(jnp.float32)
    state = optimizer.init(params)
    updates, after = optimizer.update(gradients_of(params), state, params, value=jnp.nan)
    chex.assert_trees_all_equal(updates, jax.tree.map(jnp.zeros_like, params))
    chex.assert_trees_all_equal(after.method_state, state.method_state)
    assert (int(after.count), int(after.nonfinite_count)) == (0, 1)


def test_an_unknown_policy_is_named():
    with pytest.raises(
        ValueError, match=r"prodigy: nonfinite='drop' is not accepted; nonfinite mu"
    ):
        lrsched.prodigy(nonfinite="drop")
