"""model=: JSON to and from dataclasses and other annotated types, and by way of Pydantic where that is what the model is.

Dataclasses need nothing installed, and give the same JSON whether or not Pydantic is there.
"""

from __future__ import annotations

import base64
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import functools
import pathlib
import threading
import types
import typing
import uuid
from typing import Any, Callable, Tuple, Union

from . import _json
from ._errors import InvalidValue, OptionError

Decode = Callable[[Any], Any]
# to JSON text; from (a payload, whether it is JSON text: what is stored as text or bytes stands for itself)
Codec = Tuple[Callable[[Any], bytes], Callable[[Any, bool], Any]]


def codec(model: Any) -> Codec:
    try:
        hash(model)
    except TypeError:
        raise OptionError(f"model= is a type, not {model!r}") from None
    return _codec(model)


@functools.lru_cache(maxsize=512)
def _codec(model: Any) -> Codec:
    if isinstance(model, (str, bytes, int, float)):
        raise OptionError(f"model= is a type, not {model!r}")
    if _is_pydantic(model):
        return _pydantic(model)
    try:
        decode = _decoder(model, model)
    except _Unknown as unknown:
        try:
            return _pydantic(model)
        except ImportError:
            raise OptionError(f"model={_name(model)}: {unknown.args[0]} is no type that Millpond can make from JSON: use a "
                              "dataclass, a Pydantic model (with pydantic installed), or encode= and decode=") from None
    name = _name(model)

    def to_json(value: Any) -> bytes:
        return _json.encode(_plain(value))

    def from_stored(payload: bytes | str, is_json: bool) -> Any:
        value = _json.parse(payload) if is_json else payload
        try:
            return decode(value)
        except _Mismatch as error:
            raise InvalidValue(f"what is stored is no {name}: {error}") from None

    return to_json, from_stored


def _name(model: Any) -> str:
    return getattr(model, "__qualname__", None) or str(model)


# ---- Pydantic ----

def _is_pydantic(model: Any) -> bool:
    if hasattr(model, "__pydantic_validator__") or hasattr(model, "__pydantic_core_schema__"):
        return True
    return any(_is_pydantic(argument) for argument in typing.get_args(model))


def _pydantic(model: Any) -> Codec:
    from pydantic import PydanticSchemaGenerationError, TypeAdapter

    try:
        adapter: Any = TypeAdapter(model)
    except PydanticSchemaGenerationError as error:
        raise OptionError(f"model={_name(model)} is no type that Millpond or Pydantic can make: {error}") from None

    def to_json(value: Any) -> bytes:
        # Validated first: a loader may give a dict, and what is stored must be readable.
        text: bytes = adapter.dump_json(adapter.validate_python(value))
        return text

    def from_stored(payload: bytes | str, is_json: bool) -> Any:
        return adapter.validate_json(payload) if is_json else adapter.validate_python(payload)

    return to_json, from_stored


# ---- dataclasses and what they are made of ----

class _Unknown(Exception):
    """A type that this module does not make."""


class _Mismatch(Exception):
    def __init__(self, path: str, wanted: str, got: Any) -> None:
        super().__init__(f"{path or 'it'} is {type(got).__name__} {got!r:.60}, not {wanted}")


def _utc(text: str) -> str:
    return text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text  # fromisoformat() before 3.11 has no Z


_SIMPLE: dict[Any, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    # type: (to JSON, from JSON)
    datetime.datetime: (lambda v: v.isoformat(), lambda v: datetime.datetime.fromisoformat(_utc(v))),
    datetime.date: (lambda v: v.isoformat(), datetime.date.fromisoformat),
    datetime.time: (lambda v: v.isoformat(), lambda v: datetime.time.fromisoformat(_utc(v))),
    datetime.timedelta: (lambda v: v.total_seconds(), lambda v: datetime.timedelta(seconds=v)),
    decimal.Decimal: (str, decimal.Decimal),
    uuid.UUID: (str, uuid.UUID),
    bytes: (lambda v: base64.b64encode(v).decode(), lambda v: base64.b64decode(v, validate=True)),
}


def _plain(value: Any) -> Any:
    """A value as JSON can hold it. What is not known here is left for the JSON encoder to complain about."""
    if value is None or isinstance(value, (str, int, float)):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
    if isinstance(value, collections.abc.Mapping):
        return {_plain(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    if isinstance(value, pathlib.PurePath):
        return str(value)
    simple = _SIMPLE.get(type(value))
    return simple[0](value) if simple else value


def _decoder(model: Any, owner: Any, path: str = "") -> Decode:
    """A function from parsed JSON to the model's type. `path` is for messages."""
    if model is Any or model is object:
        return lambda value: value
    origin = typing.get_origin(model)
    if origin is typing.Annotated:
        return _decoder(typing.get_args(model)[0], owner, path)
    if origin is typing.Literal:
        return _literal(typing.get_args(model), path)
    if origin in (Union, types.UnionType):
        return _union(typing.get_args(model), owner, path)
    if origin is not None:
        return _container(origin, typing.get_args(model), owner, path)
    if model is None or model is type(None):
        return _exactly(type(None), path)
    if isinstance(model, typing.NewType):
        return _decoder(model.__supertype__, owner, path)
    if not isinstance(model, type):
        raise _Unknown(_name(model))
    if dataclasses.is_dataclass(model):
        return _dataclass(model, path)
    if issubclass(model, enum.Enum):
        return _converted(model, path, model)
    if model in (str, bool, int, type(None)):
        return _exactly(model, path)
    if model is float:
        return _float(path)
    if model in _SIMPLE:
        return _converted(_SIMPLE[model][1], path, model)
    if model in (list, tuple, set, frozenset, dict):
        return _container(model, (), owner, path)
    if issubclass(model, pathlib.PurePath):
        return _converted(model, path, model)
    if issubclass(model, tuple) and hasattr(model, "_fields"):
        return _named_tuple(model, path)
    if typing.is_typeddict(model):
        return _typed_dict(model, path)
    raise _Unknown(_name(model))


def _exactly(kind: type, path: str) -> Decode:
    def decode(value: Any) -> Any:
        if type(value) is not kind:
            raise _Mismatch(path, "null" if kind is type(None) else kind.__name__, value)
        return value
    return decode


def _float(path: str) -> Decode:
    def decode(value: Any) -> Any:
        if type(value) is int:  # 1.0 comes back from other languages as 1
            return float(value)
        if type(value) is not float:
            raise _Mismatch(path, "float", value)
        return value
    return decode


def _converted(convert: Callable[[Any], Any], path: str, model: type) -> Decode:
    def decode(value: Any) -> Any:
        try:
            return convert(value)
        except (ValueError, TypeError, ArithmeticError):
            raise _Mismatch(path, model.__name__, value) from None
    return decode


def _literal(choices: tuple[Any, ...], path: str) -> Decode:
    def decode(value: Any) -> Any:
        for choice in choices:
            plain = choice.value if isinstance(choice, enum.Enum) else choice
            if type(plain) is type(value) and plain == value:
                return choice
        raise _Mismatch(path, "one of " + ", ".join(map(repr, choices)), value)
    return decode


def _union(members: tuple[Any, ...], owner: Any, path: str) -> Decode:
    decoders = [_decoder(member, owner, path) for member in members]

    def decode(value: Any) -> Any:
        for decoder in decoders:
            try:
                return decoder(value)
            except _Mismatch:
                continue
        raise _Mismatch(path, " or ".join(map(_name, members)), value)
    return decode


_LISTS: dict[Any, Any] = {
    list: list, set: set, frozenset: frozenset, collections.abc.Sequence: list, collections.abc.Iterable: list,
    collections.abc.Collection: list, collections.abc.Set: frozenset, collections.abc.MutableSequence: list,
    collections.abc.MutableSet: set,
}
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _container(origin: Any, arguments: tuple[Any, ...], owner: Any, path: str) -> Decode:
    if origin in _LISTS:
        make, inner = _LISTS[origin], _decoder(arguments[0] if arguments else Any, owner, path + "[]")
        return lambda value: make(map(inner, _a(list, value, path)))
    if origin is tuple:
        if not arguments or (len(arguments) == 2 and arguments[1] is Ellipsis):
            inner = _decoder(arguments[0] if arguments else Any, owner, path + "[]")
            return lambda value: tuple(map(inner, _a(list, value, path)))
        members = [_decoder(argument, owner, f"{path}[{row}]") for row, argument in enumerate(arguments) if argument != ()]

        def fixed(value: Any) -> Any:
            if len(_a(list, value, path)) != len(members):
                raise _Mismatch(path, f"a list of {len(members)}", value)
            return tuple(decode(item) for decode, item in zip(members, value))
        return fixed
    if origin in _DICTS:
        key_type, value_type = arguments or (Any, Any)
        key, inner = _key(key_type, owner, path), _decoder(value_type, owner, path + ".*")
        return lambda value: {key(name): inner(item) for name, item in _a(dict, value, path).items()}
    if isinstance(origin, type) and dataclasses.is_dataclass(origin):
        raise _Unknown(f"the generic dataclass {_name(origin)}")
    raise _Unknown(_name(origin))


def _key(model: Any, owner: Any, path: str) -> Decode:
    """JSON's keys are text; int and float keys come back as what they were."""
    if model in (int, float):
        return _converted(model, path, model)
    return _decoder(model, owner, path)


def _a(kind: type, value: Any, path: str) -> Any:
    if not isinstance(value, kind):
        raise _Mismatch(path, kind.__name__, value)
    return value


def _fields(model: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(model, include_extras=True)
    except NameError as error:
        raise OptionError(f"model={_name(model)}: its annotations do not resolve: {error}") from None


def _dataclass(model: Any, path: str) -> Decode:
    made: dict[str, tuple[Decode, bool]] = {}  # filled at the first use: a dataclass may refer to itself

    def prepare() -> None:
        hints = _fields(model)
        made.update({
            field.name: (_decoder(hints[field.name], model, f"{path}.{field.name}" if path else field.name),
                         field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING)
            for field in dataclasses.fields(model) if field.init})

    building: list[Any] = _building.__dict__.setdefault("models", [])
    if model not in building:
        building.append(model)
        try:
            prepare()
        finally:
            building.pop()

    def decode(value: Any) -> Any:
        if not made:
            prepare()
        _a(dict, value, path)
        arguments = {}
        for name, (inner, needed) in made.items():
            if name in value:
                arguments[name] = inner(value[name])
            elif needed:
                raise _Mismatch(path, f"a {model.__name__} with {name}", value)
        return model(**arguments)  # what else is there, a newer version of the program has written: left out
    return decode


_building = threading.local()  # the dataclasses whose fields this thread is looking at


def _named_tuple(model: Any, path: str) -> Decode:
    hints = _fields(model)
    members = [_decoder(hints.get(name, Any), model, f"{path}.{name}" if path else name) for name in model._fields]

    def decode(value: Any) -> Any:
        if len(_a(list, value, path)) != len(members):
            raise _Mismatch(path, f"a list of {len(members)}", value)
        return model(*(inner(item) for inner, item in zip(members, value)))
    return decode


def _typed_dict(model: Any, path: str) -> Decode:
    members = {name: _decoder(_required(hint), model, f"{path}.{name}" if path else name) for name, hint in _fields(model).items()}

    def decode(value: Any) -> Any:
        missing = model.__required_keys__ - _a(dict, value, path).keys()
        if missing:
            raise _Mismatch(path, f"a {model.__name__} with {min(missing)}", value)
        return {name: members[name](item) if name in members else item for name, item in value.items()}
    return decode


def _required(hint: Any) -> Any:
    if getattr(typing.get_origin(hint), "_name", None) in ("Required", "NotRequired", "ReadOnly"):
        return typing.get_args(hint)[0]
    return hint
