"""What a step moves: counted in a program for TPUs, and the least that there is to move."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Jaxpr, Var


def bytes_of(array: Any) -> int:
    """The bytes of an array, or of what describes one."""
    return math.prod(array.shape) * array.dtype.itemsize


def size(tree: Any) -> int:
    """The bytes of all arrays of a tree."""
    return sum(map(bytes_of, jax.tree.leaves(tree)))


def least(step: Callable[..., Any], *given: Any) -> int:
    """The bytes that a step moves at least which writes nothing before its sums are known.

    That is every array that the sums read, and then every one that the results read and every
    result, once each. What is returned as it was given is free.
    """
    program = jax.make_jaxpr(step)(*given).jaxpr
    made = [result for result in program.outvars if isinstance(result, Var)]
    results = [result for result in made if result not in program.invars]
    scalars = [result for result in results if not result.aval.ndim]
    arrays = [result for result in results if result.aval.ndim]
    first = _read(program, scalars, through_scalars=True)
    second = _read(program, arrays, through_scalars=False)
    return sum(bytes_of(variable.aval) for variable in (*first, *second, *arrays))


def _read(program: Jaxpr, results: Sequence[Any], through_scalars: bool) -> list[Any]:
    """The arrays given to a program that these results are made of."""
    needed = set(results)
    for equation in reversed(program.eqns):
        if any(made in needed and (made.aval.ndim or through_scalars) for made in equation.outvars):
            needed.update(used for used in equation.invars if isinstance(used, Var))
    return [given for given in program.invars if given in needed and given.aval.ndim]


def collectives(program: str) -> dict[str, int]:
    """How often the devices wait for each other: all-reduces, and what else there is."""
    found = re.findall(r" (all-[a-z]+|reduce-scatter|collective-[a-z]+)(?:-start)?\(", program)
    reductions = sum(name == "all-reduce" for name in found)
    return {"all_reduces": reductions, "other_collectives": len(found) - reductions}


INSTRUCTION = re.compile(r"%(\S+) = (.+?) ([a-z][a-z0-9-]*)\((.*?)\)(?:,|$)", re.M)
ARRAY = re.compile(r"\b([a-z]+)(\d*)\[([\d,]*)\](?:\{([^}]*)\})?")
FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "all-reduce")


def moved(program: str) -> float:
    """The bytes that a program for a TPU reads from its main memory and writes to it.

    Counted is, of every instruction of the entry computation that moves data, the size of all
    operands and results in main memory. An array that a fusion reads is counted as a whole and
    once; what is in the on-chip memories (`S(1)` and above in its layout) is not. A copy or a slice
    on to the chip counts once, as a read, and the instruction that uses it not at all.
    """
    entry = program[program.index("\nENTRY ") :]
    types: dict[str, str] = {}
    total = 0
    for name, kind, operation, operands in INSTRUCTION.findall(entry):
        types[name] = kind
        read = [types.get(operand, "") for operand in re.findall(r"%([^\s,)]+)", operands)]
        if operation in ("copy-start", "slice-start"):
            # The result is (destination, source, context), or ((source), destination, context).
            arrays = [match.group(0) for match in ARRAY.finditer(kind)]
            total += array_bytes(arrays[operation == "slice-start"])
        elif operation not in FREE and not operation.endswith("-done"):
            arrays = [match.group(0) for part in (kind, *read) for match in ARRAY.finditer(part)]
            total += sum(array_bytes(array) for array in arrays if "S(" not in array)
    return total


def array_bytes(kind: str) -> int:
    """The size of an array such as `f32[512,64]{1,0:T(8,128)}`."""
    match = ARRAY.match(kind)
    assert match is not None
    letters, bits, shape, _ = match.groups()
    width = 8 if letters == "pred" else int(bits or 32)
    return math.prod(int(n) for n in shape.split(",") if n) * width // 8


def cycles(program: str) -> int:
    """The compiler's estimate for all instructions of a program for a TPU, one after the other."""
    return sum(map(int, re.findall(r'estimated_cycles":"(\d+)', program)))
