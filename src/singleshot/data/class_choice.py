"""The classes that a user wants of a data set: some of them, in an order, under other names, several as one.

    --classes person,car                 these two alone, with the ids 0 and 1; objects of others are not read
    --rename automobile=car --rename lorry=car      both are `car`

Names are those of the data set; `--classes` names what comes out. Images that are left without objects stay, as
background. The choice is recorded with the run (`split.json`), and `evaluate` and `--resume` apply it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from singleshot.data.boxes.class_names import unknown_class
from singleshot.data.faults import make_fault
from singleshot.errors import UsageError, nearest
from singleshot.structures import UNKNOWN, VOID, Dataset, LabelMap, MaskCode, Sample


@dataclass(frozen=True)
class ClassChoice:
    """Which classes are read, and as what.

    Args:
        classes: the names that come out, in their order; empty for all.
        rename: by a name of the data set, its new name.
        strict: whether a name that the data set does not have is an error. A run's own choice is not: another folder
            may lack some of its classes.
    """

    classes: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    strict: bool = True

    def __bool__(self) -> bool:
        return bool(self.classes or self.rename)

    def check(self, there: Sequence[str]) -> None:
        """Raise UsageError for a name that is none of a data set's own classes, with the nearest."""
        check_names(self.rename, there, "--rename")
        check_names(self.classes, [self.rename.get(name, name) for name in there], "--classes")


def parse(classes: str | None, rename: Sequence[str] | None) -> ClassChoice:
    """Return the choice of the command line. Raises UsageError for an empty or repeated name, or no `old=new`.

    >>> parse("cat, dog", ["puss=cat"])
    ClassChoice(classes=('cat', 'dog'), rename={'puss': 'cat'}, strict=True)
    """
    names = () if classes is None else tuple(name.strip() for name in classes.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise UsageError(f"--classes {classes!r} has an empty name or one twice", remedy="Write cat,dog")
    pairs: dict[str, str] = {}
    for text in rename or ():
        old, equals, new = (part.strip() for part in text.partition("="))
        if not equals or not old or not new or old in pairs:
            message = f"--rename {text!r} " + ("renames a class twice" if old in pairs else "is not old=new")
            raise UsageError(message, remedy="Write --rename puss=cat")
        pairs[old] = new
    return ClassChoice(names, pairs)


def apply(dataset: Dataset, choice: ClassChoice, label_map: LabelMap | None = None) -> Dataset:
    """Return a data set with the classes that were chosen.

    Args:
        dataset: as it was read, with all its own classes.
        choice: the classes.
        label_map: the classes and ids that shall come out, such as those of a model; None for those of the choice.

    Returns:
        The data set with new ids. Objects of classes that were not chosen are counted in a note (`filled-field`); in
        masks their pixels are void. Where nothing was chosen, a class that `label_map` does not have is a fault
        (`unknown-class`) with its number of objects. Whether there are all the names of the choice is not looked at: a
        split's own file may lack some.
    """
    own = dataset.label_map.names
    names = tuple(choice.rename.get(name, name) for name in own)
    wanted = choice.classes or tuple(dict.fromkeys(names))
    target = label_map or LabelMap(wanted)
    is_chosen = [not choice.classes or name in choice.classes for name in names]
    ids = {name: class_id for class_id, name in enumerate(target.names)}
    new_ids = np.array([ids.get(name, -1) if chosen else -1 for name, chosen in zip(names, is_chosen, strict=True)])
    first = {name: index for index, name in reversed(list(enumerate(names)))}
    faults = [fault for fault in dataset.faults if not (choice.rename and fault.kind == "class-variants")]
    if dataset.mask_code is not None:
        code = _code(dataset.mask_code, new_ids)
        rows = dataset.colours
        colours = tuple(rows[first[name]] for name in target.names) if rows and set(target.names) <= set(first) else ()
        return replace(dataset, label_map=target, mask_code=code, colours=colours)
    left_out: Counter[str] = Counter()
    samples = tuple(_sample(sample, new_ids, own, left_out) for sample in dataset.samples)
    unchosen = sum(left_out[name] for name, chosen in zip(own, is_chosen, strict=True) if not chosen)
    if unchosen:
        message = f"{unchosen} objects of classes that were not chosen are not read"
        faults.append(make_fault("filled-field", message, dataset.root))
    for old, name, chosen in zip(own, names, is_chosen, strict=True):
        if chosen and left_out[old]:
            message = f"{unknown_class(name, target.names)} ({left_out[old]} objects)"
            faults.append(make_fault("unknown-class", message, dataset.root))
    category_ids: tuple[int | None, ...] = ()
    if dataset.category_ids:
        category_ids = tuple(dataset.category_ids[first[name]] if name in first else None for name in target.names)
    return replace(
        dataset,
        label_map=target,
        samples=samples,
        faults=tuple(faults),
        category_ids=category_ids,
    )


def check_names(names: Iterable[str], there: Sequence[str], option: str) -> None:
    """Raise UsageError where one of the names that an option gives is not there, with the nearest."""
    for name in names:
        if name not in there:
            near = nearest(name, there)
            remedy = f"Did you mean {near}?" if near else f"There are: {', '.join(there)}"
            raise UsageError(f"{option}: no class {name!r}", remedy=remedy)


def _sample(sample: Sample, new_ids: np.ndarray, own: Sequence[str], left_out: Counter[str]) -> Sample:
    """Return a sample with new ids, without the objects that have none; they are counted by their own names."""
    if not len(sample.class_ids):
        return sample
    ids = new_ids[sample.class_ids]
    kept = ids >= 0
    if not kept.all():
        for class_id in map(int, sample.class_ids[~kept]):
            left_out[own[class_id]] += 1
    return replace(
        sample,
        boxes_xyxy=sample.boxes_xyxy[kept],
        class_ids=ids[kept],
        difficult=sample.difficult[kept],
        crowd=None if sample.crowd is None else sample.crowd[kept],
        areas=None if sample.areas is None else sample.areas[kept],
        box_places=None if sample.box_places is None else sample.box_places[kept],
    )


def _code(code: MaskCode, new_ids: np.ndarray) -> MaskCode:
    """Return the code of the masks with new ids; classes without one are void."""

    def new(value: int) -> int:
        if value in (VOID, UNKNOWN):
            return value
        return int(new_ids[value]) if new_ids[value] >= 0 else VOID

    colours = tuple((red, green, blue, new(value)) for red, green, blue, value in code.colours)
    return replace(code, values=tuple(map(new, code.values)), colours=colours)
