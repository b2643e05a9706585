"""The searchable form of the hyperparameters: every field a value or a distribution.

`searchable(TrialConfig)` builds a model of the same shape in which each field also accepts
`{float: [low, high], log: true}`, `{int: [low, high]}` or `{choice: [...]}`, with the field's own
bounds applied to both ends of a range and to every choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from types import UnionType
from typing import Annotated, Any, Generic, Literal, Self, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)

from sweeper.config.bounds import Real, Whole
from sweeper.config.frozen import Frozen
from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.wording import rule_of

T = TypeVar("T")


MOST_STEPS = 1e18


class FloatRange(Frozen):
    """A real number between two bounds, both included where steps lead to them."""

    bounds: tuple[Real, Real] = Field(alias="float", description="Lowest and highest value.")
    log: bool = Field(False, description="Search on a logarithmic scale.")
    step: Annotated[Real, Field(gt=0)] | None = Field(None, description="Distance between two values.")

    @property
    def stepped(self) -> bool:
        return self.step is not None

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value that is drawn: steps may not lead to the upper bound."""
        low, high = self.bounds
        if self.step is None:
            return low, high
        first, step = Decimal(str(low)), Decimal(str(self.step))  # as written: 0.3 is no sum of three 0.1 otherwise
        return low, float(first + (Decimal(str(high)) - first) // step * step)

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> Self:
        check_range(self)
        return self


class IntRange(Frozen):
    """A whole number between two bounds, both included where steps lead to them."""

    bounds: tuple[Whole, Whole] = Field(alias="int", description="Lowest and highest value.")
    log: bool = Field(False, description="Search on a logarithmic scale.")
    step: Annotated[Whole, Field(gt=0)] = Field(1, description="Distance between two values.")

    @property
    def stepped(self) -> bool:
        """Whether some whole numbers between the bounds are left out."""
        return self.step > 1

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest value that is drawn: steps may not lead to the upper bound."""
        low, high = self.bounds
        return low, low + (high - low) // self.step * self.step

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> Self:
        check_range(self)
        return self


class Choice(Frozen, Generic[T]):
    """One of several options; options that are objects may hold distributions of their own."""

    choice: tuple[T, ...] = Field(min_length=1, description="The options.")

    @model_validator(mode="after")
    def _options_differ(self) -> Self:
        first: dict[str, int] = {}
        for number, option in enumerate(self.choice, 1):
            if (other := first.setdefault(repr(option), number)) != number:
                raise ValueError(f"options {other} and {number} are equal; remove one of them")
        return self


def check_range(distribution: FloatRange | IntRange) -> None:
    low, high = distribution.bounds
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"both bounds must be finite, got [{low:g}, {high:g}]")
    if low > high:
        raise ValueError(f"the lowest value must come first, got [{low:g}, {high:g}]")
    if distribution.log and low <= 0:
        raise ValueError(f"a logarithmic scale needs a lowest value above 0, got {low:g}")
    if distribution.log and distribution.stepped:
        raise ValueError("log and step exclude each other; remove one of them")
    if isinstance(distribution, FloatRange) and distribution.step and (high - low) / distribution.step > MOST_STEPS:
        raise ValueError(f"more than {MOST_STEPS:,.0f} steps from {low:g} to {high:g}; take a larger step, or none")


def kind_of(value: Any) -> str:
    """Tell a distribution from a value: `float`, `int`, `choice` or `value`."""
    if isinstance(value, dict):
        return next((kind for kind in ("float", "int", "choice") if kind in value), "value")
    if isinstance(value, FloatRange):
        return "float"
    if isinstance(value, IntRange):
        return "int"
    return "choice" if isinstance(value, Choice) else "value"


@cache
def searchable(model: type[BaseModel]) -> type[BaseModel]:
    """Return the model in which every field of `model` may be a distribution."""
    fields: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        annotation = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        if info.discriminator is not None:
            annotation = Annotated[annotation, _as_discriminator(info.discriminator)]
        default = info.default.model_dump() if isinstance(info.default, BaseModel) else info.default
        fixed = get_origin(info.annotation) is Literal and name == "name"
        searched = annotation if fixed or name == "options" else _searchable_annotation(annotation)
        required = ... if info.is_required() else default
        fields[name] = (searched, Field(required, description=info.description, validate_default=True))
    return create_model(f"Searchable{model.__name__}", __base__=Frozen, __doc__=model.__doc__, **fields)


def _as_discriminator(discriminator: Any) -> Any:
    return Discriminator(discriminator) if isinstance(discriminator, str) else discriminator


def _searchable_annotation(annotation: Any) -> Any:
    value = _searchable_value(annotation)
    kinds: list[Any] = [Annotated[value, Tag("value")]]
    scalars = _scalar_types(annotation)
    check = AfterValidator(_bounds_obey(annotation))
    if float in scalars:
        kinds.append(Annotated[FloatRange, check, Tag("float")])
    if scalars & {int, float}:
        kinds.append(Annotated[IntRange, check, Tag("int")])
    kinds.append(Annotated[Choice[value], Tag("choice")])  # type: ignore[valid-type]
    return Annotated[Union[tuple(kinds)], Discriminator(kind_of)]  # noqa: UP007


def _searchable_value(annotation: Any) -> Any:
    """Replace the models, and the items of tuples, inside an annotation by their searchable form."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner, *metadata = arguments
        return Annotated[_searchable_value(inner), *metadata]
    if origin in (Union, UnionType):
        return Union[tuple(_searchable_value(argument) for argument in arguments)]  # noqa: UP007
    if origin is tuple:
        items = tuple(item if item is ... else _searchable_annotation(item) for item in arguments)
        return tuple[items]  # type: ignore[valid-type]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return searchable(annotation)
    return annotation


def _scalar_types(annotation: Any) -> set[type]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _scalar_types(arguments[0])
    if origin in (Union, UnionType):
        return set().union(*(_scalar_types(argument) for argument in arguments))
    return {annotation} if annotation in (int, float) else set()


def _bounds_obey(annotation: Any) -> Callable[[Any], Any]:
    """Return a check that both ends of a range are values the field itself would take."""

    def check(distribution: FloatRange | IntRange) -> FloatRange | IntRange:
        adapter = TypeAdapter[Any](annotation)
        for bound in distribution.bounds:
            try:
                adapter.validate_python(bound)
            except ValidationError as error:
                raise ValueError(f"a bound {rule_of(error.errors()[0])}, got {bound:g}") from None
        return distribution

    return check


SearchSpace = searchable(TrialConfig)
