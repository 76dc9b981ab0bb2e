import json
import os
import subprocess
import sys
from types import ModuleType

import pytest

from tubepet import planned
from tubepet.errors import InputError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a package of two modules, of which a is imported."""
    for name in "ab":
        (tmp_path / f"{name}.py").write_text(f"{name} = 1\n")
    module = ModuleType("a")
    module.__file__ = str(tmp_path / "a.py")
    monkeypatch.setitem(sys.modules, "planned_a", module)
    monkeypatch.setattr(planned, "PACKAGE_DIR", tmp_path)
    monkeypatch.setenv(planned.NAME, "{}")
    monkeypatch.delenv(planned.NAME)
    return tmp_path


def test_a_job_begins_with_the_code_of_its_plan_only(package):
    planned.check_code()  # nothing was planned
    planned.remember_code()
    planned.check_code()
    (package / "b.py").write_text("b = 2\n")
    planned.check_code()  # this job does not use it
    (package / "a.py").write_text("a = 2\n")
    with pytest.raises(InputError, match=r"a\.py: changed after this run was planned, .* again"):
        planned.check_code()
    (package / "a.py").unlink()
    with pytest.raises(InputError, match=r"a\.py: changed after"):
        planned.check_code()
    (package / "a.py").write_text("a = 1\n")
    planned.check_code()  # taken back


def test_a_run_within_a_job_keeps_the_plan_of_the_outer_one(package):
    planned.remember_code()
    (package / "a.py").write_text("a = 2\n")
    planned.remember_code()
    with pytest.raises(InputError, match="changed after"):
        planned.check_code()


def test_a_script_stops_with_the_sentence(tmp_path):
    job = f"from tubepet import logs\nlogs.start_log({str(tmp_path / 'job.log')!r})\nprint('ran')"
    for content, status in (("0", 1), (planned._hash(planned.PACKAGE_DIR / "logs.py"), 0)):
        done = subprocess.run(
            [sys.executable, "-c", job], capture_output=True, text=True, check=False,
            env={**os.environ, planned.NAME: json.dumps({"logs.py": content})},
        )  # fmt: skip
        assert done.returncode == status
        assert ("ran" in done.stdout) == (status == 0)
        assert done.stderr.startswith("error: ") == (status == 1)
