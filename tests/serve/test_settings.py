from __future__ import annotations

import pytest

from singleshot.errors import ConfigError, UsageError
from singleshot.serve.settings import Settings, is_loopback


def test_listening_beyond_loopback_requires_a_token() -> None:
    with pytest.raises(UsageError, match="token"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", token="long enough").token == "long enough"


@pytest.mark.parametrize("token", ["", "short", "nö secret at all", "two\nlines of it"])
def test_a_weak_token_is_refused(token: str) -> None:
    with pytest.raises(UsageError):
        Settings(token=token)


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"port": 70000}, {"window_s": 0.0}, {"latency_s": -1.0}])
def test_a_setting_out_of_range_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        Settings(**change)  # pyright: ignore[reportArgumentType]


def test_only_localhost_and_loopback_addresses_count_as_loopback() -> None:
    assert not is_loopback("localhost.example.com") and is_loopback("127.8.8.8")


def test_h5_two_windows_are_less_than_ten_seconds() -> None:
    assert 2 * Settings().window_s < 10


@pytest.mark.parametrize(
    "origin", ["*", "null", "https://a.example/", "https://a.example/x", "a.example", "HTTPS://A", ""]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(UsageError, match="is not an origin"):
        Settings(cors_origins=("https://fine.example", origin))
