"""Fonts for labels: letters of every script that a font on this machine has, and one warning for those it lacks.

ASCII is drawn in Pillow's own font. All else is drawn in DejaVu Sans, which comes with matplotlib and has Latin,
Cyrillic, Greek and more; or in the font file that `$SINGLESHOT_FONT` names (the option `--font` sets it), which comes
first for every text.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import ImageFont

from singleshot.errors import UsageError
from singleshot.storage.files import opened

VARIABLE = "SINGLESHOT_FONT"

log = logging.getLogger(__name__)
_warned = threading.Event()


def use(file: Path | None) -> None:
    """Draw every text in a font file from now on, also in processes started later; None leaves it as it is.

    Raises UsageError for a file that is not a font.
    """
    if file is not None:
        _load(str(file), 12)
        os.environ[VARIABLE] = str(file.resolve())


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Return the first font that has every letter of a text, or else the one that lacks fewest, after one warning.

    Raises UsageError where `$SINGLESHOT_FONT` does not name a font.
    """
    return _font_for(text, size, os.environ.get(VARIABLE) or None)


@functools.lru_cache(8192)  # labels recur in a video
def _font_for(text: str, size: int, named: str | None) -> ImageFont.FreeTypeFont:
    if named is None and text.isascii():
        return built_in(size)
    files = [file for file in (named, _dejavu()) if file is not None]
    lacking = {file: frozenset(text) - _letters(file) - {" "} for file in files}
    if not lacking:
        _warn("no font with letters outside ASCII is installed")
        return built_in(size)
    best = min(files, key=lambda file: len(lacking[file]))
    if lacking[best]:
        _warn(f"the font {Path(best).name} has no {''.join(sorted(lacking[best]))[:20]}")
    return _load(best, size)


@contextlib.contextmanager
def in_charts(texts: Iterable[str]) -> Iterator[None]:
    """Let matplotlib draw in the same fonts while a chart is made and saved; the named one first, then DejaVu Sans.

    Args:
        texts: what the chart shows, such as class names: letters that no font has give the one warning.

    Raises UsageError where `$SINGLESHOT_FONT` does not name a font.
    """
    from matplotlib import font_manager, rc_context

    families = ["DejaVu Sans"]
    named = os.environ.get(VARIABLE)
    if named:
        _load(named, 12)
        font_manager.fontManager.addfont(named)
        families.insert(0, font_manager.FontProperties(fname=named).get_name())
    for text in texts:
        font_for(text, 12)
    with rc_context({"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # said above, once
        warnings.filterwarnings("ignore", message="Creating legend with loc")  # on a slow machine
        yield


@functools.cache
def built_in(size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font, for ASCII."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise UsageError("this Pillow was built without FreeType", remedy="pip install --force-reinstall pillow")
    return font


@functools.cache
def _dejavu() -> str | None:
    """Return DejaVu Sans of matplotlib's package data; None where matplotlib is not installed. Does not import it."""
    spec = importlib.util.find_spec("matplotlib")
    for folder in () if spec is None else spec.submodule_search_locations or ():
        file = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if file.is_file():
            return str(file)
    return None


@functools.cache
def _load(file: str, size: int) -> ImageFont.FreeTypeFont:
    opened(Path(file)).close()
    try:
        return ImageFont.truetype(file, size)
    except OSError as error:
        raise UsageError(
            "not a font", remedy=f"Name a .ttf or .otf file with --font or {VARIABLE}", file=file
        ) from error


@functools.cache
def _letters(file: str) -> frozenset[str]:
    _load(file, 12)
    from matplotlib.ft2font import FT2Font  # outside ASCII alone: it takes a tenth of a second

    return frozenset(map(chr, FT2Font(file).get_charmap()))


def _warn(message: str) -> None:
    """Warn, but once a process: about the first text that no font has all letters of."""
    if not _warned.is_set():
        _warned.set()
        log.warning("%s: such letters are drawn as boxes. Name a font file with --font or %s", message, VARIABLE)
