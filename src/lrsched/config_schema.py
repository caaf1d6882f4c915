"""JSON Schema of the configuration files that `from_dict` reads."""

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

from lrsched._schedule import REGISTRY, TAG, ScheduleDefinition


def json_schema() -> dict[str, Any]:
    """Return a JSON Schema (2020-12) of all registered schedules, as `from_dict` reads them.

    Editors use it to complete names and arguments and to underline errors in JSON and YAML. User
    schedules are included once they are defined, those of `lrsched.compat` once their module is
    imported. The schema describes single schedules, not batches with lists of numbers.

    Returns:
      The schema, as JSON-serialisable dicts and lists.

    >>> import lrsched
    >>> schema = lrsched.json_schema()
    >>> schema["$defs"]["cosine"]["required"]
    ['schedule', 'peak', 'steps']
    >>> schema["$defs"]["cosine"]["properties"]["steps"]["minimum"]
    1
    """
    known = {name: one for name, one in sorted(REGISTRY.items()) if _is_written(one)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A schedule of lrsched",
        "$ref": "#/$defs/schedule",
        "$defs": {
            "schedule": {
                "type": "object",
                "required": [TAG],
                "properties": {TAG: {"enum": list(known)}},
                # One alternative by its name, so that an error is of that schedule alone.
                "allOf": [
                    {
                        "if": {"required": [TAG], "properties": {TAG: {"const": name}}},
                        "then": {"$ref": f"#/$defs/{name}"},
                    }
                    for name in known
                ],
            },
            **{name: _of_definition(one) for name, one in known.items()},
        },
    }


def _is_written(definition: ScheduleDefinition) -> bool:
    """Return whether a file can hold a schedule: whether no required parameter is a function."""
    return not any(
        parameter.default is inspect.Parameter.empty and _is_function(parameter.annotation)
        for parameter in definition.signature.parameters.values()
    )


def _is_function(annotation: object) -> bool:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return get_origin(annotation) is Callable


def _of_definition(definition: ScheduleDefinition) -> dict[str, object]:
    text = inspect.getdoc(definition.function) or ""
    properties: dict[str, object] = {"$schema": {"type": "string"}, TAG: {"const": definition.name}}
    required = [TAG]
    for name, parameter in definition.signature.parameters.items():
        kind = definition.argument_types[name]
        schema = dict(kind.schema) if kind else {}
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            schema = {"type": "array", "items": schema}
        elif parameter.default is inspect.Parameter.empty:
            required.append(name)
        elif parameter.default is None:
            schema = {"anyOf": [schema, {"type": "null"}]}
        else:
            schema["default"] = parameter.default
        if found := re.search(rf"^  \*?{name}: (.*?)(?=^  \S|^$)", text, re.M | re.S):
            schema["description"] = " ".join(found[1].split())
        properties[name] = schema
    return {
        "type": "object",
        "description": text.partition("\n")[0],
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }
