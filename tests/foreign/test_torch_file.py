from __future__ import annotations

import io
import struct
import subprocess
import sys
import textwrap
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from singleshot.errors import DataError, InputMissingError
from singleshot.foreign.torch_file import read_tensors, renamed

STATE = OrderedDict(a=torch.arange(12.0).reshape(3, 4), b=torch.tensor([1, 2]))


def saved(path: Path, content: Any, *, old: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_tensors(path)
    assert caught.value.file == path and caught.value.exit_code == 65
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("old", [False, True])
def test_both_formats_of_pytorch_are_read(tmp_path: Path, old: bool):
    found = read_tensors(saved(tmp_path / "w.pth", STATE, old=old))
    assert list(found) == ["a", "b"] and torch.equal(found["a"], STATE["a"]) and found["b"].dtype == torch.int64


def test_a_safetensors_file_is_read(tmp_path: Path):
    safetensors.torch.save_file(dict(STATE), tmp_path / "model.safetensors")
    assert torch.equal(read_tensors(tmp_path / "model.safetensors")["a"], STATE["a"])


def test_wrappers_and_prefixes_of_training_programs_are_taken_off(tmp_path: Path):
    wrapped = {"model": {f"module.{name}": tensor for name, tensor in STATE.items()}, "iteration": 120_000}
    assert list(read_tensors(saved(tmp_path / "w.pth", wrapped))) == ["a", "b"]


def test_half_precision_becomes_float32_and_views_become_their_own(tmp_path: Path):
    base = torch.arange(20, dtype=torch.float16)
    found = read_tensors(saved(tmp_path / "w.pth", {"a": base[::2].view(5, 2).T}))
    assert found["a"].dtype == torch.float32 and found["a"].is_contiguous()
    assert found["a"].tolist() == [[0, 4, 8, 12, 16], [2, 6, 10, 14, 18]]


@pytest.mark.parametrize("old", [False, True])
def test_e1_a_file_cut_at_any_place_is_refused(tmp_path: Path, old: bool):
    data = saved(tmp_path / "w.pth", STATE, old=old).read_bytes()
    path = tmp_path / "cut.pth"
    for length in sorted({*range(12), *np.linspace(12, len(data) - 1, 60).astype(int).tolist()}):
        path.write_bytes(data[:length])
        refusal(path)


def test_e2_a_flipped_bit_in_a_tensor_is_found_by_the_archives_checksums(tmp_path: Path):
    path = saved(tmp_path / "w.pth", STATE)
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<3f", 5.0, 6.0, 7.0))
    data[place + 1] ^= 4
    path.write_bytes(data)
    assert "checksum" in refusal(path)


def test_e3_a_pickle_with_code_is_refused_and_nothing_of_it_is_run(tmp_path: Path):
    """In a process of its own, because an audit hook cannot be taken off again."""
    program = textwrap.dedent(
        """
        import pickle, sys
        from pathlib import Path
        import torch
        from singleshot.errors import DataError
        from singleshot.foreign.torch_file import read_tensors

        folder = Path(sys.argv[1])

        class Payload:
            def __reduce__(self):
                return (Path.touch, (folder / "canary",))

        torch.save({"a": Payload()}, folder / "new.pth")
        torch.save({"a": Payload()}, folder / "old.pth", _use_new_zipfile_serialization=False)
        (folder / "raw.pth").write_bytes(pickle.dumps({"a": Payload()}, protocol=2))
        (folder / "system.pth").write_bytes(b"\\x80\\x02cos\\nsystem\\nX\\x04\\x00\\x00\\x00true\\x85R.")
        (folder / "module.pth").write_bytes(b"\\x80\\x02cantigravity\\nfly\\n)R.")
        seen = []
        watched = ("os.system", "subprocess.Popen", "exec", "compile", "os.posix_spawn", "pickle.find_class")
        sys.addaudithook(lambda event, args: seen.append((event, args)) if event in watched else None)
        sys.addaudithook(lambda event, args: seen.append(args) if event == "import" and "anti" in args[0] else None)
        for name in ("new", "old", "raw", "system", "module"):
            try:
                read_tensors(folder / f"{name}.pth")
                print(name, "was read")
            except DataError as error:
                print(name, error.kind)
        harmful = [row for row in seen if row[0] not in ("exec", "compile")]
        print("seen", harmful, (folder / "canary").exists())
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[-1] == "seen [] False"
    assert [line.split()[0] for line in lines[:-1]] == ["new", "old", "raw", "system", "module"]
    assert "was read" not in done.stdout and "new pickle" in lines


def test_e8_values_that_are_not_finite_are_named(tmp_path: Path):
    for value in (float("nan"), float("inf")):
        assert "a has values that are not finite" in refusal(
            saved(tmp_path / "w.pth", {"a": torch.tensor([1.0, value])})
        )


def test_e9_a_view_that_claims_more_numbers_than_it_has_is_refused_before_memory_is_taken(tmp_path: Path):
    path = saved(tmp_path / "w.pth", {"a": torch.zeros(1).expand(100_000, 100_000)})
    assert path.stat().st_size < 3000
    assert "claims 10,000,000,000 numbers" in refusal(path)


def test_e9_an_archive_that_would_grow_is_refused(tmp_path: Path):
    plain = saved(tmp_path / "plain.pth", {"a": torch.zeros(1_000_000)})
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    assert path.stat().st_size < 20_000
    assert "larger inside than outside" in refusal(path)


def test_e9_absurd_sizes_in_the_older_format_are_refused(tmp_path: Path):
    data = saved(tmp_path / "w.pth", {"a": torch.zeros(3)}, old=True).read_bytes()
    assert data.count(b"K\x03") >= 1  # the number of elements, as a pickled small integer
    path = tmp_path / "absurd.pth"
    path.write_bytes(data.replace(b"K\x03", b"\x8a\x06" + (10**13).to_bytes(6, "little")))
    refusal(path)


def test_e9_an_absurd_header_is_refused(tmp_path: Path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b'{"a":1}')
    refusal(path)
    header = b'{"a":{"dtype":"F32","shape":[100000,100000],"data_offsets":[0,40000000000]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    refusal(path)


def test_e17_settings_of_a_training_program_are_refused_and_never_imported(tmp_path: Path):
    import argparse

    path = saved(tmp_path / "w.pth", {"state_dict": STATE, "args": argparse.Namespace(lr=0.1)})
    assert "has more than tensors" in refusal(path)
    path = saved(tmp_path / "x.pth", {"state_dict": STATE, "_instantiator": "os.system", "lr": 0.1})
    assert list(read_tensors(path)) == ["a", "b"]  # text is text


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"\x80", b"PK\x03\x04", b"\xff" * 64, b"\x80\x02."]
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "w.pth").write_bytes(content)
    refusal(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [{}, [torch.zeros(1)], {"a": 3}, {"a": "text"}, torch.zeros(3), {"model": {}}])
def test_a_file_without_a_table_of_tensors_is_refused(tmp_path: Path, content: Any):
    refusal(saved(tmp_path / "w.pth", content))


def test_a_sparse_tensor_is_refused(tmp_path: Path):
    buffer = io.BytesIO()
    torch.save({"a": torch.eye(3).to_sparse()}, buffer)
    (tmp_path / "w.pth").write_bytes(buffer.getvalue())
    assert "a is no plain tensor" in refusal(tmp_path / "w.pth")


def test_a_missing_file_is_66(tmp_path: Path):
    with pytest.raises(InputMissingError):
        read_tensors(tmp_path / "none.pth")


FILE = Path("other.pth")


def zeros(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(2) for name in names}


def test_the_longest_prefix_up_to_a_dot_counts():
    prefixes = {"a": "x", "a.b": "y", "ab": "z"}
    found = renamed(zeros("x.c", "y.c", "z.c"), prefixes, zeros("a.c", "a.b.c", "ab.c"), FILE)
    assert list(found) == ["a.c", "a.b.c", "ab.c"]


def test_a_prefix_of_nothing_gives_bare_names():
    assert list(renamed(zeros("0.bias"), {"conv.1": "0"}, zeros("conv.1.bias"), FILE)) == ["conv.1.bias"]
    assert renamed({}, {}, {}, FILE) == {}


def test_e5_five_missing_or_unknown_tensors_are_named_as_in_the_file_then_counted():
    wanted = zeros(*(f"conv.{place}" for place in range(7)))
    with pytest.raises(DataError) as caught:
        renamed(zeros("x.0", "surprise"), {"conv": "x"}, wanted, FILE)
    text = str(caught.value)
    assert text.startswith("other.pth: ") and caught.value.exit_code == 65
    assert "x.1 is missing; x.2 is missing" in text and "and 2 more" in text


def test_e4_a_wrong_shape_is_named_with_the_expected_one():
    with pytest.raises(DataError, match=r"x\.c is \(3,\) and not \(2,\)"):
        renamed({"x.c": torch.zeros(3)}, {"a": "x"}, zeros("a.c"), FILE)


def test_ignored_prefixes_may_be_left_over():
    tensors = zeros("x.c", "classifier.6.bias")
    assert list(renamed(tensors, {"a": "x"}, zeros("a.c"), FILE, ignored=("classifier.",))) == ["a.c"]
    with pytest.raises(DataError, match=r"classifier\.6\.bias is unknown"):
        renamed(tensors, {"a": "x"}, zeros("a.c"), FILE)
