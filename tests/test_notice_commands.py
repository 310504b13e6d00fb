"""The commands about notices, run for real: a test message, the check, and the pages of what was told."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from adapters.wecom.fake import FakeWecom
from gateway.api.views import ConditionList, ConditionView, NoticeList
from gateway.core.notice import Kind
from gateway.store.notices import NoticeRow
from tests.core.sample import PLACED_AT
from tests.remote.test_pages import printed

KEY = "0f3c2d1e-aaaa-4bbb-8ccc-1234567890ab"
ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
data_dir: {folder}/data
database: {{url: "postgresql://nobody@127.0.0.1:1/none"}}
http: {{listen: "127.0.0.1:0", metrics_listen: "127.0.0.1:0"}}
connections:
  robot:
    adapter: wecom
    settings: {{robot_keys: ["{key}"], base_url: "{url}"}}
notices:
  channels: [robot]
  people: {{wang: {{userid: wangwu}}}}
"""


async def ordergate(*arguments: str | Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway", *map(str, arguments)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_test_message_mentions_everybody_and_says_why_it_did_not_arrive(tmp_path: Path) -> None:
    config = tmp_path / "ordergate.yaml"
    async with FakeWecom(keys={KEY}) as fake:
        config.write_text(CONFIG.format(folder=tmp_path, key=KEY, url=fake.url))
        code, out, err = await ordergate("notices", "test", "robot", "-c", config)
        assert (code, err) == (0, ""), out
        assert [(told.mentioned, told.text[:14]) for told in fake.told] == [(("wangwu",), "Ordergate 测试通知")]
        assert re.search(r"测试通知 \d\d-\d\d \d\d:\d\d:\d\d \(UTC\+8\) ·", fake.told[0].text)

        fake.keys.clear()
        code, out, _ = await ordergate("notices", "test", "robot", "-c", config, "--json")
        [outlet] = json.loads(out)["outlets"]
        assert (code, outlet["sent"]) == (1, False)
        assert outlet["what"].startswith("93000 invalid webhook url") and KEY not in out

        code, _, err = await ordergate("notices", "test", "robto", "-c", config)
        assert code == 1 and "did you mean `robot`?" in err
    assert len(fake.told) == 1


async def test_a_check_reaches_the_robot_and_tells_nobody(tmp_path: Path) -> None:
    config = tmp_path / "ordergate.yaml"
    async with FakeWecom(keys={KEY}) as fake:
        config.write_text(CONFIG.format(folder=tmp_path, key=KEY, url=fake.url))
        _, good, _ = await ordergate("check", "-c", config, "--json", "--lang", "en")
        fake.keys.clear()
        _, bad, _ = await ordergate("check", "-c", config, "--json", "--lang", "en")
    assert {note["where"]: note["what"] for note in json.loads(good)["notes"]}["connections.robot"] == (
        "it answers (a message to try it: ordergate notices test robot)"
    )
    problems = {problem["where"]: problem["what"] for problem in json.loads(bad)["problems"]}
    assert "93000" in problems["connections.robot"] and KEY not in bad
    assert fake.told == []


def row(state: str, message_id: int | None, *, why: str = "") -> NoticeRow:
    return NoticeRow(
        notice_id=7,
        at=PLACED_AT,
        kind="target",
        connection="wms-1",
        subject="create",
        change="opened",
        title="不可用：wms-1 下单，132 单在等",
        facts="",
        advice="",
        state=state,
        why=why,
        message_id=message_id,
        notices=None if message_id is None else 12,
        channel=None if message_id is None else "robot",
        people=["wang"],
        settled_at=None,
    )


@pytest.mark.parametrize(
    ("notice", "fate"),
    [
        (row("waiting", None), "待发"),
        (row("sending", 3), "发送中，消息 3"),
        (row("sent", 3), "已发，消息 3"),
        (row("merged", 3), "并入消息 3（共 12 条）"),
        (row("failed", None, why="robot: 40058 too long"), "失败：robot: 40058 too long"),
    ],
)
def test_every_notice_shows_what_became_of_it(notice: NoticeRow, fate: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = printed(capsys, NoticeList(notices=[notice], next=""), "notices", "list")
    assert fate in page and "不可用：wms-1 下单" in page
    assert "还有更多" in printed(capsys, NoticeList(notices=[notice], next="7"), "notices", "list")


def test_what_is_the_matter_now(capsys: pytest.CaptureFixture[str]) -> None:
    one = ConditionView(
        kind=Kind.TARGET, connection="wms-1", subject="create", opened_at=PLACED_AT, clear_since=None, told=132
    )
    assert "目标不可用 wms-1 下单" in " ".join(
        printed(capsys, ConditionList(watched=True, conditions=[one]), "notices", "open").split()
    )
    assert "一切正常" in printed(capsys, ConditionList(watched=True, conditions=[]), "notices", "open")
    unwatched = printed(capsys, ConditionList(watched=False, conditions=[]), "notices", "open")
    assert "一切正常" not in unwatched and "notices.channels" in unwatched
