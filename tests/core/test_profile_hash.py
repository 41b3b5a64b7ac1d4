"""What makes a device profile another one for the commissioning record, and what does not."""

import pytest

from ems.drivers.language import PROFILE_DIR, read
from ems.prepare import profile_sha256

PCS = (PROFILE_DIR / "pcs_sunspec_704.yaml").read_text()


@pytest.fixture
def hashed(tmp_path):
    """Hash of a profile with some of its text replaced."""

    def of(*changes):
        text = PCS
        for old, new in changes:
            assert text.count(old) >= 1, f"no {old!r} to change"
            text = text.replace(old, new, 1)
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return profile_sha256(read(path))

    return of


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("link:\n", "# proven on site 4\n\n\nlink:\n"), id="comment and blank lines"),
        pytest.param(("uint16, enum: {0: disabled", "'uint16', enum: {0: disabled"), id="quotes"),
        pytest.param(("write_function: 16", "write_function: 16  # both"), id="comment at the end"),
        pytest.param(("summary: Power", "summary: Active power"), id="summary"),
        pytest.param(("offsets, types, scale factors, states", "offsets"), id="provenance"),
        pytest.param(("- name: not implemented", "- name: no value"), id="golden vector"),
    ],
)
def test_what_no_driver_acts_on_leaves_the_record_standing(hashed, change):
    assert hashed(change) == hashed()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("{fast: 500}", "{fast: 400}"), id="polling"),
        pytest.param(("range: [-10000000,", "range: [-10000001,"), id="plausible range"),
        pytest.param(("on_expiry: the device goes to 0 W", "on_expiry: it goes on"), id="promise"),
        pytest.param(("readback: {point: setpoint_w, tolerance: 1}", ""), id="no read-back"),
        pytest.param(("2: standby, 4: run, 5: standby", "2: run, 4: run, 5: standby"), id="a code"),
        pytest.param(("5: standby}", "8: standby}"), id="another code"),
    ],
)
def test_what_a_driver_acts_on_voids_it(hashed, change):
    assert hashed(change) != hashed()


def test_the_order_of_two_codes_of_one_word_is_no_matter_of_taste(hashed):
    assert hashed(("7: standby, 3: run, 6: fault", "3: run, 7: standby, 6: fault")) != hashed()
