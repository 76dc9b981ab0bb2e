"""A script in a fork does what it does as a program of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.benchmark import BenchmarkRecord
from snakemake.script import PythonScript

from tubepet.plan import forks
from tubepet.plan import snakemake as plan

IMPORTS = "import json\nfrom pathlib import Path\nfrom tubepet import rng\n"


@pytest.fixture
def started(tmp_path):
    (tmp_path / "imports.py").write_text(IMPORTS)
    made = forks.Forks([tmp_path / "imports.py"])
    yield made
    made.close()


def script(folder: Path, text: str, name: str = "tmp1.some_rule.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_script_runs_as_the_main_program_with_its_environment(started, tmp_path):
    said = tmp_path / "said.json"
    path = script(
        tmp_path,
        "import atexit, json, os, sys\n"
        "had = 'tubepet.rng' in sys.modules\n"
        "def end():\n"
        "    facts = [__name__, sys.argv, os.environ['COLOUR'], had, os.getpid(), os.getcwd()]\n"
        f"    open({str(said)!r}, 'w').write(json.dumps(facts))\n"
        "atexit.register(end)\n",
    )
    job = started.start(path, {"COLOUR": "blue"})
    assert job.wait() == 0  # after what the script does at its end
    expected = ["__main__", [path], "blue", True, job.pid, str(Path.cwd())]
    assert json.loads(said.read_text()) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [("", 0), ("raise SystemExit", 0), ("raise SystemExit(3)", 3), ("raise SystemExit('so')", 1),
     ("raise SystemExit(-1)", 255), ("1 / 0", 1),
     ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", forks.KILLED)],
)  # fmt: skip
def test_exit_codes_are_those_of_a_program(started, tmp_path, text, code):
    path = script(tmp_path, text)
    assert started.start(path, {}).wait() == code
    if code != forks.KILLED:
        assert subprocess.run([sys.executable, path], capture_output=True).returncode == code


def test_jobs_run_side_by_side_and_know_nothing_of_each_other(started, tmp_path):
    path = script(tmp_path, "import time, json\nassert not hasattr(json, 'mine')\n"
                            "json.mine = 1\ntime.sleep(0.5)\n")  # fmt: skip
    start_s = time.monotonic()
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda: codes.append(started.start(path, {}).wait()))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 6
    assert time.monotonic() - start_s < 30  # one after the other on no machine of any speed


def test_what_they_are_forked_from_may_be_killed(started, tmp_path, monkeypatch):
    path = script(tmp_path, "import os\nopen('ppid', 'w').write(str(os.getppid()))\n")
    monkeypatch.chdir(tmp_path)
    assert started.start(path, {}).wait() == 0
    server = int((tmp_path / "ppid").read_text())
    at_work = started.start(script(tmp_path, "import time; time.sleep(1); 1 / 0", "w.py"), {})
    os.kill(server, signal.SIGKILL)
    assert at_work.wait() == 1
    while Path(f"/proc/{server}").is_dir() and "Z" not in _state(server):
        time.sleep(0.01)
    assert started.start(path, {}) is None  # this one runs in the ordinary way
    assert started.start(path, {}).wait() == 0
    assert int((tmp_path / "ppid").read_text()) != server


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_without_its_imports_there_is_no_fork(tmp_path, capfd):
    (tmp_path / "imports.py").write_text("import a_module_that_is_not_there\n")
    started = forks.Forks([tmp_path / "imports.py"])
    assert started.start(script(tmp_path, ""), {}) is None
    started.close()
    assert "a_module_that_is_not_there" in capfd.readouterr().err


def test_modules_in_the_folder_of_the_run_are_not_for_jobs(tmp_path, monkeypatch):
    (tmp_path / "imports.py").write_text("import colorsys\n")
    (tmp_path / "colorsys.py").write_text("raise ImportError('not this one')\n")
    monkeypatch.chdir(tmp_path)
    started = forks.Forks([tmp_path / "imports.py"])
    path = script(tmp_path, "import colorsys\n")
    assert started.start(path, {}).wait() == 0
    started.close()


def test_what_one_job_compiles_the_next_ones_have(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    begin = "import numpy as np\nfrom tubepet.reconstruct.projection.kernels import add_part\n"
    (tmp_path / "imports.py").write_text(begin)
    started = forks.Forks([tmp_path / "imports.py"])
    use = "add_part(np.zeros((1, 4), np.float32), 1, np.zeros(4), 0, 4)\n"
    for num, rest in ((0, use), (1, "")):
        path = script(tmp_path, f"{begin}assert len(add_part.signatures) == {num}\n{rest}")
        assert started.start(path, {}).wait() == 0
    started.close()


def test_python_does_not_warn_of_threads(tmp_path, monkeypatch, capfd):
    """Python 3.12 and later warn when a process forks that has threads."""
    (tmp_path / "imports.py").write_text("import a_warning\n")
    (tmp_path / "a_warning.py").write_text(
        "import os, warnings\nfork = os.fork\ndef warn():\n    pid = fork()\n"
        "    warnings.warn('multi-threaded', DeprecationWarning, 2)\n    return pid\n"
        "os.fork = warn\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), os.pathsep)
    started = forks.Forks([tmp_path / "imports.py"])
    assert started.start(script(tmp_path, ""), {}).wait() == 0
    started.close()
    assert "multi-threaded" not in capfd.readouterr().err


def test_an_interrupt_during_the_import_ends_the_job_too(tmp_path, monkeypatch):
    """Else Ctrl-C would start the job in the ordinary way."""
    (tmp_path / "imports.py").write_text("import a_slow_module\n")
    text = "import time\nopen('began', 'w').close()\ntime.sleep(60)\n"
    (tmp_path / "a_slow_module.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), os.pathsep)
    # a shell ignores interrupts for what stands before "&", and so would all below
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    started = forks.Forks([tmp_path / "imports.py"])

    def interrupt() -> None:
        while not (tmp_path / "began").exists():
            time.sleep(0.01)
        os.kill(started._process.pid, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        started.start(script(tmp_path, ""), {})
    started.close()
    signal.signal(signal.SIGINT, before)


def test_a_run_that_ignores_interrupts_has_jobs_that_do(tmp_path):
    """A shell starts what stands before "&" so."""
    (tmp_path / "imports.py").write_text(IMPORTS)
    path = script(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from pathlib import Path\nfrom tubepet.plan.forks import Forks\n"
        f"forks = Forks([Path({str(tmp_path / 'imports.py')!r})])\n"
        f"assert forks.start({path!r}, {{}}).wait() == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_job_that_ends_before_it_is_measured_has_not_failed(tmp_path, monkeypatch):
    """A shell's process is there until Snakemake has waited for it; a fork is not."""
    monkeypatch.setattr(PythonScript, "execute_script", None)
    begin = forks.Forks.start

    def start(self, *arguments):
        job = begin(self, *arguments)
        while Path(f"/proc/{job.pid}").is_dir():
            time.sleep(0.01)
        return job

    monkeypatch.setattr(forks.Forks, "start", start)
    monkeypatch.setattr(plan, "ROOT", tmp_path)
    (tmp_path / "workflow/scripts").mkdir(parents=True)
    (tmp_path / "workflow/scripts/a_rule.py").write_text(IMPORTS)
    rule = SimpleNamespace(name="a_rule", script="../scripts/a_rule.py")
    plan.fork_scripts(SimpleNamespace(rules=[rule]), ["a_rule"])
    job = SimpleNamespace(
        conda_env=None, container_img=None, env_modules=None, threads=1, resources={},
        rulename="a_rule", bench_record=BenchmarkRecord(),
    )  # fmt: skip
    PythonScript.execute_script(job, script(tmp_path, ""))
    assert "NA" in job.bench_record.to_tsv(False)
    with pytest.raises(subprocess.CalledProcessError):
        PythonScript.execute_script(job, script(tmp_path, "1 / 0"))


def test_it_ends_with_the_process_that_started_it(tmp_path):
    (tmp_path / "imports.py").write_text(IMPORTS)
    path = script(tmp_path, "import os\nprint(os.getppid(), flush=True)\n")
    code = (
        "from pathlib import Path\nfrom tubepet.plan.forks import Forks\n"
        f"forks = Forks([Path({str(tmp_path / 'imports.py')!r})])\n"
        f"assert forks.start({path!r}, {{}}).wait() == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    server = Path(f"/proc/{int(done.stdout)}")
    for _ in range(1000):  # ten seconds
        if not server.is_dir():
            return
        time.sleep(0.01)
    pytest.fail(f"{server} goes on")
