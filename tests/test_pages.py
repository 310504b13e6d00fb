"""Every command of every page is run, by the programs that it names, against a gateway that has what the page tells of.

`tests/pages` has a story for each page: what has to be the case before a command, the command as the page has it, and
what the page promises of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from adapters.webhook.fake import FakeShop
from tests.conftest import short_folder
from tests.pages import adapters, cut_over, desk, operations, quick_start, runbooks, skus, small_pages
from tests.pages.page import ELSEWHERE, PLACEHOLDERS, Page
from tests.pages.reading import commands_of, only_named, pages, text_of, without_reason
from tests.pages.stage import Fakes, Stage
from tests.pages.town import Town


class Story(NamedTuple):
    """`names`: what words of the page stand for. `given`: fixtures; a page without the town has its own stage."""

    play: Callable[..., None]
    names: Mapping[str, str] = {}
    given: tuple[str, ...] = ("town",)


STORIES = {
    "README.md": Story(quick_start.story, given=("tell",)),
    "CONTRIBUTING.md": Story(small_pages.contributing),
    "adapters/pinduoduo/README.md": Story(small_pages.pinduoduo, given=()),
    "adapters/taobao/README.md": Story(small_pages.taobao, given=()),
    "docs/adapters.md": Story(adapters.story, given=("stage",)),
    "docs/configuration.md": Story(small_pages.configuration),
    "docs/configuration.example.yaml": Story(small_pages.example),
    "docs/configuration.zh-CN.md": Story(small_pages.configuration_zh),
    "docs/cut-over.md": Story(cut_over.story, given=("fakes", "postgres_url")),
    "docs/desk.md": Story(desk.story, {"…": "3927461500123"}),
    "docs/how-an-order-travels.md": Story(small_pages.travels, {"NUMBER": "A2001"}),
    "docs/notices.md": Story(small_pages.notices),
    "docs/operations.md": Story(operations.story),
    "docs/quickstart.yaml": Story(small_pages.quick_start_file),
    "docs/runbooks/README.md": Story(runbooks.overview),
    "docs/runbooks/authorise.md": Story(runbooks.authorise, {"NAME": "tmall"}),
    "docs/runbooks/backlog.md": Story(runbooks.backlog),
    "docs/runbooks/blocked.md": Story(runbooks.blocked, {"代码": "rejected", "CODE": "rejected"}),
    "docs/runbooks/clock.md": Story(runbooks.clock),
    "docs/runbooks/conflict.md": Story(
        runbooks.conflict,
        {"代码": "cancelled_but_shipped", "CODE": "cancelled_but_shipped", "连接名": "shop-a", "NAME": "shop-a"},
    ),
    "docs/runbooks/database.md": Story(runbooks.database),
    "docs/runbooks/dead_letter.md": Story(
        runbooks.dead_letter, {"连接名": "shop-a", "NAME": "shop-a", "代码": "shape", "CODE": "shape"}
    ),
    "docs/runbooks/configs_differ.md": Story(runbooks.configs_differ),
    "docs/runbooks/error_ratio.md": Story(runbooks.error_ratio),
    "docs/runbooks/gate_held.md": Story(runbooks.gate_held),
    "docs/runbooks/gateway_down.md": Story(runbooks.gateway_down, {"...": "wrong.yaml"}),
    "docs/runbooks/hold.md": Story(runbooks.hold),
    "docs/runbooks/inbox.md": Story(runbooks.broker_away),
    "docs/runbooks/intake_lag.md": Story(runbooks.intake_lag),
    "docs/runbooks/kafka_not_read.md": Story(runbooks.broker_away),
    "docs/runbooks/ledger.md": Story(
        runbooks.ledger, {"SKU": "CUP-01", "仓库": "WH-HZ", "WAREHOUSE": "WH-HZ", "数量": "5", "PIECES": "5"}
    ),
    "docs/runbooks/level.md": Story(runbooks.level, {"NAME": "tmall"}),
    "docs/runbooks/retries.md": Story(runbooks.backlog),
    "docs/runbooks/ship_by.md": Story(runbooks.ship_by, {"NAME": "shop-a"}),
    "docs/runbooks/shop_not_read.md": Story(runbooks.shop_not_read),
    "docs/runbooks/target.md": Story(runbooks.target),
    "docs/runbooks/troubles.md": Story(runbooks.broker_away),
    "docs/runbooks/unknown_outcomes.md": Story(runbooks.unknown_outcomes),
    "docs/runbooks/worker.md": Story(runbooks.worker, {"连接名": "wms-1", "NAME": "wms-1"}),
    "docs/skus.md": Story(skus.story),
    "docs/webhook.md": Story(small_pages.webhook, given=()),
}
TWINS = {
    "README.zh-CN.md": "README.md",
    "docs/cut-over.zh-CN.md": "docs/cut-over.md",
    "docs/how-an-order-travels.zh-CN.md": "docs/how-an-order-travels.md",
}
"""Page → the page of the other language, which has the story of both."""


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    with Fakes() as fakes:
        yield fakes


@pytest.fixture
def town(fakes: Fakes) -> Iterator[Town]:
    with short_folder() as folder, Stage(folder) as stage:
        yield Town(stage, fakes)


@pytest.fixture
def stage(server_folder: Path) -> Iterator[Stage]:
    with Stage(server_folder) as stage:
        yield stage


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says a line on the terminal (one process, `-n 0`) and in the report (`--junitxml`)."""

    def tell(line: str) -> None:
        record_property("told", line)
        with capsys.disabled():
            print(f"\n{line}")

    return tell


def _of(path: str) -> object:
    return pytest.param(path, marks=pytest.mark.feature("F119")) if path == "README.md" else path


@pytest.mark.parametrize("path", [_of(page) for page in pages() if page not in TWINS])
def test_every_command_of_a_page_is_run(path: str, request: pytest.FixtureRequest) -> None:
    story = STORIES.get(path)
    if story is None:
        Page(path).over()
        return
    given = [request.getfixturevalue(name) for name in story.given]
    stage = given[0].stage if story.given == ("town",) else request.getfixturevalue("stage")
    page = Page(path, stage, story.names)
    story.play(page, *given)
    page.over()


@pytest.mark.parametrize("path", TWINS)
def test_both_languages_have_the_same_commands(path: str) -> None:
    first, second = (commands_of(text_of(page), PLACEHOLDERS) for page in (TWINS[path], path))
    assert first and list(map(without_reason, second)) == list(map(without_reason, first))


def test_a_command_that_no_story_runs_is_told() -> None:
    page = Page("docs/skus.md")
    with pytest.raises(
        AssertionError, match=r"docs/skus\.md: `ordergate skus template tmall .* is run by no test\. Add"
    ):
        page.over()
    with pytest.raises(AssertionError, match="the page goes on with"):
        page.run("ordergate skus list tmall")


def test_what_no_story_runs_stands_in_a_page() -> None:
    told = {command for page in pages() for command in commands_of(text_of(page), {})}
    assert told >= ELSEWHERE


def test_every_story_has_its_page() -> None:
    assert (STORIES.keys() | TWINS.keys()) - set(pages()) == set()


TEXT = """
`ordergate gates open|close NAME -r x`, `ordergate keys`, `deliveries
resolve`, `data_dir: ./data` and `ordergate`.

```sh
createdb ordergate      # `ordergate no`
ordergate gates open wms-1 --reason y
ordergate compare \\
    shop-a
```

```yaml
ordergate check: no
```
"""


def test_commands_are_found_in_blocks_and_in_the_text() -> None:
    assert commands_of(TEXT, {"NAME": "wms-1"}) == [
        "ordergate gates open wms-1 -r x",
        "ordergate gates close wms-1 -r x",
        "ordergate keys",
        "ordergate deliveries resolve",
        "createdb ordergate",
        "ordergate compare shop-a",
    ]


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("ordergate keys", True),
        ("ordergate keys new", False),
        ("ordergate pause wms-1", True),
        ("ordergate pause wms-1 -r x", False),
        ("ordergate deliveries resend A1 wms-1 --reason=x", True),
        ("ordergate deliveries resend A1 wms-1 1 --reason=x --confirmed-absent", False),
        ("ordergate run --workers", True),
        ("ordergate run --help", False),
        ("createdb", False),
    ],
)
def test_a_command_without_what_it_needs_is_only_named(command: str, named: bool) -> None:
    assert only_named(command) is named


@pytest.mark.parametrize("command", ["ordergate gates shut", "ordergate check --confg x"])
def test_what_does_not_exist_is_told(command: str) -> None:
    with pytest.raises(AssertionError, match="there is no"):
        only_named(command)


@pytest.mark.parametrize("more", ["/books", "/elsewhere -w ' %{http_code}'"])
def test_where_there_is_no_curl_ours_says_the_same(
    server_folder: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    shop = fakes.enter(FakeShop(secrets=(quick_start.SECRET,)))
    curl = shutil.which("curl")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with Stage(server_folder) as stage:
        body = f"-X POST -H 'content-type: application/json' --data-binary @{quick_start.ORDER}"
        for line in (f"curl -s {shop.url}{more}", f"curl -sS {body} {shop.url}{more}"):
            ours = stage.run(line)
            assert ours.code == 0 and ours.out, ours
            if curl is not None:
                assert stage.run(line.replace("curl", curl, 1)) == ours
