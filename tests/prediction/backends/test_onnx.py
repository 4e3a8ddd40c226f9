from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from singleshot.errors import DataError
from singleshot.prediction.backends.backend import Backend
from singleshot.prediction.backends.onnx import open_onnx
from tests.exporting import made
from tests.prediction.backends.bare import bare


def test_a_file_opens_with_its_record_and_runs_batches_of_any_size(tmp_path: Path):
    backend = open_onnx(made.write_onnx(tmp_path), threads=1)
    assert isinstance(backend, Backend)
    assert backend.record.config == made.network().config and backend.record.form == "whole"
    for shape in ((1, 97, 131, 3), (3, 128, 160, 3), (2, 1, 1, 3)):
        found = backend.run(np.zeros(shape, np.uint8))
        assert tuple(found) == made.record().output_names
        assert found["boxes_xyxy"].shape[0] == shape[0] and found["counts"].shape == (shape[0],)


def test_a_picture_in_a_batch_gets_what_it_gets_alone(tmp_path: Path):
    backend = open_onnx(made.write_onnx(tmp_path), threads=1)
    one, other = made.pictures(3)[2], np.ascontiguousarray(made.pictures(3)[2][::-1])
    both = backend.run(np.stack([one, other]))
    for place, image in enumerate((one, other)):
        alone = backend.run(image[None])
        assert np.allclose(both["scores"][place], alone["scores"][0], atol=1e-5)
        assert both["counts"][place] == alone["counts"][0] > 0


def test_a_model_without_our_record_is_refused(tmp_path: Path):
    path = made.write_onnx(tmp_path)
    model = onnx.load(path)
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match="not a file that singleshot exported"):
        open_onnx(path)


def test_a_model_whose_outputs_are_not_those_of_its_record_is_refused(tmp_path: Path):
    path = made.write_onnx(tmp_path)
    model = onnx.load(path)
    del model.graph.output[3:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match="needed are boxes_xyxy, scores, class_ids, counts"):
        open_onnx(path)


def test_the_file_runs_where_singleshot_is_not_installed(tmp_path: Path):
    code = (
        "import numpy, onnxruntime, json\n"
        f"s = onnxruntime.InferenceSession({str(made.write_onnx(tmp_path))!r}, providers=['CPUExecutionProvider'])\n"
        f"image = numpy.load({str(tmp_path / 'i.npy')!r})\n"
        "boxes, scores, class_ids, counts = s.run(None, {'images': image[None]})\n"
        "names = json.loads(s.get_modelmeta().custom_metadata_map['class_names'])\n"
        "print(int(counts[0]), float(scores[0, 0]), names[class_ids[0, 0]])\n"
    )
    image = made.pictures(1)[0]
    np.save(tmp_path / "i.npy", image)
    wanted = made.detector().predict(image, threshold=0.0)
    count, score, name = bare(code).split(maxsplit=2)
    assert abs(int(count) - len(wanted)) <= 2
    assert abs(float(score) - wanted.scores[0]) < 1e-2 and name.strip() == wanted.class_names[0]
