"""pond.cached(): a function whose results are cached under a key that is made from its arguments.

The template is compiled once into a function with the same parameters, so that a hit costs no argument binding of its own.
"""

from __future__ import annotations

import functools
import inspect
import string
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

from ._errors import OptionError

if TYPE_CHECKING:
    from typing_extensions import ParamSpec

    P = ParamSpec("P")
else:
    try:
        from typing import ParamSpec

        P = ParamSpec("P")
    except ImportError:  # pragma: no cover
        P = TypeVar("P")

R = TypeVar("R")


class Cached(Generic[P, R]):
    """A cached function. Called like the function itself; a method of a class too.

    `key(*args)` is the key that a call would use, `invalidate(*args)` drops its result, `lookup(*args)` looks without calling.
    """

    def __init__(self, pond: Any, function: Callable[P, R], template: str | None, tags: Any = None) -> None:
        self._pond = pond
        self._tags = tags if tags is None or callable(tags) else tags_of(tags)
        self._function = function
        self._key, self._method = compile_key(function, template)
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        function = self._function
        result: R = self._pond.fetch(self._key(*args, **kwargs), lambda: function(*args, **kwargs), tags=self._tags_of(args, kwargs))
        return result

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else _Bound(self, instance)

    def __repr__(self) -> str:
        return f"<cached {self._function!r}>"

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        key: str = self._key(*args, **kwargs)
        return key

    def _tags_of(self, args: Any, kwargs: Any) -> Any:
        return self._tags(*args, **kwargs) if callable(self._tags) else self._tags

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self._pond.invalidate(self._key(*args, **kwargs))

    def lookup(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self._pond.lookup(self._key(*args, **kwargs), tags=self._tags_of(args, kwargs))


class AsyncCached(Cached[P, R]):
    """The same for `async def`: the call, invalidate() and lookup() are awaited."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        function = self._function
        return await self._pond.fetch(self._key(*args, **kwargs), lambda: function(*args, **kwargs), tags=self._tags_of(args, kwargs))

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else _AsyncBound(self, instance)


class _Bound:
    """A cached method of one object."""

    def __init__(self, cached: Any, instance: Any) -> None:
        self._cached = cached
        self.__self__ = instance
        functools.update_wrapper(self, cached._function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._cached(self.__self__, *args, **kwargs)

    def key(self, *args: Any, **kwargs: Any) -> str:
        key: str = self._cached.key(self.__self__, *args, **kwargs)
        return key

    def invalidate(self, *args: Any, **kwargs: Any) -> Any:
        return self._cached.invalidate(self.__self__, *args, **kwargs)

    def lookup(self, *args: Any, **kwargs: Any) -> Any:
        return self._cached.lookup(self.__self__, *args, **kwargs)


class _AsyncBound(_Bound):
    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return await self._cached(self.__self__, *args, **kwargs)


def tags_of(tags: Any) -> tuple[str, ...]:
    """Fixed tags, checked where they are written down; the rest of what may be wrong with them the core says at the first call."""
    if isinstance(tags, (str, bytes)) or not hasattr(tags, "__iter__"):
        raise OptionError(f"tags={tags!r} is no list of tags, and no function that gives one")
    return tuple(tags)


# ---- keys ----

def compile_key(function: Callable[..., Any], template: str | None) -> tuple[Callable[..., str], bool]:
    """-> (a function with the parameters of `function` that gives the key, is it a method)"""
    parameters = list(inspect.signature(function).parameters.values())
    method = bool(parameters) and parameters[0].name in ("self", "cls") and "." in function.__qualname__.rpartition("<locals>.")[2]
    if template is None:
        body = _default_body(function, parameters[1:] if method else parameters)
        names: dict[str, Any] = {"_part": part}
    else:
        body, names = _template_body(function, template, {parameter.name for parameter in parameters})
    source = f"def key({_parameters(parameters, names)}):\n    return {body}\n"
    exec(compile(source, f"<key of {function.__qualname__}>", "exec"), names)  # noqa: S102 (names and literals of our own)
    return names["key"], method


def _parameters(parameters: list[inspect.Parameter], names: dict[str, Any]) -> str:
    """The parameter list, with the defaults by name."""
    texts: list[str] = []
    slash = star = False
    for row, parameter in enumerate(parameters):
        kind = parameter.kind
        if slash and kind is not parameter.POSITIONAL_ONLY:
            texts.append("/")
        slash = kind is parameter.POSITIONAL_ONLY
        if kind is parameter.KEYWORD_ONLY and not star:
            texts.append("*")
            star = True
        text = parameter.name
        if kind is parameter.VAR_POSITIONAL:
            text, star = "*" + text, True
        elif kind is parameter.VAR_KEYWORD:
            text = "**" + text
        if parameter.default is not parameter.empty:
            names[f"_default_{row}"] = parameter.default
            text += f"=_default_{row}"
        texts.append(text)
    if slash:
        texts.append("/")
    return ", ".join(texts)


def _default_body(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> str:
    """module.function(a, b): every argument, by its representation."""
    prefix = f"{function.__module__}.{function.__qualname__}"
    parts = [repr(prefix + "(")]
    for row, parameter in enumerate(parameters):
        parts.append(repr(",") if row else "''")
        parts.append(f"_part({parameter.name!r}, {parameter.name})")
    return " + ".join([*parts, "')'"])


def _template_body(function: Callable[..., Any], template: str, known: set[str]) -> tuple[str, dict[str, Any]]:
    names: dict[str, Any] = {"_text": text}
    parts: list[str] = []
    try:
        fields = list(string.Formatter().parse(template))
    except ValueError as error:
        raise OptionError(f"the key {template!r} of {function.__qualname__} is no template: {error}") from None
    for row, (literal, field, spec, conversion) in enumerate(fields):
        if literal:
            parts.append(repr(literal))
        if field is None:
            continue
        name = field.partition(".")[0].partition("[")[0]
        if name not in known:
            raise OptionError(f"the key {template!r} names {{{field}}}, which {function.__qualname__}() has no argument for; "
                              f"it has: {', '.join(sorted(known)) or 'none'}")
        if field == name and not spec and not conversion:
            parts.append(f"_text({name!r}, {name})")
        else:
            names[f"_format_{row}"] = ("{" + field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "") + "}").format
            parts.append(f"_format_{row}({name}={name})")
    return " + ".join(parts) or "''", names


def text(name: str, value: Any) -> str:
    """{name} in a template."""
    if type(value) is str:
        return value
    cls: Any = type(value)
    if cls.__str__ is object.__str__ and cls.__repr__ is object.__repr__ and cls.__format__ is object.__format__:
        raise TypeError(f"{name} is a {cls.__qualname__}, whose text is its address in memory: name what identifies it, "
                        f"as {{{name}.id}}")
    return format(value)


def part(name: str, value: Any) -> str:
    """An argument in a key that was made without a template: unambiguous, and the same in every process."""
    if value is None or isinstance(value, (str, int, float, bytes, complex)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(part(name, item) for item in value) + "]"
    if isinstance(value, (set, frozenset)):
        return "{" + ",".join(sorted(part(name, item) for item in value)) + "}"
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{part(name, key)}:{part(name, item)}" for key, item in value.items())) + "}"
    cls = type(value)
    if cls.__module__ in ("datetime", "decimal", "uuid", "fractions") or hasattr(cls, "__members__"):
        return f"{cls.__qualname__}:{value}"
    raise TypeError(f"the argument {name} is a {cls.__qualname__}, which gives no key by itself: write a template, as "
                    f"cached(\"thing:{{{name}.id}}\")")
