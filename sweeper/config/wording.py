"""What is wrong with a value, in words: the rules of a search space's schema, each as a short sentence."""

from __future__ import annotations

from typing import Any

from pydantic_core import ErrorDetails

UNKNOWN = "is not valid here"
RULES = {
    "greater_than": "should be more than {gt}",
    "greater_than_equal": "should be at least {ge}",
    "less_than": "should be less than {lt}",
    "less_than_equal": "should be at most {le}",
    "multiple_of": "should be a multiple of {multiple_of}",
    "finite_number": "should be a finite number",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_parsing_size": "should be a whole number of a sensible size",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be text",
    "string_too_short": "should not be empty",
    "string_too_long": "should be at most {max_length} characters long",
    "string_pattern_mismatch": "should look like {pattern}",
    "string_unicode": "should be text that UTF-8 can write",
    "invalid_key": "has a key that is not text",
    "none_required": "should be null",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "dict_type": "should be keys and values",
    "model_type": "should be keys and values",
    "model_attributes_type": "should be keys and values",
    "missing": "is missing, and has no default",
}
LENGTHS = {"too_short": ("at least", "min_length"), "too_long": ("at most", "max_length")}


def rule_of(error: ErrorDetails) -> str:
    """Return the rule that a value breaks, such as `should be at least 1`; without the value."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in LENGTHS:
        bound, key = LENGTHS[kind]
        return f"should have {bound} {items(context[key])}, and has {context['actual_length']}"
    return RULES.get(kind, UNKNOWN).format(**{name: written(value) for name, value in context.items()})


def items(count: int) -> str:
    return f"{count} item" if count == 1 else f"{count} items"


def written(bound: Any) -> str:
    """Write a bound as people do: 1 for 1.0, 1,000,000 for 1000000."""
    if isinstance(bound, int):
        return f"{bound:,}"
    return f"{bound:g}" if isinstance(bound, float) else str(bound)
