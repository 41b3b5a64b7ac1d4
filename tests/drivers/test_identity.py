"""Identity by a lowest version: what passes, what does not, and what cannot be compared."""

import pytest

from ems.drivers.rules import IdentityCheck
from ems.yamlfile import FileErrors
from tests.drivers.test_language import PCS, compiled, load


@pytest.mark.parametrize(
    ("content", "right"),
    [
        pytest.param("V2.9", False, id="below"),
        pytest.param("V2.10", True, id="the very one"),
        pytest.param("V2.10.1", True, id="a later patch"),
        pytest.param("V2.11", True, id="later by a minor step"),
        pytest.param("V10.0", True, id="numbers, not letters, are compared"),
        pytest.param("v1.99", False, id="an older generation"),
        pytest.param("unknown", False, id="no number at all"),
        pytest.param(None, False, id="not readable"),
    ],
)
def test_a_version_in_a_text(content, right):
    problem = IdentityCheck("firmware", at_least="V2.10").problem(content)
    assert (problem == "") is right
    if content == "V2.9":
        assert problem == "firmware is 'V2.9', expected 'V2.10' or later"


@pytest.mark.parametrize(("content", "right"), [(209.0, False), (210.0, True), (211.0, True)])
def test_a_version_in_a_number(content, right):
    assert (IdentityCheck("firmware", at_least=210).problem(content) == "") is right


def test_the_lowest_version_of_a_profile_reaches_the_device(tmp_path):
    text = PCS.replace('matches: "PCS-.*"', 'at_least: "PCS-200"')
    (check,) = compiled(tmp_path, text).identity
    assert check.problem("PCS-200") == ""
    assert check.problem("PCS-100") != ""


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("at_least: 5", "is a text with numbers in quotes"),
        ('at_least: "any"', "'any' has no number to compare"),
        ('at_least: "5", matches: x', "exactly one of equals, one_of, matches and at_least"),
    ],
)
def test_a_lowest_version_that_cannot_be_compared_is_refused(tmp_path, wrong, words):
    with pytest.raises(FileErrors) as refused:
        load(tmp_path, PCS.replace('matches: "PCS-.*"', wrong))
    assert words in str(refused.value)


def test_a_number_is_compared_with_a_number(tmp_path):
    text = PCS.replace("{point: model, matches", '{point: remote, at_least: "1"} #')
    with pytest.raises(FileErrors, match=r"identity.*at_least: is a number"):
        load(tmp_path, text)
