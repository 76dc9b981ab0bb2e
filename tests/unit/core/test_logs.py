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


def test_a_loop_tells_a_log_how_far_it_is_and_not_every_step(tmp_path):
    done = run(tmp_path, "for _ in logs.Bar(range(4), desc='steps', mininterval=0): pass")
    lines = (tmp_path / "job.log").read_text().splitlines()
    assert [line.split("INFO ")[1].split(",")[0] for line in lines[:3]] == [
        f"steps: {n} of 4" for n in (1, 2, 3)
    ]
    assert "gone, " in lines[0] and " left" in lines[0]
    assert len(lines) == 4 and "|" not in done.stderr  # the last: the seconds; and no bar
    run(tmp_path, "for _ in logs.Bar(range(1000), desc='steps'): pass")  # a line a minute
    assert len((tmp_path / "job.log").read_text().splitlines()) == 1
