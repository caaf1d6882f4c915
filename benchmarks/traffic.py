"""Memory traffic of a train step: counted in a compiled TPU program, and its lower bound."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Jaxpr, Var


def bytes_of(array: Any) -> int:
    """Return the size of an array or a `jax.ShapeDtypeStruct`, in bytes."""
    return math.prod(array.shape) * array.dtype.itemsize


def size(tree: Any) -> int:
    """Return the total size of the arrays of a tree, in bytes."""
    return sum(map(bytes_of, jax.tree.leaves(tree)))


def least(step: Callable[..., Any], *arguments: Any) -> int:
    """Return the minimum traffic of a step that computes its sums before it writes, in bytes.

    The step reads each array that its sums need once. Then it reads each array that the new arrays
    need once, and writes each new array once. An argument that is returned unchanged is not
    counted.
    """
    program = jax.make_jaxpr(step)(*arguments).jaxpr
    variables = [result for result in program.outvars if isinstance(result, Var)]
    results = [result for result in variables if result not in program.invars]
    scalars = [result for result in results if not result.aval.ndim]
    arrays = [result for result in results if result.aval.ndim]
    # The second pass has the sums: it stops at scalars and reads only the arrays beside them.
    first = _read(program, scalars, through_scalars=True)
    second = _read(program, arrays, through_scalars=False)
    return sum(bytes_of(variable.aval) for variable in (*first, *second, *arrays))


def _read(program: Jaxpr, results: Sequence[Any], through_scalars: bool) -> list[Any]:
    """Return the array arguments of a program on which the results depend."""
    needed = set(results)
    for equation in reversed(program.eqns):
        if any(out in needed and (out.aval.ndim or through_scalars) for out in equation.outvars):
            needed.update(operand for operand in equation.invars if isinstance(operand, Var))
    return [argument for argument in program.invars if argument in needed and argument.aval.ndim]


def collectives(program: str) -> dict[str, int]:
    """Count the collective operations of a compiled program: all-reduces, and all others."""
    names = re.findall(r" (all-[a-z]+|reduce-scatter|collective-[a-z]+)(?:-start)?\(", program)
    reductions = sum(name == "all-reduce" for name in names)
    return {"all_reduces": reductions, "other_collectives": len(names) - reductions}


INSTRUCTION = re.compile(r"%(\S+) = (.+?) ([a-z][a-z0-9-]*)\((.*?)\)(?:,|$)", re.M)
ARRAY = re.compile(r"\b([a-z]+)(\d*)\[([\d,]*)\](?:\{([^}]*)\})?")
FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "all-reduce")


def kernels(program: str) -> int:
    """Count the operations of a compiled CPU program's entry, each about one kernel on a GPU."""
    return sum(_is_launched(operation) for _, _, operation, _ in _instructions(program))


def _instructions(program: str) -> list[tuple[str, str, str, str]]:
    """Return name, type, operation and operands of each instruction of a program's entry."""
    return INSTRUCTION.findall(program[program.index("\nENTRY ") :])


def _is_launched(operation: str) -> bool:
    return operation not in FREE and not operation.endswith("-done")


def moved(program: str) -> float:
    """Return the main-memory traffic of a compiled TPU program, in bytes.

    Sums the sizes of all operands and results in main memory over the instructions of the entry
    computation that move data. An array that a fusion reads counts once and as a whole. Arrays in
    on-chip memory (`S(1)` and above in their layout) do not count. A copy or a slice to on-chip
    memory counts once, as a read; the instructions that use it do not count.
    """
    types: dict[str, str] = {}
    total = 0
    for name, kind, operation, operands in _instructions(program):
        types[name] = kind
        read = [types.get(operand, "") for operand in re.findall(r"%([^\s,)]+)", operands)]
        if operation in ("copy-start", "slice-start"):
            # The result is (destination, source, context), or ((source), destination, context).
            arrays = [match.group(0) for match in ARRAY.finditer(kind)]
            total += array_bytes(arrays[operation == "slice-start"])
        elif _is_launched(operation):
            arrays = [match.group(0) for text in (kind, *read) for match in ARRAY.finditer(text)]
            total += sum(array_bytes(array) for array in arrays if "S(" not in array)
    return total


def array_bytes(kind: str) -> int:
    """Return the size of an array type such as `f32[512,64]{1,0:T(8,128)}`, in bytes."""
    match = ARRAY.match(kind)
    assert match is not None
    letters, bits, shape, _ = match.groups()
    width = 8 if letters == "pred" else int(bits or 32)
    return math.prod(int(n) for n in shape.split(",") if n) * width // 8


def cycles(program: str) -> int:
    """Return the compiler's estimate of the cycles of a TPU program, summed over instructions."""
    return sum(map(int, re.findall(r'estimated_cycles":"(\d+)', program)))
