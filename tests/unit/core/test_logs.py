import subprocess
import sys


def run(tmp_path, body: str) -> subprocess.CompletedProcess[str]:
    code = f"from tubepet import logs\nlogs.start_log({str(tmp_path / 'job.log')!r})\n{body}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_an_input_error_prints_one_sentence_and_logs_the_trace(tmp_path):
    done = run(
        tmp_path, "from tubepet.errors import InputError\nraise InputError('a.png: got 8 bits')"
    )
    assert done.returncode != 0
    assert done.stderr == "error: a.png: got 8 bits\n"
    assert "Traceback" in (tmp_path / "job.log").read_text()


def test_an_os_error_names_the_file(tmp_path):
    done = run(tmp_path, "open('/nonexistent/file')")
    assert done.stderr == "error: /nonexistent/file: No such file or directory\n"


def test_a_bug_shows_its_trace(tmp_path):
    done = run(tmp_path, "1 / 0")
    assert "ZeroDivisionError" in done.stderr and "Traceback" in done.stderr
