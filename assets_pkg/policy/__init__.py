"""Loading a policy: the default file, a partial file laid over it, validation with messages that help."""

from collections.abc import Hashable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from assets_pkg.policy.model import FeedPolicy, Policy

if TYPE_CHECKING:
    from yaml import SafeLoader
else:  # the same in C is ten times as fast, where PyYAML was built with it
    SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

__all__ = ["FeedPolicy", "Policy", "PolicyError", "load_policy"]


class PolicyError(ValueError):
    """A policy file that cannot be used; the message names the file and every key at fault."""


def load_policy(path: Path | None = None, overlay: dict[str, Any] | None = None) -> Policy:
    """The default policy, with the file at `path` and then `overlay` (for tests and previews) laid over it.

    Raises PolicyError for a file that cannot be read, is no YAML map, or fails validation.
    """
    default = files(__package__).joinpath("default.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.load(default, SafeLoader)  # noqa: S506
    source = "default policy"
    if path is not None:
        source = f"policy file {path}"
        content = _laid_over(content, _read(path))
    try:
        return Policy.model_validate(_laid_over(content, overlay or {}))
    except ValidationError as error:
        faults = "\n".join(f"  {_where(fault['loc'])}: {_what(fault)}" for fault in error.errors())
        raise PolicyError(f"{source} cannot be used:\n{faults}") from None


class _UniqueKeys(SafeLoader):
    """YAML in which a key stands once: of two, one would be ignored in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy file {path} cannot be read: {error}. Check PIPELINE_POLICY.") from error
    except yaml.YAMLError as error:
        raise PolicyError(f"policy file {path} is no valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise PolicyError(f"policy file {path} must hold a map of settings, not a {type(content).__name__}")
    return content


def _laid_over(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overlay.items():
        below = merged.get(key)
        merged[key] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _where(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc) or "(top level)"


def _what(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "unknown key; see assets_pkg/policy/default.yaml for the keys there are"
    value = fault.get("input")
    shown = "" if isinstance(value, dict) else f" (is {value!r})"
    return f"{fault['msg'].removeprefix('Value error, ')}{shown}"
