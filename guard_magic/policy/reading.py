"""Policies read from what people have: a name, a mapping, a table, a YAML or JSON file.

Nothing is guessed and nothing is dropped: a hazard that got lost on the way would never be found. So a value
that is not text, a key that stands twice, or a word that has no place here is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import yaml  # type: ignore[import-untyped] # its stubs are a package of their own

from guard_magic.checks import is_missing
from guard_magic.errors import PolicyError, shorten
from guard_magic.policy.taxonomies import BUILT_IN
from guard_magic.policy.values import Category, Policy

__all__ = ["MAX_FILE_BYTES", "as_policy", "is_policy_file"]

MAX_FILE_BYTES = 256 * 1024
"""Size up to which a policy file is read."""

_SUFFIXES = (".yaml", ".yml", ".json")
_CUSTOM = "custom"
_QUOTES = "Put it in quotes."
_FORMS = "Write {code: name}, {code: {name, description}}, or {name, hazards: {…}}."


def as_policy(value: object) -> Policy:
    """Read a policy.

    Hazards of one's own are zero-shot: they work less well than those a guard was trained on (Meta says so of
    Llama Guard). Measure them before you rely on them.

    Parameters
    ----------
    value
        - a `Policy`, or a list of `Category`;
        - the name of a built-in one (``"llama-guard-3"``, ``"shieldgemma"``, …: `BUILT_IN`);
        - a mapping ``{code: name}``, ``{code: {"name": …, "description": …, "distressing": True}}`` (the last two if
          wanted), or ``{"name": …, "hazards": {…}}`` with either of these inside;
        - a DataFrame with the columns ``code``, ``name`` and, if wanted, ``description`` and ``distressing``
          (NA: none);
        - the path of a YAML or JSON file (``.yaml``, ``.yml``, ``.json``; UTF-8, at most 256 kB) that holds
          such a mapping; the policy is called after the file unless it says its name.

    Raises
    ------
    PolicyError
        For an unknown name, a value of another kind, a value that is not text, a code that stands twice, or a
        file that cannot be read, with the reason.
    """
    if isinstance(value, Policy):
        return value
    if isinstance(value, Mapping):
        return _read_mapping(value, _CUSTOM)
    if isinstance(value, pd.DataFrame):
        return _read_frame(value)
    if isinstance(value, list | tuple) and all(isinstance(category, Category) for category in value):
        return Policy(_CUSTOM, tuple(value))
    if isinstance(value, str) and value in BUILT_IN:
        return BUILT_IN[value]
    if is_policy_file(value):
        return _read_file(Path(str(value)))
    raise PolicyError(
        f"no policy {shorten(value)}",
        hint=f"Built in: {', '.join(BUILT_IN)}. Or pass {{code: name}}, a table, a .yaml or .json file, or a Policy.",
    )


def is_policy_file(value: object) -> bool:
    """Say whether `value` is a path (str or Path) that ends as policy files do; it need not exist."""
    return isinstance(value, str | Path) and str(value).lower().endswith(_SUFFIXES)


def _read_mapping(value: Mapping[object, object], name: str) -> Policy:
    if "hazards" in value:
        _refuse_others(value, ("name", "hazards"), "a policy")
        hazards = value["hazards"]
        if not isinstance(hazards, Mapping):
            raise PolicyError(f"the hazards of a policy are {shorten(hazards)}, which is not a mapping", hint=_FORMS)
        return Policy(_text(value.get("name", name), "the name of the policy"), _categories(hazards))
    if "name" in value:
        raise PolicyError(
            f"there is a name, {shorten(value['name'])}, and no hazards", hint="Put the hazards below a key 'hazards'."
        )
    return Policy(name, _categories(value))


def _categories(hazards: Mapping[object, object]) -> tuple[Category, ...]:
    return tuple(_category(code, said) for code, said in hazards.items())


def _category(code: object, said: object) -> Category:
    code = _text(code, "a hazard code")
    if not isinstance(said, Mapping):
        return Category(code, _text(said, f"the name of hazard {shorten(code)}"))
    _refuse_others(said, ("name", "description", "distressing"), f"hazard {shorten(code)}")
    if "name" not in said:
        raise PolicyError(f"hazard {shorten(code)} has no name", hint=_FORMS)
    name = _text(said["name"], f"the name of hazard {shorten(code)}")
    description, distressing = said.get("description"), said.get("distressing")
    told = "" if is_missing(description) else _text(description, f"the description of hazard {shorten(code)}")
    return Category(code, name, told, False if is_missing(distressing) else _truth(distressing))


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise PolicyError(
            f"{what} is {shorten(value)} ({type(value).__name__}), which is not text",
            hint=f"{_QUOTES} YAML reads no, on and 1 as other than text.",
        )
    return value


def _truth(value: object) -> bool:
    """Return a truth value of a table as Python's own; anything else goes to `Category`, which refuses it."""
    return bool(value) if type(value).__name__ in ("bool", "bool_") else value  # type: ignore[return-value]


def _refuse_others(value: Mapping[object, object], known: tuple[str, ...], where: str) -> None:
    others = [key for key in value if key not in known]
    if others:
        raise PolicyError(f"{where} has an unknown key {shorten(others[0])}", hint=f"Known: {', '.join(known)}.")


def _read_frame(frame: pd.DataFrame) -> Policy:
    columns = list(frame.columns)
    names = sorted(map(str, columns))
    known = {"code", "name", "description", "distressing"}
    if len(set(names)) < len(names) or not {"code", "name"} <= set(names) <= known:
        raise PolicyError(
            f"a table with the columns {shorten(columns)} is not a policy",
            hint='It needs code and name, and may have description and distressing: pass df[["code", "name"]].',
        )
    found = []
    for position, row in enumerate(frame.to_dict(orient="records")):
        where = f"in row {position} of the table"
        category = {"name": _text(row["name"], f"the name {where}")}
        category |= {name: row[name] for name in ("description", "distressing") if name in row}
        found.append(_category(_text(row["code"], f"the code {where}"), category))
    return Policy(_CUSTOM, tuple(found))


def _read_file(path: Path) -> Policy:
    try:
        text = _file_text(path)
        value = _parse_json(text) if path.suffix.lower() == ".json" else _parse_yaml(text)
        if not isinstance(value, Mapping):
            raise PolicyError(f"it holds {shorten(value)}, which is not a mapping", hint=_FORMS)
        return _read_mapping(value, path.stem)
    except PolicyError as error:
        raise PolicyError(f"policy file {shorten(str(path))}: {error.message}", hint=error.hint) from None


def _file_text(path: Path) -> str:
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PolicyError(f"it cannot be read: {reason}", hint="Check the path.") from None
    if len(content) > MAX_FILE_BYTES:
        raise PolicyError(f"it is longer than {MAX_FILE_BYTES:,} bytes", hint="A policy is a short text.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PolicyError(f"it is not UTF-8 text ({error.reason})", hint="Save it as UTF-8.") from None


def _parse_json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except PolicyError:
        raise
    except RecursionError:
        raise PolicyError("it is nested too deeply", hint=_FORMS) from None
    except ValueError as error:
        raise PolicyError(f"it is not JSON: {error}", hint=_FORMS) from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise _twice(key)
        found[key] = value
    return found


class _NoAliases(yaml.SafeLoader):  # type: ignore[misc] # untyped
    """Refuses aliases: a few lines of them stand for more hazards than fit into memory."""

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            alias = shorten(f"*{self.peek_event().anchor}")
            raise PolicyError(f"it has an alias {alias}, which is not read", hint="Write the hazards out.")
        return super().compose_node(parent, index)


def _parse_yaml(text: str) -> object:
    try:
        _refuse_repeated_keys(yaml.compose(text, Loader=_NoAliases))
        return yaml.safe_load(text)
    except PolicyError:
        raise
    except RecursionError:
        raise PolicyError("it is nested too deeply", hint=_FORMS) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-99-99
        raise PolicyError(f"it is not YAML: {_yaml_reason(error)}", hint=_FORMS) from None


def _yaml_reason(error: Exception) -> str:
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem is None:
        return " ".join(str(error).split())
    return str(problem) if mark is None else f"{problem}, line {mark.line + 1}"


def _refuse_repeated_keys(root: yaml.Node | None) -> None:
    """Refuse what PyYAML drops in silence: all but the last of equal keys, and what a merge key overrides."""
    rest: list[yaml.Node | None] = [root]
    known: set[int] = set()
    while rest:
        node = rest.pop()
        if id(node) in known:
            continue
        known.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            rest.extend(node.value)
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for i, key in enumerate(keys):
                if key in keys[:i]:
                    raise _twice(key)
            if "<<" in keys:
                raise PolicyError("it has a merge key '<<', which is not read", hint="Write the hazards out.")
            rest.extend(value for _, value in node.value)


def _twice(key: str) -> PolicyError:
    return PolicyError(f"it has {shorten(key)} twice", hint="Each code and each key may stand once.")
