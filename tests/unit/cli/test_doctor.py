import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from tubepet.cli import SENTENCES, main
from tubepet.cli.doctor import count_outputs, examine

SUMMARY = (
    "output_file\tdate\trule\tlog-file(s)\tstatus\tplan\n"
    "a.nii\tMon\tmake_phantom\ta.log\tok\tno update\n"
    "b.nii\t-\tmake_phantom\t-\tmissing\tupdate pending\n"
    "c.npy\t-\ttrain_generator\t-\tmissing\tupdate pending\n"
    "d.npy\tMon\ttrain_generator\tc.log\tupdated input files\tupdate pending\n"
    "e.npy\tMon\ttrain_generator\tc.log\tparams changed\tupdate pending\n"
    "f.npy\tMon\ttrain_generator\tc.log\tok\tupdate pending\n"
    "g.npy\t-\ttrain_generator\tc.log\tremoved temp file\tno update\n"
    "h.npy\t-\ttrain_generator\tc.log\tremoved temp file\tupdate pending\n"
)


def test_files_are_counted_by_rule():
    """What exists is not missing, however old it is."""
    found = count_outputs(SUMMARY, ["c.npy"])
    assert found["make_phantom"] == {
        "done": 1, "running": 0, "outdated": 0, "missing": 1, "why": {}
    }  # fmt: skip
    why = {
        "an input is newer (if all is a copy: snakemake --touch)": 1,
        "config or code changed": 1,
        "an input will be made again": 1,
    }
    assert found["train_generator"] == {
        "done": 1, "running": 1, "outdated": 3, "missing": 1, "why": why
    }  # fmt: skip


def test_doctor_says_what_each_absence_means(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("ct: {source_dir: nowhere}\n")
    done = CliRunner().invoke(main, ["doctor", "--json", "--config", "c.yaml"])
    findings = {one["what"]: one for one in json.loads(done.output)}
    assert findings["DeepLesion"]["meaning"] == "no such folder: the run would stop"
    assert done.exit_code == 1
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 0 and "--  DeepLesion: ct.source_dir is empty" in done.output
    assert len(done.output.splitlines()) <= 24  # one screen


def test_a_missing_package_is_fatal(monkeypatch):
    def no_torch(name: str) -> str:
        if name == "torch":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setitem(examine.__globals__, "version", no_torch)
    findings = examine({})
    assert findings[-1].is_fatal and findings[-1].found == "without torch"


def test_status_hands_on_snakemakes_reason(tmp_path):
    done = CliRunner().invoke(main, ["status", "--directory", str(tmp_path), "--snakefile", "none"])
    assert done.exit_code == 2 and "snakemake --summary: " in done.stderr


@pytest.mark.parametrize(("start", "expected"), [("tu", "turing"), ("doc", "doctor")])
def test_the_shell_completes_commands(start, expected):
    completer = BashComplete(main, {}, "tubepet", "_TUBEPET_COMPLETE")
    assert [item.value for item in completer.get_completions([], start)] == [expected]


def all_commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context, found = click.Context(command), [path]
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        found += all_commands(command.get_command(context, name), (*path, name))
    return found


@pytest.mark.parametrize("path", all_commands(main), ids=" ".join)
def test_every_command_and_option_has_a_help_text(path):
    done = CliRunner().invoke(main, [*path, "--help"])
    assert done.exit_code == 0 and "Usage:" in done.output
    command = main
    for name in path:
        command = command.get_command(click.Context(command), name)
    assert command.help
    options = [p for p in command.params if isinstance(p, click.Option) and not p.help]
    assert [option.name for option in options] == []


def test_the_list_says_what_the_commands_say():
    """Without importing them: that would take seconds."""
    program = "import sys; from tubepet.cli import main; main(['--help'], standalone_mode=False)"
    program += "; print(sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    listed, imported = done.stdout.strip().rsplit("\n", 1)
    for name, says in SENTENCES.items():
        command = main.get_command(click.Context(main), name)
        assert command.help.replace("\n", " ").startswith(says), name
        assert f"  {name} " in listed
    assert "'click'" in imported and "'numpy'" not in imported


def test_exit_codes_and_quiet(tmp_path):
    done = CliRunner().invoke(main, ["turing", "score", str(tmp_path / "no.json")])
    assert done.exit_code == 2
    (tmp_path / "bad.json").write_text("{}")
    done = CliRunner().invoke(main, ["--quiet", "turing", "score", str(tmp_path / "bad.json")])
    assert done.exit_code == 2 and done.stderr.startswith("error: ") and not done.stdout
