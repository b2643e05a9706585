"""Write docs/library_reference.md: the public names of the library, from their signatures and docstrings.

python docs/write_library.py
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import sweeper
from sweeper import errors

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "library_reference.md"
INTRODUCTION = """\
# Library, name by name

All that `import sweeper` offers. [Sweeper as a library](library.md) shows it at work; this page is written from the
docstrings by `make schema`.
"""
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):$", re.MULTILINE)
TITLES = {"Args": "Arguments", "Attributes": "Attributes", "Returns": "Returns", "Raises": "Raises"}


def page() -> str:
    """Return the whole page. It is read from the sources: to import them all would take seconds."""
    parts: dict[str, list[str]] = {"Functions": [], "Classes": [], "Errors": []}
    for name, module in sweeper._MODULES.items():
        source = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text()
        named = {getattr(part, "name", ""): part for part in ast.parse(source).body}
        title, lines = _entry(named[name], source)
        parts[title] += lines
    return "\n".join([INTRODUCTION, *(line for title, lines in parts.items() for line in (f"## {title}\n", *lines))])


def _entry(definition: ast.stmt, source: str) -> tuple[str, list[str]]:
    """Return the part of the page that a public name belongs to, and its heading, call, docstring and members."""
    if isinstance(definition, ast.FunctionDef):
        called = _code(f"sweeper.{_header(definition, source)}")
        return "Functions", [f"### {definition.name}\n", called, *_described(definition)]
    assert isinstance(definition, ast.ClassDef)  # noqa: S101
    lines = [f"### {definition.name}\n", *_constructor(definition, source), *_described(definition)]
    if hasattr(errors, definition.name):
        return "Errors", [*lines, *_kind(getattr(errors, definition.name))]
    return "Classes", [*lines, *_members(definition, source)]


def _constructor(definition: ast.ClassDef, source: str) -> Iterator[str]:
    """Yield how a class is made, where that is for users: its docstring then tells the arguments."""
    made = [member for member in _functions(definition) if member.name == "__init__"]
    if made and "Args:" in (ast.get_docstring(definition) or ""):
        header = _header(made[0], source).removeprefix("__init__").removesuffix(" -> None")
        yield _code(f"sweeper.{definition.name}{header}")


def _kind(error: type[errors.SweeperError]) -> Iterator[str]:
    """Say what an error is a kind of, and the exit code of a command that ends by it."""
    above = " and ".join(f"`{base.__name__}`" for base in error.__bases__)
    yield f"A kind of {above}. A command that meets it ends with exit code {error.exit_code}.\n"


def _members(definition: ast.ClassDef, source: str) -> Iterator[str]:
    """Yield what an object of a class offers: its fields, its properties and its methods."""
    if any(ast.unparse(base) == "Frozen" for base in definition.bases):
        yield "Its attributes are the keys of a [search space](search_space.md).\n"
    elif "Attributes:" not in (ast.get_docstring(definition) or ""):
        yield from _fields(definition)
    for member in _functions(definition):
        if ast.get_docstring(member) and not member.name.startswith("_"):
            yield f"#### {definition.name}.{member.name}\n"
            yield _code(_attribute(member, source) or _header(member, source))
            yield from _described(member)


def _functions(definition: ast.ClassDef) -> list[ast.FunctionDef]:
    return [member for member in definition.body if isinstance(member, ast.FunctionDef)]


def _fields(definition: ast.ClassDef) -> Iterator[str]:
    """Yield a line for each annotated name of a class, with what is written below it."""
    lines: list[str] = []
    for member in definition.body[1:]:
        if isinstance(member, ast.AnnAssign):
            lines.append(f"- `{ast.unparse(member)}`")
        elif lines and isinstance(member, ast.Expr) and isinstance(member.value, ast.Constant):
            lines[-1] += f": {ast.literal_eval(member.value)}"
    if lines:
        yield "\n".join(lines) + "\n"


def _attribute(function: ast.FunctionDef, source: str) -> str | None:
    """Return a property as name and type, as they are written; None for a method."""
    is_property = any(ast.unparse(decorator) == "property" for decorator in function.decorator_list)
    if not is_property or function.returns is None:
        return None
    return f"{function.name}: {ast.get_source_segment(source, function.returns)}"


def _header(function: ast.FunctionDef, source: str) -> str:
    """Return name, arguments and result of a function as they are written, without `self`."""
    lines = source.splitlines()[function.lineno - 1 : function.body[0].lineno - 1]
    text = textwrap.dedent("\n".join(line.split("  # ")[0] for line in lines))
    return re.sub(r"\bself(, |,\n +)?", "", text.removeprefix("def ").removesuffix(":"), count=1)


def _described(definition: ast.FunctionDef | ast.ClassDef) -> Iterator[str]:
    """Yield a docstring, its sections as lists."""
    text, *sections = SECTION.split(ast.get_docstring(definition) or "")
    yield f"{text.strip()}\n"
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        yield f"{TITLES[title]}:\n"
        content = textwrap.dedent(body).strip()
        yield f"{content}\n" if title == "Returns" else "\n".join(_items(content)) + "\n"


def _items(body: str) -> Iterator[str]:
    """Yield an item for each `name: text` of a section; lines further to the right go on with the one before."""
    for item in re.split(r"\n(?=\S)", body):
        name, colon, text = " ".join(item.split()).partition(": ")
        yield f"- `{name}`: {text}" if name.isidentifier() else f"- {name}{colon}{text}"


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page())
