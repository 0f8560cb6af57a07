"""The source of a function or class as something to compare: without comments, layout or neighbours that do not matter.

In: a callable. Out: its source and that of what it uses from its own module, as text that is equal when the
code is.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from typing import Any


def sources_of(thing: Any) -> list[str]:
    """The sources of a function or class and of what it uses from its own module, comments stripped."""
    thing = inspect.unwrap(thing) if inspect.isroutine(thing) else thing
    module = inspect.getmodule(thing)
    if module is None or not _readable(thing):
        return []
    seen: dict[str, str] = {}
    queue = [thing]
    while queue:
        item = queue.pop()
        key = f"{item.__module__}.{item.__qualname__}"
        if key in seen:
            continue
        seen[key] = source = _readable(item)
        for name in sorted(_names(source)):
            neighbour = getattr(module, name, None)
            if isinstance(neighbour, type | types.FunctionType) and neighbour.__module__ == module.__name__:
                queue.append(neighbour)
            elif isinstance(neighbour, bool | int | float | str):
                seen[f"{module.__name__}.{name}"] = repr(neighbour)
    return [seen[key] for key in sorted(seen)]


def _readable(thing: Any) -> str:
    """The source without comments and layout, or an empty string where there is none."""
    try:
        if getattr(thing, "__name__", "") == "<lambda>":
            return _lambda(thing)
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(thing))))
    except (OSError, TypeError, SyntaxError):
        return ""


def _lambda(function: types.FunctionType) -> str:
    """The lambda alone, whatever else stands on its lines."""
    lines, _ = inspect.findsource(function)
    start = function.__code__.co_firstlineno
    found = [
        node for node in ast.walk(ast.parse("".join(lines))) if isinstance(node, ast.Lambda) and node.lineno == start
    ]
    sources = [ast.unparse(node) for node in found]
    if len(sources) > 1:  # several on one line: the one that compiles to the same code
        sources = [source for source in sources if _compiled(source) == _code_key(function.__code__)] or sources
    return "; ".join(sources)


def _compiled(source: str) -> Any:
    constants = compile(source, "<lambda>", "eval").co_consts
    return next(_code_key(constant) for constant in constants if isinstance(constant, types.CodeType))


def _code_key(code: types.CodeType) -> Any:
    return code.co_code, code.co_names, str(code.co_consts)


def _names(source: str) -> set[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
