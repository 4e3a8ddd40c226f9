"""`data.yaml`, the description of a YOLO data set, read with the line of every value and without running anything.

YAML can build Python objects, and nine lines of aliases can expand to a billion values. Its events are checked first:
tags, aliases and depth are refused before anything is built. Class names are taken as written: YAML itself would read
the class `no` as False.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from singleshot.data.faults import make_fault
from singleshot.errors import ConfigError, DataError, Fault
from singleshot.storage.files import file_bytes

MAX_BYTES = 2**20
MAX_DEPTH = 8
SPLITS = ("train", "val", "test")
ALIASES = {"valid": "val", "validation": "val"}
"""Keys that other tools write for a split."""
KNOWN = (*SPLITS, "names", "nc", "path", "download", "roboflow", "kpt_shape", "flip_idx", "channels", "minival")


@dataclass(frozen=True)
class Description:
    """The content of a `data.yaml`.

    Args:
        file: the file.
        base: the folder that `train`, `val` and `test` are relative to, as text; "" for the file's own.
        splits: by name, the folders or lists of images, as text.
        lines: by split, its line.
        names: the classes in the order of their ids.
        faults: warnings about keys that mean nothing here.
        keypoint_numbers: numbers that follow the box in every line of a data set of poses (`kpt_shape: [17, 3]` makes
            51); None for boxes and outlines.
        folder: the data set's folder, where it is not that of the file.
    """

    file: Path
    base: str
    splits: dict[str, tuple[str, ...]]
    lines: dict[str, int]
    names: tuple[str, ...]
    faults: tuple[Fault, ...]
    keypoint_numbers: int | None = None
    folder: Path | None = None

    @property
    def top(self) -> Path:
        """The data set's folder."""
        return self.folder or self.file.parent


def read(file: Path) -> Description:
    """Read the description in a file.

    Raises ConfigError, with file and line: not YAML, a tag or an alias in it, a value of the wrong kind, a key that
    occurs twice or looks like a misspelling, no `names`, or an `nc` that is not their number. Raises what
    `files.file_bytes` raises.
    """
    try:
        text = file_bytes(file, MAX_BYTES, kind="too-large-yaml").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("not UTF-8 text", remedy="Save it as UTF-8", file=file) from error
    except DataError as error:
        raise ConfigError(error.message, remedy=error.remedy, file=file) from error
    values = _top(text, file)
    faults = []
    for alias, name in ALIASES.items():
        if alias in values and name not in values:
            message = f"the key {alias!r} is taken for {name!r}"
            faults.append(make_fault("unknown-key", message, file, _line(values[alias])))
            values[name] = values.pop(alias)
    for key, node in values.items():
        if key not in KNOWN:
            if near := difflib.get_close_matches(key, KNOWN[:6], n=1, cutoff=0.65):
                raise _error(f"unknown key {key!r}", f"Did you mean {near[0]}?", file, node)
            message = f"the key {key!r} means nothing here; it is ignored"
            faults.append(make_fault("unknown-key", message, file, _line(node)))
    named = {name: values[name] for name in SPLITS if name in values and not _is_empty(values[name])}
    splits = {name: _texts(node, name, file) for name, node in named.items()}
    lines = {name: _line(values[name]) for name in splits}
    base = _texts(values["path"], "path", file) if "path" in values and not _is_empty(values["path"]) else ("",)
    if len(base) != 1:
        raise _error("path is a list of folders", "Name the one that train and val lie in", file, values["path"])
    keypoints = _keypoint_numbers(values["kpt_shape"], file) if "kpt_shape" in values else None
    return Description(file, base[0], splits, lines, _names(values, file), tuple(faults), keypoints)


def _top(text: str, file: Path) -> dict[str, yaml.Node]:
    """Return the outermost mapping's nodes by key."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            tag = getattr(event, "tag", None)
            if isinstance(event, yaml.AliasEvent):
                raise _error("an alias (*name) is not allowed", "Write the value itself", file, event)
            if tag is not None and (not tag.startswith("tag:yaml.org,2002:") or "python" in tag):
                raise _error(f"the tag {tag[:60]!r} is not allowed", "Write plain values", file, event)
            if depth > MAX_DEPTH:
                raise _error(f"nested more than {MAX_DEPTH} deep", "Write plain values", file, event)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"not well-formed YAML: {error.problem or error.context}"
        line = None if mark is None else mark.line + 1
        raise ConfigError(message, remedy="Mend the file", file=file, line=line) from error
    except (yaml.YAMLError, ValueError) as error:  # a character that YAML does not allow
        message = f"not well-formed YAML: {' '.join(str(error).split())}"
        raise ConfigError(message, remedy="Mend the file", file=file, line=1) from error
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError("not a table of keys", remedy="Write names, train and val", file=file, line=1)
    values: dict[str, yaml.Node] = {}
    for key, node in root.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _error("a key is a list or a table", "Write plain keys", file, key)
        if key.value in values:
            raise _error(f"the key {key.value!r} occurs twice", "Keep one", file, key)
        values[str(key.value)] = node
    return values


def _texts(node: yaml.Node, key: str, file: Path) -> tuple[str, ...]:
    """Return the values of a text, or of a list of texts."""
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not all(isinstance(each, yaml.ScalarNode) and each.value.strip() and "\0" not in each.value for each in nodes):
        raise _error(f"{key} is not a path or a list of paths", "Name a folder of images", file, node)
    return tuple(each.value for each in nodes)


def _names(values: dict[str, yaml.Node], file: Path) -> tuple[str, ...]:
    node = values.get("names")
    if node is None:
        raise ConfigError("no class names", remedy="Add names: [first, second]", file=file, line=1)
    if isinstance(node, yaml.SequenceNode):
        items = [(str(index), item) for index, item in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode):
        items = [(key.value, item) for key, item in node.value]
    else:
        raise _error("names is neither a list nor a table", "Write names: [first, second]", file, node)
    found: dict[int, str] = {}
    for number, item in items:
        if not (isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 7):
            raise _error("a class id in names is not a whole number", "Number the classes from 0", file, item)
        if not isinstance(item, yaml.ScalarNode) or not item.value.strip() or not item.value.isprintable():
            raise _error(f"the name of class {number} is not a text", "Give every class a name", file, item)
        name = item.value.strip()
        if int(number) in found or name in found.values():
            raise _error(f"class {number} {name!r} occurs twice", "Give every class one id and one name", file, item)
        found[int(number)] = name
    if sorted(found) != list(range(len(found))) or not found:
        raise _error("the class ids in names are not 0, 1, 2 …", "Number the classes without gaps", file, node)
    count = values.get("nc")
    if count is not None and not (isinstance(count, yaml.ScalarNode) and count.value == str(len(found))):
        raise _error(f"nc is not {len(found)}, the count of names", "Correct nc or names", file, count)
    return tuple(found[class_id] for class_id in range(len(found)))


def _keypoint_numbers(node: yaml.Node, file: Path) -> int | None:
    if isinstance(node, yaml.ScalarNode) and _is_empty(node):
        return None
    texts = _texts(node, "kpt_shape", file)
    if len(texts) != 2 or not all(text.isascii() and text.isdigit() and len(text) < 5 for text in texts):
        raise _error("kpt_shape is not [points, numbers a point]", "Write for example [17, 3]", file, node)
    return int(texts[0]) * int(texts[1])


def _is_empty(node: yaml.Node) -> bool:
    """Return whether a key has no value, or an empty list."""
    if isinstance(node, yaml.SequenceNode):
        return not node.value
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _error(message: str, remedy: str, file: Path, at: Any) -> ConfigError:
    return ConfigError(message, remedy=remedy, file=file, line=at.start_mark.line + 1)
