from __future__ import annotations

from tools.installed import complaints

CLEAN = {"torch": "2.13.0", "opencv-python-headless": "5.0.0", "lightning": "2.6.6"}


def test_a_clean_environment_has_no_complaint() -> None:
    assert complaints(CLEAN, torch_wants_cuda=False) == []
    assert complaints({}, torch_wants_cuda=False) == []


def test_torchvision_and_a_second_opencv_are_named() -> None:
    found = complaints(CLEAN | {"torchvision": "0.28", "opencv-python": "5.0.0"}, torch_wants_cuda=True)
    assert [line.partition(":")[0] for line in found] == ["opencv-python", "torchvision"]


def test_a_malicious_release_is_named_and_its_fixed_one_is_not() -> None:
    assert complaints({"lightning": "2.6.3"}, torch_wants_cuda=False) == ["lightning 2.6.3: this release was malware"]


def test_cuda_packages_are_allowed_only_for_a_torch_that_requires_them() -> None:
    cuda = CLEAN | {"nvidia-cublas": "13", "triton": "3.7"}
    assert complaints(cuda, torch_wants_cuda=True) == []
    assert len(complaints(cuda, torch_wants_cuda=False)) == 2
