"""Checkpoints are ignored if they are damaged or of another training."""

import logging

import numpy as np
import pytest
import torch

from tubepet.logs import log
from tubepet.training.checkpoint import load_checkpoint, save_checkpoint, training_digest


@pytest.fixture
def messages(caplog):
    log.propagate = True  # start_log of another test may have switched it off
    caplog.set_level(logging.INFO, logger="tubepet")
    return caplog


def test_what_goes_in_comes_out(tmp_path):
    state = {"model": {"w": torch.randn(3)}, "step": 7, "rows": [(0, "train", 1.5)], "none": None}
    save_checkpoint(tmp_path / "new/run.pt", state, "a")
    loaded = load_checkpoint(tmp_path / "new/run.pt", "a")
    assert torch.equal(loaded.pop("model")["w"], state.pop("model")["w"]) and loaded == state


def test_another_runs_checkpoint_is_ignored_and_said(tmp_path, messages):
    assert load_checkpoint(tmp_path / "run.pt", "a") is None
    save_checkpoint(tmp_path / "run.pt", {"step": 1}, "a")
    assert load_checkpoint(tmp_path / "run.pt", "b") is None
    assert "belongs to other settings or data" in messages.text


class Evil:
    """Would run a command if it were unpickled."""

    def __reduce__(self):
        return print, ("executed",)


def test_damaged_and_evil_files_are_ignored_and_said(tmp_path, messages, capsys):
    path = tmp_path / "run.pt"
    save_checkpoint(path, {"w": torch.randn(1000)}, "a")
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"garbage" * 100):
        path.write_bytes(damaged)
        assert load_checkpoint(path, "a") is None
    torch.save({"digest": "a", "state": Evil()}, path)
    assert load_checkpoint(path, "a") is None
    assert "executed" not in capsys.readouterr().out
    assert messages.text.count("is damaged") == 4


def test_digest_sees_settings_and_every_number():
    data = np.arange(5000.0).reshape(2500, 2)  # more rows than one piece
    base = training_digest({"a": 1, "b": 2}, data)
    assert base == training_digest({"b": 2, "a": 1}, data.copy())
    assert base != training_digest({"a": 1, "b": 3}, data)
    assert base != training_digest({"a": 1, "b": 2}, data.reshape(2, 2500))
    data[-1, -1] += 1
    assert base != training_digest({"a": 1, "b": 2}, data)
