from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from singleshot.errors import DataError
from singleshot.prediction.backends.pt2 import open_pt2
from tests.exporting import made
from tests.prediction.backends.bare import bare


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write_pt2(tmp_path_factory.mktemp("pt2"))


def test_an_archive_opens_with_its_record_and_runs_batches_of_any_size(archive: Path):
    backend = open_pt2(archive)
    assert backend.record == made.record()
    for shape in ((1, 97, 131, 3), (3, 128, 160, 3), (2, 1, 1, 3)):
        found = backend.run(np.zeros(shape, np.uint8))
        assert tuple(found) == made.record().output_names and found["counts"].shape == (shape[0],)


def test_a_damaged_program_is_refused_in_one_line(archive: Path, tmp_path: Path):
    from tests.prediction.backends.test_pt2_check import changed

    bad = changed(archive, tmp_path, "models/model.json", lambda _: b"{}")
    with pytest.raises(DataError, match=r"x\.pt2: torch refuses it") as caught:
        open_pt2(bad)
    assert "\n" not in str(caught.value)


def test_an_archive_with_other_outputs_than_its_record_says_is_refused_when_it_is_opened(tmp_path: Path):
    made.pt2.write(made.pt2_program(), tmp_path / "x.pt2", made.record("raw").texts())
    with pytest.raises(DataError, match=r"x\.pt2: it has 4 outputs; needed are 2: class_logits, box_offsets"):
        open_pt2(tmp_path / "x.pt2")


def test_the_archive_runs_where_singleshot_is_not_installed(archive: Path, tmp_path: Path):
    image = made.pictures(1)[0]
    np.save(tmp_path / "i.npy", image)
    code = (
        "import torch, numpy, json\n"
        "texts = {'class_names.txt': ''}\n"
        f"module = torch.export.load({str(archive)!r}, extra_files=texts).module()\n"
        f"boxes, scores, ids, counts = module(torch.from_numpy(numpy.load({str(tmp_path / 'i.npy')!r}))[None])\n"
        "print(int(counts[0]), float(scores[0, 0]), json.loads(texts['class_names.txt'])[int(ids[0, 0])])\n"
    )
    wanted = made.detector().predict(image, threshold=0.0)
    count, score, name = bare(code).split(maxsplit=2)
    assert abs(int(count) - len(wanted)) <= 2
    assert abs(float(score) - wanted.scores[0]) < 1e-2 and name.strip() == wanted.class_names[0]
