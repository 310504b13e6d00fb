"""Who starts where nothing of the run before is alive has its name; nobody else has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.run_name import run_name


def test_the_next_run_has_the_name_of_the_one_before(tmp_path: Path) -> None:
    with run_name(tmp_path) as (first, lock):
        assert lock is not None
    with run_name(tmp_path) as (second, _):
        assert second == first


def test_a_gateway_beside_has_another(tmp_path: Path) -> None:
    with run_name(tmp_path) as (first, _), run_name(tmp_path) as (beside, lock), run_name(tmp_path) as (third, _):
        assert len({first, beside, third}) == 3
        assert lock is None
    with run_name(tmp_path) as (again, _):
        assert again == first


def test_while_a_worker_of_a_dead_parent_lives_nobody_has_its_name(tmp_path: Path) -> None:
    with run_name(tmp_path) as (first, lock):
        assert lock is not None
        worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    with worker, run_name(tmp_path) as (meanwhile, _):
        assert meanwhile != first
        worker.kill()
        worker.wait()
        with run_name(tmp_path) as (afterwards, _):
            assert afterwards == first


def test_a_copy_of_the_folder_has_another(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with run_name(tmp_path / "data") as (first, _):
        pass
    shutil.copytree(tmp_path / "data", tmp_path / "copy", copy_function=shutil.copy2)
    with run_name(tmp_path / "copy") as (copied, _):
        assert copied != first


def test_a_host_of_another_name_has_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_name(tmp_path) as (first, _):
        pass
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename="gateway-2"))
    with run_name(tmp_path) as (elsewhere, _):
        assert elsewhere != first


def test_where_nothing_can_be_written_the_name_is_new_each_time(tmp_path: Path) -> None:
    with run_name(tmp_path / "gone") as (first, lock):
        assert lock is None
    with run_name(tmp_path / "gone") as (second, _):
        assert second != first
