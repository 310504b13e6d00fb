"""What people hand to commands in files: everything that is wrong in one is told at once, in Chinese first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main
from tests.pages.reading import ROOT
from tests.remote.answering import OK, answering

WRONG = "sku,warehouse,on_hand\nCUP-01,W,5\nCUP-01,W,6\nX,,3\nY,W,-1\nZ,W,１２\n"


def told(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *command, "--token", "og_x"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return done.stderr


def test_every_wrong_line_of_a_stock_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "stock.csv"
    file.write_text(WRONG)
    lines = told("stock", "import", str(file), "-r", "盘点").splitlines()
    assert [line.partition("stock.csv:")[2].partition(":")[0] for line in lines] == ["3", "4", "5", "6"]
    assert "CUP-01 W 重复，第 2 行已有" in lines[0]


@pytest.mark.parametrize(
    ("content", "zh"),
    [
        (b"sku,warehouse,on_hand\n\xff\xff,W,5\n", "编码不是 UTF-8 或 GBK，请另存为“CSV UTF-8”"),
        ("sku，warehouse，on_hand\nX，W，5\n".encode(), "第一行应为 sku,warehouse,on_hand（半角逗号）"),
        (("sku,warehouse,on_hand\n" + "X,,1\n" * 50).encode(), "……另有 30 处"),
        (("sku,warehouse,on_hand\nX,W," + "9" * 5000).encode(), "stock.csv:2: 在库：需要 0 到 2000000000 的整数"),
        (("sku,warehouse,on_hand\n" + "X" * 200_000).encode(), "第 2 行不是有效的 CSV"),
    ],
)
def test_a_stock_file_of_another_form_is_told_what_to_do(content: bytes, zh: str, tmp_path: Path) -> None:
    (tmp_path / "stock.csv").write_bytes(content)
    assert zh in told("stock", "import", str(tmp_path / "stock.csv"), "-r", "盘点")


def test_what_is_pasted_with_blanks_is_no_other_place(capsys: pytest.CaptureFixture[str]) -> None:
    body = b'{"changed":1,"created":0,"woken":0}'
    with answering(OK + b"%d\r\n\r\n%s" % (len(body), body)) as (url, asked):
        with pytest.raises(SystemExit):
            main(["stock", "set", "CUP-01 ", "\u3000WH-HZ", "5", "-r", "盘点", "--url", url, "--token", "og_x"])
    assert b'{"sku": "CUP-01", "warehouse": "WH-HZ", "on_hand": 5}' in asked()


@pytest.mark.parametrize(
    ("content", "zh"),
    [
        (b'{"receiver": {}\n"x": 1}', "第 2 行第 1 个字符处有误"),
        ("{“receiver”：1}".encode(), "第 1 行第 2 个字符处有误"),
        ('{"buyer_note": "急"}'.encode("gb18030"), "不是 UTF-8"),
    ],
)
def test_an_edit_that_is_no_json_is_told_where(content: bytes, zh: str, tmp_path: Path) -> None:
    (tmp_path / "fix.json").write_bytes(content)
    said = told("deliveries", "resend", "A1", "wms-1", "1", "--edit", str(tmp_path / "fix.json"), "-r", "x")
    assert f"fix.json 不是 JSON：{zh}" in said


@pytest.mark.parametrize(
    ("given", "zh"),
    [
        (("table.pdf",), "table.pdf 要以 .xlsx 或 .csv 结尾，或加 --format"),
        (("table",), "table 要以 .xlsx 或 .csv 结尾，或加 --format"),
        (("table.xlsx.bak",), "table.xlsx.bak 要以 .xlsx 或 .csv 结尾，或加 --format"),
        (("table.xlsx", "--format", "csv"), "--format csv 与文件名 table.xlsx 不符"),
        (("table.CSV", "--format", "xlsx"), "--format xlsx 与文件名 table.CSV 不符"),
    ],
)
@pytest.mark.parametrize("what", ["export", "template"])
def test_a_file_is_not_written_under_a_name_that_says_something_else(
    what: str, given: tuple[str, ...], zh: str, tmp_path: Path
) -> None:
    assert zh in told("skus", what, "shop", str(tmp_path / given[0]), *given[1:]).replace(f"{tmp_path}/", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "form"),
    [
        (("t.XLSX",), "xlsx"),
        (("t.csv",), "csv"),
        (("t", "--format", "csv"), "csv"),
        (("t.txt", "--format=xlsx"), "xlsx"),
    ],
)
def test_a_table_is_written_as_its_name_or_its_format_says(
    given: tuple[str, ...], form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = b'{"name":"x","skus":1,"file":"eA=="}'
    with answering(OK + b"%d\r\n\r\n%s" % (len(body), body)) as (url, asked), pytest.raises(SystemExit) as ended:
        main(["skus", "export", "shop", str(tmp_path / given[0]), *given[1:], "--url", url, "--token", "og_x"])
    assert not ended.value.code and (tmp_path / given[0]).read_bytes() == b"x"
    assert f"format={form}".encode() in asked()
