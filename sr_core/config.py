"""Reading the parameters of a run (sr_core/params.py), checked all at once.

`load` reads a file, puts the recipe of the chosen network over its sections, applies `key=value` overrides, and raises
one ConfigError that lists every unknown key (with the nearest valid name), every value of a wrong type and every
value out of range.
"""

import copy
import dataclasses
import difflib
import math
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from sr_core.errors import ConfigError, listed
from sr_core.params import NETWORKS, ModelParams, Params, to_dict

__all__ = ["Params", "from_dict", "load", "to_dict"]

# a mapping from a network's name to what departs from the sections when `model.name` is that name
RECIPES = "recipes"
IN_RECIPES = ("model", "train", "adversarial")


def load(path: Path | str, overrides: Sequence[str] = ()) -> Params:
    """The parameters in the YAML file at `path`, with `overrides` like `train.steps=100` applied.

    Raises:
        ConfigError: the file cannot be read, or lists every key that is unknown or has a wrong value.
    """
    try:
        tree = _read_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); expected a YAML file like params.yaml") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a date that is none
        raise ConfigError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds no keys, expected sections like data:, model: and train:")
    changed = _overridden(tree, overrides)
    recipes, problems = changed.pop(RECIPES, None) or {}, list[str]()
    _check_recipes(changed, recipes, problems)
    if problems:
        raise ConfigError(f"{path}: {len(problems)} wrong:{listed(problems)}")
    recipe = recipes.get(_name_of_model(changed))
    if recipe:
        changed = _overridden(_merged(tree, recipe), overrides)
        changed.pop(RECIPES, None)
    return from_dict(changed, where=str(path))


def changes(overrides: Sequence[str]) -> dict[str, Any]:
    """`overrides` like `train.steps=100` alone, as the sections of a file that holds nothing else.

    Raises:
        ConfigError: one is not of that form.
    """
    return _overridden({}, overrides)


def _name_of_model(tree: Mapping[str, Any]) -> str:
    """`model.name`, or its default; empty where it is no text, which is said later."""
    model = tree.get("model") or {}
    name = model.get("name", ModelParams().name) if isinstance(model, Mapping) else ""
    return name if isinstance(name, str) else ""


def _overridden(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    changed: dict[str, Any] = copy.deepcopy(dict(tree))
    for override in overrides:
        _apply(changed, override)
    return changed


def _merged(tree: Mapping[str, Any], recipe: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`tree` with the keys of the recipe's sections in place of its own; what holds no keys stays, to be refused."""
    own = {name: tree.get(name) or {} for name in recipe}
    return {**tree, **{name: {**own[name], **recipe[name]} for name in recipe if isinstance(own[name], Mapping)}}


def _check_recipes(tree: Mapping[str, Any], recipes: Any, problems: list[str]) -> None:
    """What is wrong with a recipe, of whatever network, and not with the sections themselves, goes to `problems`."""
    if not isinstance(recipes, Mapping):
        problems.append(f"{RECIPES}: is {recipes!r}, expected names of networks and their sections below it")
        return
    # whether its crops fit into this data is asked of the chosen one alone
    tree, own = {**tree, "data": {"crop": sys.maxsize}}, list[str]()
    _build(Params, tree, "", own)
    for name, recipe in recipes.items():
        where, wrong = f"{RECIPES}.{name}", []
        if name not in NETWORKS:
            near = difflib.get_close_matches(str(name), NETWORKS, n=1)
            expected = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(NETWORKS)}"
            wrong.append(f"{where}: no such network; {expected}")
        for section, values in recipe.items() if isinstance(recipe, Mapping) else [("", None)]:
            if section not in IN_RECIPES or not isinstance(values, Mapping):
                wrong.append(f"{where}.{section}".rstrip(".") + f": expected the sections {', '.join(IN_RECIPES)}")
        if not wrong and recipe:
            found: list[str] = []
            _build(Params, _merged(tree, recipe), "", found)
            wrong = [f"{where}.{line}" for line in found if line not in own]
        problems.extend(wrong)


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key stands once: PyYAML would take the last and forget the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value}: stands twice", key.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(text: str) -> Any:
    return yaml.load(text, _UniqueKeys)  # a SafeLoader


def from_dict(tree: Mapping[str, Any], *, where: str = "params") -> Params:
    """`tree` as typed parameters; `where` is named in the error."""
    problems: list[str] = []
    params = _build(Params, tree, "", problems)
    if problems:
        raise ConfigError(f"{where}: {len(problems)} wrong:{listed(problems)}")
    assert isinstance(params, Params)
    return params


def _apply(tree: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"--set {override}: expected key=value, such as train.steps=100")
    *sections, last = names = dotted.strip().split(".")
    for section in sections:
        below = tree.setdefault(section, {})
        if not isinstance(below, dict):
            raise ConfigError(f"--set {override}: {section} is a value and holds no keys")
        tree = below
    try:
        tree[last] = _read_yaml(text)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"--set {override}: {text!r} is not a YAML value") from None
    if isinstance(tree[last], str) and not _takes_text(names):
        # a shell user's 1e-4 has no file in which the dot could be forgotten by the next reader
        with_number = _number(tree[last])
        tree[last] = tree[last] if with_number is None else with_number


def _takes_text(names: Sequence[str]) -> bool:
    """Whether the key at this path holds text, so that `1e3` may be the name of a folder."""
    kind: Any = Params
    for name in names:
        kind = typing.get_type_hints(kind).get(name) if dataclasses.is_dataclass(kind) else None
    return kind in (str, str | None)


def _number(text: str) -> float | None:
    """The finite number that `text` spells, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _build(kind: type, tree: Any, prefix: str, problems: list[str]) -> Any:
    """A `kind` from `tree`; what is wrong goes to `problems` under its dotted key."""
    if not isinstance(tree, Mapping):
        problems.append(f"{prefix.rstrip('.')}: is {tree!r}, expected keys below it")
        return None
    hints = typing.get_type_hints(kind)
    values, wrong = {}, set()
    for key, item in tree.items():
        before = len(problems)
        if key not in hints:
            problems.append(f"{prefix}{key}: no such key{_nearest(str(key), hints)}")
        elif dataclasses.is_dataclass(hints[key]):
            values[key] = _build(typing.cast(type, hints[key]), item, f"{prefix}{key}.", problems)
        else:
            values[key] = _check(hints[key], item, f"{prefix}{key}", problems)
        if len(problems) > before:
            wrong.add(key)
    # what is right is checked for its range beside what is wrong, in whose place the default stands
    built = kind(**{key: value for key, value in values.items() if key not in wrong})
    if hasattr(built, "problems"):
        given = [(key, text) for key, text in built.problems() if key in tree and key not in wrong]
        problems.extend(f"{prefix}{key}: {text}" for key, text in (given if wrong else built.problems()))
    return built


def _nearest(key: str, names: Mapping[str, Any]) -> str:
    elsewhere = [dotted for dotted in _dotted_keys(Params) if dotted.endswith(f".{key}")]
    near = elsewhere or difflib.get_close_matches(key, list(names), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(names)}"


def _dotted_keys(kind: Any, prefix: str = "") -> Iterator[str]:
    """Every key of params.yaml, such as train.steps."""
    for key, hint in typing.get_type_hints(kind).items():
        yield prefix + key
        if dataclasses.is_dataclass(hint):
            yield from _dotted_keys(hint, f"{prefix}{key}.")


def _check(hint: Any, value: Any, key: str, problems: list[str]) -> Any:
    """`value` as `hint`'s type, or a line in `problems`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        if value is None and type(None) in arguments:
            return None
        return _check(next(kind for kind in arguments if kind is not type(None)), value, key, problems)
    if origin is Literal:
        if value not in arguments:
            problems.append(f"{key}: is {value!r}, expected {' or '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        return _check_tuple(arguments, value, key, problems)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = Mapping if origin is not None else hint
    if not isinstance(value, expected) or (isinstance(value, bool) and hint is not bool):
        problems.append(f"{key}: is {value!r}, expected {_kind_name(hint)}{_hint_for_text(hint, value)}")
    return value


def _check_tuple(arguments: tuple[Any, ...], value: Any, key: str, problems: list[str]) -> Any:
    if not isinstance(value, list | tuple):
        problems.append(f"{key}: is {value!r}, expected a list")
        return ()
    if arguments[-1] is not Ellipsis and len(value) != len(arguments):
        problems.append(f"{key}: has {len(value)} items, expected {len(arguments)}")
        return ()
    return tuple(_check(arguments[0], item, f"{key}[{i}]", problems) for i, item in enumerate(value))


def _kind_name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(hint, "keys below it")


def _hint_for_text(hint: Any, value: Any) -> str:
    number = _number(value) if isinstance(value, str) and hint in {int, float} else None
    if number is None or (hint is int and not number.is_integer()):
        return ""
    exact = repr(number).replace("e", ".0e") if "." not in repr(number) else repr(number)
    return f": YAML reads {value} as text; write {exact if hint is float else int(number)}"
