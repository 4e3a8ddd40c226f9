"""What is shown of where weights come from."""

from __future__ import annotations

from singleshot.provenance import origin_rows, starts

TEACHER = {"title": "Lite0", "licence": "Apache-2.0", "publisher": "PyPI", "file_sha256": "cd"}


def test_weights_without_a_start_have_no_rows() -> None:
    assert origin_rows({}) == [] and list(starts({})) == []


def test_a_chain_of_starts_shows_every_licence_hash_and_teacher() -> None:
    first = {"weights": "light", "sha256": "ab", "licence": "Apache-2.0", "teachers": [TEACHER], "steps": 7}
    provenance = {"started_from": {"weights": "mine.safetensors", "sha256": "ef", "started_from": first}}
    assert origin_rows(provenance) == [
        ("started from", "mine.safetensors, SHA-256 ef"),
        ("started from", "light, SHA-256 ab"),
        ("its licence", "Apache-2.0"),
        ("its steps", "7"),
        ("its teacher", "Lite0, Apache-2.0, PyPI, SHA-256 cd"),
    ]


def test_what_a_strange_file_claims_is_shown_as_text_or_left_out() -> None:
    assert origin_rows({"started_from": "somewhere", "teachers": "somebody"}) == []
    assert origin_rows({"started_from": {"licence": ["a", 1], "teachers": [3, TEACHER]}})[0][0] == "started from"
    deep: dict[str, object] = {}
    for _ in range(1000):
        deep = {"started_from": deep}
    assert len(list(starts(deep))) == 20
