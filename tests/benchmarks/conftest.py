import jax
import pytest


@pytest.fixture(scope="package", autouse=True)
def quick_compilation():
    """Runs this short are over before XLA's optimizations would have paid for themselves."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
