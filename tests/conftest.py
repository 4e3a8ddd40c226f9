"""What every test may ask for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode


@pytest.fixture(scope="session", autouse=True)
def _cache_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither use nor fill the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> None:
    """A shell starts what runs in its background deaf to Ctrl-C, `nohup` to a hang-up, and children inherit that."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures and golden numbers beside the checkout; the test is skipped where it is absent."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("needs ../shared (real data and golden numbers), which is not here")
    return folder


class MaskFolder:
    """A small set of pictures and masks in the layout `images/<split>`, `masks/<split>`, `classes.txt`.

    Pictures are 48×64, left half dark (class 0), right half bright (class 1), the top two rows void.
    """

    def __init__(self, root: Path, splits: dict[str, int]) -> None:
        self.root = root
        rng = np.random.default_rng(0)
        for split, count in splits.items():
            for kind in ("images", "masks"):
                (root / kind / split).mkdir(parents=True)
            for i in range(count):
                border = int(rng.integers(20, 44))
                image = rng.integers(10, 60, (48, 64, 3), dtype=np.uint8)
                image[:, border:] += 150
                mask = np.zeros((48, 64), np.uint8)
                mask[:, border:] = 1
                mask[:2] = 255
                cv2.imwrite(str(root / "images" / split / f"{i:02d}.png"), image)
                cv2.imwrite(str(self.mask(split, i)), mask)
        (root / "classes.txt").write_text("dark\nbright\n")

    def mask(self, split: str, i: int) -> Path:
        """The mask of picture `i`."""
        return self.root / "masks" / split / f"{i:02d}.png"


@pytest.fixture
def halves(tmp_path: Path) -> MaskFolder:
    """Four pictures to train on and two to judge by, of two classes that are easily told apart."""
    return MaskFolder(tmp_path / "halves", {"train": 4, "val": 2})


class _DeviceWatch(TorchDispatchMode):
    """Notes every operation that makes or reads a tensor of the host, and knows no value of a tensor: `meta` has none.

    On a GPU each of these would wait for all that the device has still to do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.on_host: list[str] = []

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        found = func(*args, **(kwargs or {}))  # pyright: ignore[reportCallIssue]
        tensors = [each for each in (*args, found) if isinstance(each, torch.Tensor)]
        self.on_host += [str(func) for each in tensors if each.device.type != "meta"]
        return found


@pytest.fixture
def device_watch() -> _DeviceWatch:
    """Within it, work on tensors of the device `meta` shows in `on_host` what it asks of the host."""
    return _DeviceWatch()
