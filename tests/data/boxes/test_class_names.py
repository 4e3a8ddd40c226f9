from __future__ import annotations

from pathlib import Path

from singleshot.data.boxes.class_names import MIN_FILES, single_file_faults, variant_faults

FILE = Path("Annotations")


def test_names_that_differ_in_case_spaces_or_hyphens_are_one_warning_a_group() -> None:
    faults = variant_faults(["Dog", "dog", "traffic light", "traffic_light", "traffic-Light", "cat"], FILE)
    assert [(fault.kind, fault.severity, fault.line) for fault in faults] == [("class-variants", "warning", None)] * 2
    assert "'Dog' and 'dog'" in faults[0].message
    assert faults[1].message.count("'traffic") == 3


def test_different_names_and_no_names_are_no_fault() -> None:
    assert variant_faults(["cat", "cart"], FILE) == variant_faults([], FILE) == []


def test_a_class_in_one_of_many_files_is_named_with_its_line() -> None:
    many = {Path(f"{number}.xml"): 3 for number in range(MIN_FILES)}
    (fault,) = single_file_faults({"dog": many, "dgo": {Path("7.xml"): 12}})
    assert (fault.kind, fault.severity, fault.file, fault.line) == ("class-in-one-file", "warning", Path("7.xml"), 12)
    assert "'dgo'" in fault.message


def test_in_a_few_files_a_class_in_one_of_them_says_nothing() -> None:
    assert single_file_faults({"dog": {Path("1.xml"): 3}, "cat": {Path("2.xml"): 3}}) == []
    assert single_file_faults({}) == []
