"""What `ems run` hands to the control process arrives whole and cannot be forged."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ems import handover, prepare
from ems.drivers.device import ProfileMisfit
from ems.yamltext import FileErrors

SITES = Path(__file__).parents[2] / "configs" / "sites"


def test_everything_arrives_as_it_was_compiled(tmp_path):
    given = prepare.prepare(SITES / "demo.yaml", tmp_path / "elsewhere")
    found = handover.read(handover.write(given))
    assert found.site == given.site
    assert found.site.data_dir == tmp_path / "elsewhere"
    assert found.site.layout.n_cells == given.site.layout.n_cells
    assert found.tariff.name == given.tariff.name
    assert (found.tariff.table_per_kwh == given.tariff.table_per_kwh).all()
    assert not found.tariff.table_per_kwh.flags.writeable
    assert found.devices.keys() == given.devices.keys()
    for name, device in found.devices.items():
        assert device.writes == given.devices[name].writes
        assert device.spec == given.devices[name].spec
        for block, same in zip(device.blocks, given.devices[name].blocks, strict=True):
            payload = bytes(2 * block.count)
            if not block.nodes:
                assert block.decode(payload).scalars == same.decode(payload).scalars


def test_it_survives_exec_and_needs_no_library_that_reads_files():
    fd = handover.write(prepare.prepare(SITES / "demo.yaml"))
    code = (
        "import sys\n"
        "from ems import handover\n"
        "print(handover.read(int(sys.argv[1])).site.id, 'pydantic' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(fd)],
        capture_output=True,
        text=True,
        check=False,
        pass_fds=(fd,),
    )
    os.close(fd)
    assert done.stdout.split() == [prepare.prepare(SITES / "demo.yaml").site.id, "False"], (
        done.stderr
    )


def test_what_was_handed_over_cannot_be_changed():
    fd = handover.write(prepare.prepare(SITES / "demo.yaml"))
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"evil", 0)
    os.close(fd)


def test_a_file_that_others_could_have_written_is_refused(tmp_path):
    path = tmp_path / "forged"
    path.write_bytes(pickle.dumps(("anything",)))
    with pytest.raises(ValueError, match="not what `ems run` hands over"):
        handover.read(os.open(path, os.O_RDONLY))


def test_memory_that_is_not_sealed_is_refused():
    fd = os.memfd_create("forged", os.MFD_ALLOW_SEALING)
    os.write(fd, pickle.dumps(("anything",)))
    os.lseek(fd, 0, os.SEEK_SET)
    with pytest.raises(ValueError, match="not what `ems run` hands over"):
        handover.read(fd)


def test_a_wrong_site_file_is_told_before_anything_runs(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("site: {}\n")
    with pytest.raises(FileErrors, match="packs"):
        prepare.prepare(path)


def test_profiles_that_do_not_fit_are_told_before_anything_runs(monkeypatch):
    right = prepare.load_site(SITES / "demo.yaml")
    pcs1 = replace(right.devices["pcs1"], profile="meter_acrel_adw300")
    wrong = replace(right, devices={**right.devices, "pcs1": pcs1})
    monkeypatch.setattr(prepare, "load_site", lambda path: wrong)
    with pytest.raises(ProfileMisfit, match="as a converter"):
        prepare.prepare(SITES / "demo.yaml")


def test_ems_run_says_what_is_wrong_without_a_traceback(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("site: {}\n")
    done = subprocess.run(
        [sys.executable, "-m", "ems", "run", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"{path}:1:" in done.stderr
    assert "Traceback" not in done.stderr
