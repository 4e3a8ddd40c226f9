from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from singleshot.errors import DataError, InputMissingError
from singleshot.prediction.backends.backend import Backend
from singleshot.prediction.backends.onnx import checked_model, open_onnx
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


def test_an_image_in_a_batch_gets_what_it_gets_alone(tmp_path: Path):
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


def model(**changes: Any) -> Any:
    """A model that is fit to be run, but for the changes."""
    value = helper.make_tensor_value_info(
        "images", changes.get("elem_type", TensorProto.UINT8), changes.get("shape", ["b", "h", "w", 3])
    )
    value.name = changes.get("input_name", "images")
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    node = helper.make_node(changes.get("op", "Identity"), [value.name], ["out"], domain=changes.get("domain", ""))
    out = helper.make_tensor_value_info("out", TensorProto.UINT8, None)
    graph = helper.make_graph([node], "g", [value], [out], [weight])
    opsets = [helper.make_opsetid("", changes.get("opset", 18)), helper.make_opsetid("evil", 1)]
    return helper.make_model(graph, opset_imports=opsets)


def written(folder: Path, proto: Any) -> Path:
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    return folder / "m.onnx"


def external(location: str) -> Callable[[Any], None]:
    def change(proto: Any) -> None:
        tensor = proto.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def test_a_sound_model_passes(tmp_path: Path):
    proto, data = checked_model(written(tmp_path, model()))
    assert proto.graph.node[0].op_type == "Identity" and data == (tmp_path / "m.onnx").read_bytes()


@pytest.mark.parametrize("location", ["weights.bin", "../../etc/passwd", "/etc/passwd"])
def test_e15_weights_in_another_file_are_refused_wherever_it_is(tmp_path: Path, location: str):
    proto = model()
    external(location)(proto)
    with pytest.raises(DataError, match=r"m\.onnx: tensor 'w' lies in another file"):
        checked_model(written(tmp_path, proto))


def test_e15_external_data_inside_a_branch_is_found_too(tmp_path: Path):
    proto = model()
    inner = helper.make_graph([], "body", [], [], [helper.make_tensor("deep", TensorProto.FLOAT, [1], [1.0])])
    inner.initializer[0].data_location = TensorProto.EXTERNAL
    proto.graph.node[0].attribute.append(helper.make_attribute("then_branch", inner))
    with pytest.raises(DataError, match="'deep' lies in another file"):
        checked_model(written(tmp_path, proto))


def test_e15_an_operator_of_a_other_library_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"operators that are not ONNX's own \(evil\)") as caught:
        checked_model(written(tmp_path, model(domain="evil", op="Run")))
    assert caught.value.exit_code == 65


def test_e15_a_size_of_a_million_million_is_refused(tmp_path: Path):
    proto = model()
    proto.graph.initializer[0].dims[:] = [10**6, 10**6]
    with pytest.raises(DataError, match="claims the size"):
        checked_model(written(tmp_path, proto))
    with pytest.raises(DataError, match="claims the size"):
        checked_model(written(tmp_path, model(shape=[10**6, 10**6, 1, 3])))


@pytest.mark.parametrize("opset", [9, 14, 99])
def test_e16_another_operator_set_is_refused_with_the_one_that_is_needed(tmp_path: Path, opset: int):
    with pytest.raises(DataError, match=f"operator set {opset}; needed is 15 to"):
        checked_model(written(tmp_path, model(opset=opset)))


def test_e16_another_input_is_refused_with_the_one_that_is_needed(tmp_path: Path):
    with pytest.raises(DataError, match="its inputs are input_1; needed is one called images"):
        checked_model(written(tmp_path, model(input_name="input_1")))
    with pytest.raises(DataError, match="not uint8"):
        checked_model(written(tmp_path, model(elem_type=TensorProto.FLOAT)))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_e1_a_truncated_file_is_refused(tmp_path: Path, share: float):
    data = model().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError):
        checked_model(tmp_path / "m.onnx")


def test_what_is_no_onnx_file_is_refused(tmp_path: Path):
    (tmp_path / "m.onnx").write_bytes(b"PK\x03\x04" * 20)
    with pytest.raises(DataError):
        checked_model(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        checked_model(tmp_path / "m.onnx")
    with pytest.raises(InputMissingError):
        checked_model(tmp_path / "none.onnx")
    assert onnx.ModelProto().ByteSize() == 0


@pytest.mark.parametrize(
    ("available", "cuda", "wanted"),
    [
        (["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"], None, ["CPU"]),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], 1, ["CUDA", "CPU"]),
        (
            ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
            0,
            ["Tensorrt", "CUDA", "CPU"],
        ),
        (["CPUExecutionProvider"], 0, ["CPU"]),
    ],
)
def test_a_cuda_device_is_used_by_the_best_provider_that_is_there_and_in_float32(available, cuda, wanted):
    from singleshot.prediction.backends.onnx import providers

    chosen = providers(available, cuda)
    names = [each if isinstance(each, str) else each[0] for each in chosen]
    assert names == [f"{name}ExecutionProvider" for name in wanted]
    options = {each[0]: each[1] for each in chosen if not isinstance(each, str)}
    assert all(each["device_id"] == str(cuda) for each in options.values())
    assert options.get("CUDAExecutionProvider", {"use_tf32": "0"})["use_tf32"] == "0"
