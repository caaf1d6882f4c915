"""Two small workloads on data of scikit-learn, to try rates on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from lrsched.tuning import Training, training
from lrsched.tuning._training import Batch, Model

if TYPE_CHECKING:
    import chex
    import jax
    import numpy as np
    from flax import nnx

_BATCH: Final = 64


def digits(optimizer: str) -> Training:
    """Return the training of an MLP with 64 hidden units on 1797 digits, by cross-entropy."""
    import optax
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)

    def loss_fn(model: Model, batch: Batch) -> chex.Array:
        x, y = batch
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    return _training(loss_fn, (64, 64, 10), optimizer, images / 16, labels)


def diabetes(optimizer: str) -> Training:
    """Return the training of an MLP with 32 hidden units on 442 patients, by squared error."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)

    def loss_fn(model: Model, batch: Batch) -> chex.Array:
        x, y = batch
        return ((model(x)[:, 0] - y) ** 2).mean()

    return _training(
        loss_fn, (10, 32, 1), optimizer, (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    )


def _training(
    loss_fn: Callable[[Model, Batch], jax.Array],
    widths: tuple[int, int, int],
    optimizer: str,
    x: np.ndarray,
    y: np.ndarray,
) -> Training:
    import numpy as np
    import optax
    from flax import nnx

    def model(key: jax.Array) -> nnx.Module:
        rngs = nnx.Rngs(key)
        first, second, last = widths
        return nnx.Sequential(
            nnx.Linear(first, second, rngs=rngs), nnx.relu, nnx.Linear(second, last, rngs=rngs)
        )

    order = np.random.default_rng(0).permutation(len(x))
    x, y = np.asarray(x, np.float32)[order], y[order]
    y = y if np.issubdtype(y.dtype, np.integer) else np.asarray(y, np.float32)
    num_validation = len(x) // 5
    return training(
        loss_fn,
        model,
        getattr(optax, optimizer),
        (x[num_validation:], y[num_validation:]),
        batch_size=_BATCH,
        validation=(x[:num_validation], y[:num_validation]),
    )


WORKLOADS: Final[Mapping[str, Callable[[str], Training]]] = {"digits": digits, "diabetes": diabetes}
