"""Small residual network on Fashion-MNIST from its Debian package: 70,000 images of clothes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.workloads.base import Data, Split, Workload, accuracy, cross_entropy, hold_out
from benchmarks.workloads.files import idx, read

FOLDER = Path("/usr/share/datasets/fashion-mnist")
SHA256 = {
    "train-images-idx3": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""SHA-256 of the decompressed files."""
HELD_OUT = 2_000
WIDTH = 8


def load() -> Data:
    """Return standardised 28x28x1 images: 58,000 training, 2,000 + 2,000 held-out examples.

    The validation split comes from the training images, with the same proportions of classes. The
    test split is the first fifth of the 10,000 test images, as a run evaluates it often.

    Raises:
      FileNotFoundError: If the package is not installed. The message has the command.
      ValueError: If the checksum of a file differs.
    """
    if not is_here():
        raise FileNotFoundError(
            f"{FOLDER} does not exist; get it with: apt-get install dataset-fashion-mnist"
        )
    train, validation = hold_out(part("train"), HELD_OUT)
    test = part("t10k")
    return Data(train, validation, Split(test.inputs[:HELD_OUT], test.targets[:HELD_OUT]))


def part(name: str) -> Split:
    """Return the images and labels of "train" or "t10k"."""
    images = numbers(f"{name}-images-idx3")[..., None].astype(np.float32)
    # Mean and standard deviation of the training images.
    images = (images / 255 - 0.2860) / 0.3530
    return Split(images, numbers(f"{name}-labels-idx1").astype(np.int32))


def numbers(name: str) -> np.ndarray:
    """Return the array in a file."""
    return idx(read(FOLDER / f"{name}-ubyte.gz", SHA256[name]))


def is_here() -> bool:
    """Return whether the package is installed."""
    return FOLDER.exists()


class Residual(nnx.Module):
    """Residual block of two normalised 3x3 convolutions, with a 1x1 shortcut if shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(inputs, outputs, (3, 3), stride, use_bias=False, rngs=rngs)
        self.first_norm = nnx.GroupNorm(outputs, num_groups=4, rngs=rngs)
        self.second = nnx.Conv(outputs, outputs, (3, 3), use_bias=False, rngs=rngs)
        self.second_norm = nnx.GroupNorm(outputs, num_groups=4, rngs=rngs)
        self.beside = (
            nnx.Conv(inputs, outputs, (1, 1), stride, use_bias=False, rngs=rngs)
            if inputs != outputs
            else nnx.identity
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Images of `outputs` channels, smaller by the stride."""
        inner = nnx.relu(self.first_norm(self.first(x)))
        inner = self.second_norm(self.second(inner))
        return nnx.relu(inner + self.beside(x))


class ResNet(nnx.Module):
    """Three residual blocks of 8, 16 and 32 channels, of 14, 7 and 4 pixels: 19,714 parameters."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(1, WIDTH, (3, 3), 2, use_bias=False, rngs=rngs)
        self.norm = nnx.GroupNorm(WIDTH, num_groups=4, rngs=rngs)
        self.blocks = nnx.List(
            [
                Residual(WIDTH, WIDTH, 1, rngs),
                Residual(WIDTH, 2 * WIDTH, 2, rngs),
                Residual(2 * WIDTH, 4 * WIDTH, 2, rngs),
            ]
        )
        self.head = nnx.Linear(4 * WIDTH, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return ten logits per image."""
        x = nnx.relu(self.norm(self.stem(images)))
        for block in self.blocks:
            x = block(x)
        return self.head(jnp.mean(x, axis=(1, 2)))


WORKLOAD = Workload(
    name="fashion-resnet",
    title="ResNet on Fashion-MNIST",
    source="Fashion-MNIST in Debian's dataset-fashion-mnist, MIT",
    data=load,
    model=ResNet,
    loss=cross_entropy,
    metric=accuracy,
    batch_size=32,
    steps=400,
    around=1e-2,
    target=0.65,
    budgets=(0.25, 1.0),
    tuning_seeds=1,
    evaluations=10,
    scan=False,
    is_here=is_here,
)
