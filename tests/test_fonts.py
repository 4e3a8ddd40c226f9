from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from singleshot import fonts
from singleshot.data.stats import draw_stats, measure
from singleshot.drawing import caption, draw, draw_boxes
from singleshot.errors import InputMissingError, UsageError
from singleshot.structures import Dataset, LabelMap, Sample, Segmentation

DEJAVU = fonts._dejavu()


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """No font is named, and no warning was given."""
    monkeypatch.delenv(fonts.VARIABLE, raising=False)
    fonts._warned.clear()
    fonts._font_for.cache_clear()


def labelled(label: str) -> np.ndarray:
    image = np.full((240, 320, 3), 90, np.uint8)
    return draw_boxes(image, np.array([[40.0, 80, 280, 200]]), [label], np.array([[200, 30, 30]], np.uint8))


@pytest.mark.parametrize(
    ("name", "other"), [("Пешеход", "Автобус"), ("Ελλάδα", "Τροχός"), ("Bürgersteig", "Bärgersteig"), ("Łódź", "Łodz")]
)
def test_names_in_latin_cyrillic_and_greek_are_drawn_in_letters(
    name: str, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    for drawn in (labelled, lambda text: caption(text, 200)):
        one, two = drawn(f"{name} 0.50"), drawn(f"{other} 0.50")
        assert one.shape != two.shape or np.abs(one.astype(int) - two).max() > 30
    assert not caplog.records


def test_a_legend_of_masks_has_letters_outside_ascii_too() -> None:
    ids, image = np.zeros((240, 320), np.uint8), np.full((240, 320, 3), 90, np.uint8)
    colours = np.array([[200, 30, 30]], np.uint8)
    one, two = (draw(image, Segmentation(ids, (name,), colours)) for name in ("Пешеход", "Автобус"))
    assert np.abs(one.astype(int) - two).max() > 30


def test_ascii_is_drawn_in_pillows_own_font() -> None:
    assert fonts.font_for("car 0.50", 12) is fonts.built_in(12) and fonts.font_for("", 12) is fonts.built_in(12)


def test_a_script_without_letters_in_any_font_gives_one_warning_that_names_the_option(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        for text in ("汽车 0.50", "行人 0.50", "汽车 0.50"):
            labelled(text)
    (record,) = caplog.records
    message = record.getMessage()
    assert "DejaVuSans.ttf has no" in message and "--font" in message and fonts.VARIABLE in message


def test_a_named_font_comes_first_for_every_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DEJAVU is not None
    named = Path(DEJAVU).resolve().with_name("DejaVuSerif.ttf")
    monkeypatch.setenv(fonts.VARIABLE, "")
    fonts.use(named)
    assert os.environ[fonts.VARIABLE] == str(named)
    for text in ("car", "Пешеход"):
        assert fonts.font_for(text, 12).getname() == ("DejaVu Serif", "Book")
    assert isinstance(fonts.font_for("car", 12), ImageFont.FreeTypeFont)


def test_a_named_file_that_is_missing_or_no_font_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="no such file"):
        fonts.use(tmp_path / "none.ttf")
    (tmp_path / "text.ttf").write_text("no font")
    with pytest.raises(UsageError, match=r"not a font\. Name a \.ttf"):
        fonts.use(tmp_path / "text.ttf")
    fonts.use(None)
    assert fonts.VARIABLE not in os.environ


CYRILLIC, HAN = "Пешеход", "汽车"


@pytest.mark.parametrize("name", [CYRILLIC, "Τροχός", "Fußgänger"])
def test_charts_draw_class_names_in_letters_without_a_warning(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fonts._warned.clear()
    assert chart(tmp_path / "a.png", name) != chart(tmp_path / "b.png", name[::-1])
    assert caplog.messages == []


def test_a_chart_of_a_script_without_letters_gives_our_one_warning_and_not_matplotlibs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fonts._warned.clear()
    chart(tmp_path / "a.png", HAN)
    chart(tmp_path / "b.png", HAN)
    assert len(caplog.messages) == 1 and "--font" in caplog.messages[0]


def test_a_named_font_comes_first_in_charts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = chart(tmp_path / "a.png", "cat")
    monkeypatch.setenv(fonts.VARIABLE, str(Path(fonts._dejavu() or "").with_name("DejaVuSerif.ttf")))
    assert chart(tmp_path / "b.png", "cat") != own
    monkeypatch.setenv(fonts.VARIABLE, str(tmp_path / "a.png"))
    with pytest.raises(UsageError, match="not a font"):
        chart(tmp_path / "c.png", "cat")


def chart(path: Path, name: str) -> bytes:
    """The plots of a split with one object of one class."""
    one, box = np.zeros(1, np.int64), np.array([[1.0, 2.0, 30.0, 20.0]])
    sample = Sample("a", Path("a.jpg"), (40, 60), box, one, np.zeros(1, np.bool_))
    draw_stats(measure(Dataset(Path("d"), "voc", "train", LabelMap((name,)), (sample,))), path, title="data")
    return path.read_bytes()
