"""Hyperparameters at another size: several of them together, by named rules.

A rule is one function of a `Move` and one entry in `RULES`, which says what it needs, what it
assumes and where it was measured.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from lrsched.arguments import (
    FINITE_NUMBER,
    NON_NEGATIVE_NUMBER,
    POSITIVE_NUMBER,
    in_range,
    not_accepted,
    one_of,
    real_number,
)
from lrsched.scaling.laws import deepseek_law, power_lines_decay, step_law


class Size(NamedTuple):
    """The size of a training run. A rule says which fields it needs.

    Attributes:
      batch: Examples or tokens of one update; tokens for the rules of language models.
      tokens: Training tokens, or examples, of the whole run.
      parameters: Number of parameters of the model, as the rule's source counts them.
      width: Width of the model.
      depth: Number of residual blocks.
      dataset: Examples or tokens of one epoch, in the unit of ``batch``.
      flops: Compute budget: non-embedding FLOPs for a token, times tokens.
    """

    batch: float | None = None
    tokens: float | None = None
    parameters: float | None = None
    width: float | None = None
    depth: float | None = None
    dataset: float | None = None
    flops: float | None = None


class Group(NamedTuple):
    """Multipliers of one group of parameters at the new size.

    Attributes:
      rate: Factor of the learning rate.
      weight_decay: Factor of the weight decay, which the learning rate multiplies as well.
      init_std: Factor of the standard deviation of the initial values.
      output: Factor of what the group computes, to be written into the model.
    """

    rate: float = 1.0
    weight_decay: float = 1.0
    init_std: float = 1.0
    output: float = 1.0


class Change(NamedTuple):
    """One hyperparameter that a rule changed.

    Attributes:
      name: Name of the hyperparameter.
      old: Value before the rule.
      new: Value after the rule.
      rule: Name of the rule.
      reason: Formula, with its numbers.
    """

    name: str
    old: float
    new: float
    rule: str
    reason: str


class TransferResult(NamedTuple):
    """Hyperparameters at another size. It prints as a table of what changed and why.

    Attributes:
      hyperparameters: All hyperparameters at the new size.
      groups: Multipliers by group of parameters. Empty if no rule has groups.
      changes: Changes by the rules, in their order.
      notes: Assumptions of the rules, where they were measured, and warnings.
    """

    hyperparameters: dict[str, float]
    groups: dict[str, Group]
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    def learning_rate_groups(self, patterns: Sequence[tuple[str, str]]) -> list[tuple[str, float]]:
        """Return pairs for `lrsched.learning_rate_groups`.

        Args:
          patterns: Pairs of a regular expression for the paths of parameters, and the name of a
            group.

        Returns:
          Pairs of the regular expression and the group's factor of the rate.

        Raises:
          ValueError: If a name is not one of ``groups``.
        """
        for _, group in patterns:
            if group not in self.groups:
                known = ", ".join(self.groups) or "none: no rule has groups"
                raise ValueError(
                    f"learning_rate_groups: group {group!r} is not accepted; the groups of this "
                    f"transfer are {known}."
                )
        return [(pattern, self.groups[group].rate) for pattern, group in patterns]

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("hyperparameter", "from", "to", "rule", "reason")]
        rows += [(c.name, f"{c.old:.6g}", f"{c.new:.6g}", c.rule, c.reason) for c in self.changes]
        lines = _aligned(rows)
        if self.groups:
            table: list[tuple[str, ...]] = [
                ("group", "rate x", "decay x", "init std x", "output x")
            ]
            table += [(name, *(f"{x:.6g}" for x in group)) for name, group in self.groups.items()]
            lines += ["", *_aligned(table)]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


class Move:
    """What a rule reads and changes: the two sizes, and the hyperparameters so far."""

    def __init__(self, hyperparameters: Mapping[str, float], from_: Size, to: Size):
        self.start: dict[str, float] = dict(hyperparameters)
        self.values: dict[str, float] = dict(hyperparameters)
        self.from_: Size = from_
        self.to: Size = to
        self.rule: str = ""
        self.groups: dict[str, Group] = {}
        self.changes: list[Change] = []

    def ratio(self, size: str) -> float:
        """Return the new size over the old one."""
        return float(getattr(self.to, size) / getattr(self.from_, size))

    def set(self, name: str, value: float, reason: str) -> None:
        """Change a hyperparameter if there is one of this name, and record why."""
        if name in self.values:
            self.changes.append(Change(name, self.values[name], value, self.rule, reason))
            self.values[name] = value

    def choose_batch(self, factor: float, reason: str) -> None:
        """Multiply the batch size, which is that of the old size where none is given."""
        if self.from_.batch is not None:
            self.values.setdefault("batch_size", self.from_.batch)
        self.scale("batch_size", factor, reason)

    def scale(self, name: str, factor: float, reason: str) -> None:
        """Multiply a hyperparameter if there is one of this name."""
        if name in self.values:
            self.set(name, self.values[name] * factor, f"x {reason} = {factor:.4g}")

    def scale_rates(self, factor: float, reason: str) -> None:
        """Multiply every learning rate: ``learning_rate`` and all ``*_learning_rate``."""
        for name in list(self.values):
            if _is_rate(name):
                self.scale(name, factor, reason)


RATE: Final = "learning_rate"
_MOVABLE: Final = ("b1", "b2", "eps", "weight_decay", "batch_size")


def _is_rate(name: str) -> bool:
    return name == RATE or name.endswith(f"_{RATE}")


def _linear(move: Move) -> None:
    move.scale_rates(move.ratio("batch"), "B'/B")


def _adam_sde(move: Move) -> None:
    ratio = move.ratio("batch")
    move.scale_rates(math.sqrt(ratio), "sqrt(B'/B)")
    for name in ("b1", "b2"):
        if name not in move.values:
            continue
        new = 1 - ratio * (1 - move.values[name])
        if new < 0:
            raise ValueError(
                f"transfer: to.batch={move.to.batch:g} is not accepted by 'adam-sde', as {name} "
                f"would be {new:.3g}; the batch must grow by {1 / (1 - move.values[name]):.3g} at "
                "most."
            )
        move.set(name, new, f"1 - B'/B (1 - {name})")
    move.scale("eps", ratio**-0.5, "1/sqrt(B'/B)")
    move.scale("weight_decay", math.sqrt(ratio), "sqrt(B'/B): same averaging time in examples")


def _half_life(move: Move) -> None:
    if "b2" in move.values:
        ratio = move.ratio("batch")
        move.set("b2", move.values["b2"] ** ratio, f"b2 ** (B'/B = {ratio:.4g})")


def _mup(move: Move) -> None:
    m = move.ratio("width")
    move.groups = {
        "embedding": Group(),
        "hidden": Group(1 / m, m, m**-0.5),
        "readout": Group(output=1 / m),
        "norm": Group(),
        "bias": Group(),
    }


def _mup_sgd(move: Move) -> None:
    m = move.ratio("width")
    move.groups = {
        "embedding": Group(m, 1 / m),
        "hidden": Group(1.0, 1.0, m**-0.5),
        "readout": Group(m, 1 / m, output=1 / m),
        "norm": Group(m, 1 / m),
        "bias": Group(m, 1 / m),
    }


def _completep(move: Move, alpha: float) -> None:
    m, depth = move.ratio("width"), move.ratio("depth")
    layer = depth ** (alpha - 1)
    move.scale("eps", 1 / m * depth**-alpha, f"1/m l**-{alpha:g}")
    move.groups = {
        "embedding": Group(),
        "hidden": Group(layer / m, m, m**-0.5),
        "hidden_bias": Group(layer, 0.0),
        "hidden_norm": Group(layer, 0.0),
        "final_norm": Group(1.0, 0.0),
        "output": Group(output=1 / m),
        "branch": Group(output=depth**-alpha),
    }


def _timescale(move: Move) -> None:
    if "weight_decay" not in move.values:
        return
    # Computed from the first values, so that it holds whichever rules came before.
    rate = move.values.get(RATE, 1.0) / move.start.get(RATE, 1.0)
    factor = move.ratio("batch") / (move.ratio("dataset") * rate)
    new = move.start["weight_decay"] * factor
    move.set("weight_decay", new, f"x (B'/B) / (D'/D) / (rate'/rate) = {factor:.4g}")


def _horizon(move: Move) -> None:
    move.scale_rates(move.ratio("tokens") ** -0.32, "(D'/D)**-0.32")


def _step_law(move: Move) -> None:
    old, new = (step_law(s.parameters or 0, s.tokens or 0) for s in (move.from_, move.to))
    move.scale_rates(new.learning_rate / old.learning_rate, "(N'/N)**-0.713 (D'/D)**0.307")
    move.choose_batch(new.batch_tokens / old.batch_tokens, "(D'/D)**0.571")


def _deepseek(move: Move) -> None:
    old, new = (deepseek_law(s.flops or 0) for s in (move.from_, move.to))
    move.scale_rates(new.learning_rate / old.learning_rate, "(C'/C)**-0.1250")
    move.choose_batch(new.batch_tokens / old.batch_tokens, "(C'/C)**0.3271")


def _power_lines(move: Move) -> None:
    if RATE not in move.values:
        raise ValueError(
            "transfer: hyperparameters without 'learning_rate' are not accepted by 'power-lines'; "
            "add the peak rate of hidden matrices."
        )
    to = move.to
    decay = power_lines_decay(
        move.values[RATE], to.batch or 0, parameters=to.parameters or 0, tokens=to.tokens or 0
    )
    move.set("weight_decay", decay, "B / (rate D tau), tau = 1.084 (D/N)**-0.527")


def _nanochat(move: Move) -> None:
    tokens, m = move.ratio("tokens"), move.ratio("width")
    batch = move.from_.batch or 0.0
    new_batch = 2.0 ** round(math.log2(batch * tokens**0.383))
    if move.to.batch is not None and move.to.batch != new_batch:
        POSITIVE_NUMBER.validate("transfer", "to.batch", move.to.batch)
        raise ValueError(
            f"transfer: to.batch={move.to.batch:g} is not accepted by 'nanochat', which chooses "
            f"the batch; leave to.batch out, or pass {new_batch:g}."
        )
    ratio = new_batch / batch
    move.values.setdefault("batch_size", batch)
    move.set("batch_size", new_batch, "2 ** round(log2(B (D'/D)**0.383))")
    move.scale_rates(math.sqrt(ratio), "sqrt(B'/B)")
    move.scale("weight_decay", math.sqrt(ratio) / tokens, "sqrt(B'/B) D/D'")
    move.groups = {"muon": Group(), "adam": Group(m**-0.5)}


def _marin(move: Move) -> None:
    batch, tokens = move.ratio("batch"), move.ratio("tokens")
    rates = {
        RATE: (math.sqrt(batch) * tokens**-0.3, "sqrt(B'/B) (D/D')**0.3"),
        f"adam_{RATE}": (math.sqrt(batch / tokens), "sqrt((B'/B) / (D'/D))"),
    }
    for name, (factor, reason) in rates.items():
        if name in move.values:
            new = min(move.values[name] * factor, 0.01)
            move.set(name, new, f"x {reason} = {factor:.4g}, at most 0.01")
    move.scale("eps", math.sqrt(tokens / batch), "sqrt((D'/D) / (B'/B))")
    if "b2" in move.values:
        new = min(max(move.values["b2"] ** batch, 0.9), 0.9999)
        move.set("b2", new, "b2 ** (B'/B), within [0.9, 0.9999]")


class Rule(NamedTuple):
    """A rule of transfer.

    Attributes:
      apply: Function that changes a `Move`.
      needs: Fields of `Size` that it needs on both sides.
      assumes: Assumptions of the rule, as a sentence.
      measured: Where it was measured or derived, and its source.
      needs_from: Fields of `Size` that it needs of the old size only.
    """

    apply: Callable[[Move], None]
    needs: tuple[str, ...]
    assumes: str
    measured: str
    needs_from: tuple[str, ...] = ()


RULES: Final[dict[str, Rule]] = {
    "linear": Rule(
        _linear,
        ("batch",),
        "Gradient descent below the critical batch size.",
        "ResNet-50 on ImageNet, batches of 256 to 8192 (Goyal et al. 2017, arXiv 1706.02677).",
    ),
    "adam-sde": Rule(
        _adam_sde,
        ("batch",),
        "Adam whose gradients are mostly noise; the steps are divided by the factor of the batch.",
        "Derived, and tested on large vision and language models (Malladi et al. 2022, arXiv "
        "2205.10287).",
    ),
    "half-life": Rule(
        _half_life,
        ("batch",),
        "The half-life of the second moment is a number of tokens; b1 is tuned, not transferred.",
        "Language models at batches of 1 to 4096 sequences (Marek et al. 2025, arXiv 2507.07101).",
    ),
    "mup": Rule(
        _mup,
        ("width",),
        "Adam and muP's initialisation; the readout is multiplied by the given output factor.",
        "Yang et al. 2022 (arXiv 2203.03466), in the form of the authors' package microsoft/mup.",
    ),
    "mup-sgd": Rule(
        _mup_sgd,
        ("width",),
        "Gradient descent and muP's initialisation, all widths by the same factor.",
        "Yang et al. 2022 (arXiv 2203.03466), in the form of the authors' package microsoft/mup.",
    ),
    "completep": Rule(
        lambda move: _completep(move, 1.0),
        ("width", "depth"),
        "AdamW; each residual branch is multiplied by 'branch', the logits by 'output'; attention "
        "divides by the head size.",
        "Language models (Dey et al. 2025, arXiv 2505.01618), as in the authors' nanoGPT-mup.",
    ),
    "completep-half": Rule(
        lambda move: _completep(move, 0.5),
        ("width", "depth"),
        "As 'completep' with the exponent 1/2 of the depth, the one of Depth-muP.",
        "Language models, where 'completep' is better (Dey et al. 2025, arXiv 2505.01618).",
    ),
    "timescale": Rule(
        _timescale,
        ("batch", "dataset"),
        "AdamW over several epochs: its averaging time in epochs stays the same.",
        "ResNet-18 and vision transformers on CIFAR-10 and ImageNet, nanoGPT (Wang & Aitchison "
        "2024, arXiv 2405.13698).",
    ),
    "horizon": Rule(
        _horizon,
        ("tokens",),
        "The batch and the model stay the same.",
        "Language models of 760 million parameters or more, 0.5 million tokens for each update "
        "(Bjorck et al. 2024, arXiv 2409.19913).",
    ),
    "step-law": Rule(
        _step_law,
        ("parameters", "tokens"),
        "A cosine that ends at 1e-5, with the batch of the law; N without embeddings.",
        "Language models of up to 1 billion parameters and 100 billion tokens (Li et al. 2025, "
        "arXiv 2503.04715; constants from secondary sources).",
    ),
    "deepseek": Rule(
        _deepseek,
        ("flops",),
        "A multi-step schedule, with the batch of the law.",
        "Language models (DeepSeek-AI 2024, arXiv 2401.02954; constants from secondary sources).",
    ),
    "power-lines": Rule(
        _power_lines,
        ("batch", "parameters", "tokens"),
        "The rate is that of hidden matrices after muP; the old weight decay has no influence.",
        "Language models (Bergsma et al. 2025, arXiv 2505.13738; constants from secondary "
        "sources).",
    ),
    "nanochat": Rule(
        _nanochat,
        ("tokens", "width"),
        "Muon for matrices, AdamW for the rest; the rule chooses the batch, a power of 2; the "
        "decay then follows half a cosine.",
        "The training script of karpathy/nanochat at 92d63d4.",
        needs_from=("batch",),
    ),
    "marin": Rule(
        _marin,
        ("batch", "tokens"),
        "AdamH (`hyperball`) for matrices; rates are capped at 0.01.",
        "Marin's training script for 'completed' AdamH at 054a715.",
    ),
}
"""The rules by name."""

_OPPOSED: Final = {"horizon", "step-law"}


def transfer(
    hyperparameters: Mapping[str, float],
    *,
    from_: Size,
    to: Size,
    rule: str | Sequence[str],
) -> TransferResult:
    """Move hyperparameters from one size of training run to another, by named rules.

    ====================  ==========================  ==========================================
    rule                  needs                       changes
    ====================  ==========================  ==========================================
    ``"linear"``          batch                       rates
    ``"adam-sde"``        batch                       rates, b1, b2, eps, weight_decay
    ``"half-life"``       batch                       b2
    ``"mup"``             width                       groups (Adam)
    ``"mup-sgd"``         width                       groups (gradient descent)
    ``"completep"``       width, depth                groups, eps (``"completep-half"``: 1/2)
    ``"timescale"``       batch, dataset              weight_decay
    ``"horizon"``         tokens                      rates
    ``"step-law"``        parameters, tokens          rates, batch_size
    ``"deepseek"``        flops                       rates, batch_size
    ``"power-lines"``     batch, parameters, tokens   weight_decay
    ``"nanochat"``        from_.batch, tokens, width  rates, weight_decay, batch_size, groups
    ``"marin"``           batch, tokens               rates, eps, b2
    ====================  ==========================  ==========================================

    A rule changes only hyperparameters that are given; one that chooses the batch adds "batch_size"
    if ``from_.batch`` is given. The groups of the last rule that has some
    are returned; `TransferResult.learning_rate_groups` makes them multipliers of the rate.

    Args:
      hyperparameters: Values that are good at ``from_``: "learning_rate" and any
        "*_learning_rate", "b1", "b2", "eps", "weight_decay", "batch_size". Others are kept.
      from_: Size that they were found at.
      to: New size.
      rule: Name of a rule, or several that are applied in their order.

    Returns:
      The hyperparameters at the new size, and what was changed and why, which prints as a table.

    Raises:
      ValueError: If a rule is unknown, one of the sizes that it needs is missing or not above 0,
        a hyperparameter is not a finite number in its range, or the rule does not hold so far away.

    Example:
      >>> from lrsched.scaling import Size, transfer
      >>> found = {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
      >>> moved = transfer(found, from_=Size(batch=256), to=Size(batch=1024), rule="adam-sde")
      >>> {name: round(value, 10) for name, value in moved.hyperparameters.items()}
      {'learning_rate': 0.002, 'b1': 0.6, 'b2': 0.996, 'eps': 5e-09}
      >>> wide = transfer(found, from_=Size(width=256), to=Size(width=1024), rule="mup")
      >>> wide.learning_rate_groups([("kernel", "hidden")])
      [('kernel', 0.25)]
    """
    names = [rule] if isinstance(rule, str) else rule
    if not (isinstance(names, list | tuple) and names):
        raise not_accepted("transfer", "rule", rule, "a name or a list of names")
    for label, size in (("from_", from_), ("to", to)):
        if not isinstance(size, Size):
            raise not_accepted("transfer", label, size, "a Size, as in Size(width=256)")
    for name in names:
        one_of("Rule", tuple(RULES)).validate("transfer", "rule", name)
        _check_needs(name, from_, to)
    if not isinstance(hyperparameters, Mapping):
        requirement = 'a dict, as in {"learning_rate": 1e-3}'
        raise not_accepted("transfer", "hyperparameters", hyperparameters, requirement)
    values = {key: _as_number(key, value) for key, value in hyperparameters.items()}
    move, notes = Move(values, from_, to), []
    for name in names:
        move.rule = name
        RULES[name].apply(move)
        notes += [
            f"{name} assumes: {RULES[name].assumes}",
            f"{name} source: {RULES[name].measured}",
        ]
    unknown = [name for name in values if not (_is_rate(name) or name in _MOVABLE)]
    if unknown:
        notes.append(
            f"kept: {', '.join(unknown)}; rules move 'learning_rate', any '*_learning_rate', "
            f"{', '.join(map(repr, _MOVABLE))}."
        )
    if set(names) >= _OPPOSED:
        notes.append(
            "warning: 'horizon' lowers the rate of a longer run at a fixed batch, 'step-law' "
            "raises it as the batch grows; they are alternatives."
        )
    return TransferResult(move.values, move.groups, tuple(move.changes), tuple(notes))


def _check_needs(rule: str, from_: Size, to: Size) -> None:
    """Raise ``ValueError`` if a size that the rule needs is missing or not above 0."""
    known = RULES[rule]
    both = [(label, field) for field in known.needs for label in ("from_", "to")]
    for label, field in [*both, *(("from_", field) for field in known.needs_from)]:
        value = getattr(from_ if label == "from_" else to, field)
        if value is None:
            where = "on both sides" if field in known.needs else "as from_"
            raise ValueError(
                f"transfer: {label}.{field}=None is not accepted by the rule {rule!r}; pass "
                f"Size({field}=...) {where}."
            )
        POSITIVE_NUMBER.validate("transfer", f"{label}.{field}", value)


_DECAY: Final = real_number("a finite number from 0 to below 1", in_range(ge=0, lt=1))


def _as_number(name: str, value: object) -> float:
    """Return a hyperparameter as a Python number; NumPy's and JAX's scalars are numbers too."""
    if name in ("b1", "b2"):
        kind = _DECAY
    else:
        kind = NON_NEGATIVE_NUMBER if _is_rate(name) or name in _MOVABLE else FINITE_NUMBER
    number: float = kind.validate("transfer", name, value)
    return value if isinstance(value, int) else number
