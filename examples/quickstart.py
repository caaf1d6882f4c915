"""Train a Flax model on real data under a schedule, and read the learning rate back."""

import jax
import optax
from flax import nnx
from sklearn.datasets import load_digits

import lrsched

images, labels = load_digits(return_X_y=True)
model = nnx.Sequential(
    nnx.Linear(64, 64, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(64, 10, rngs=nnx.Rngs(1))
)

schedule = lrsched.wsd(peak=3e-3, steps=200, warmup=0.05, cooldown=0.2)
transform = optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(schedule))
optimizer = nnx.Optimizer(model, transform, wrt=nnx.Param)


@nnx.jit
def train_step(model, optimizer, x, y):
    def loss_fn(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    loss, gradients = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, gradients)
    return {"loss": loss, "learning_rate": lrsched.learning_rate(optimizer.opt_state)}


for step in range(200):
    batch = jax.random.choice(jax.random.key(step), len(images), (64,))
    metrics = train_step(model, optimizer, images[batch] / 16, labels[batch])
    if step % 40 == 39:
        print(step, {name: f"{value:.2e}" for name, value in metrics.items()})
