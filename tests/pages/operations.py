"""docs/operations.md: what is to be made before, retention, a backup while orders flow, and the restore."""

from __future__ import annotations

import base64
import os
import sys

from gateway.testing.fakes import Faults
from tests.pages.page import Page
from tests.pages.stage import fetch, until
from tests.pages.town import AWAY, SECRET, Town

SECRETS = (
    "database_url", "encryption_key", "grafana_password", "postgres_password", "shop_a_secret", "smtp_password",
    "watchdog_url", "wecom_robot", "wecom_secret", "wms_1_secret",
)  # fmt: skip


def story(page: Page, town: Town) -> None:
    stage = page.stage
    made = page.run("./deploy/compose/make-secrets")
    assert sorted(made.split("\n")[:-1]) == [f"made secrets/{name}" for name in SECRETS]
    folder = stage.folder / "deploy/compose/secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all((folder / name).read_text() for name in SECRETS)
    assert stage.run("./deploy/compose/make-secrets").out == ""
    _as_a_service(page)
    assert "没有问题" in page.run("ordergate check")
    assert "用当前密钥加密" in page.run("ordergate keys reseal")
    assert "✓" in page.run("ordergate notices test ops-robot")

    assert page.run("ordergate migrate") == "已是最新\n"
    counted = page.run("ordergate keys status --count")
    assert "attempt.private_detail" in counted and "credential.token" in counted
    shipped = town.order("5001")
    town.sent(shipped)
    page.run("ordergate orders reconsider", more=f"{shipped} -r back")
    page.run("ordergate orders reconsider-many --connection shop-a --stage shipped")
    _retention(page, town)
    _another_key(page)

    environment = {"PGHOST": str(town.server.data_dir / "run"), "PGUSER": "ordergate", "DATABASE_URL": town.server.url}
    stage.environment |= environment
    sent = town.order("5002")
    town.sent(sent)
    town.wms.faults = AWAY
    waiting = town.order("5003")
    until(lambda: town.sql(_OPEN, waiting), "a delivery that does not get through")
    page.run('pg_dump --format=custom --file=ordergate.dump "$DATABASE_URL"')
    page.run("pg_basebackup --pgdata=backup --checkpoint=fast --wal-method=stream")
    assert "backup successfully verified" in stage.run("pg_verifybackup backup").out
    held = page.start("ordergate database -c ordergate.yaml")
    until(lambda: "\n" in held.said() or held.ended(), "the database to be there")
    assert held.said().startswith(f"export DATABASE_URL='{town.server.url}' PGHOST={town.server.data_dir / 'run'} PG")
    town.wms.faults = Faults()
    town.sql(_DUE, waiting)  # the longer the backup has taken, the longer it would wait
    town.sent(waiting)

    town.gateway.stop()
    fetch(town.server.url_of("postgres"), "DROP DATABASE ordergate WITH (FORCE)")
    page.run('createdb ordergate && pg_restore --exit-on-error --dbname="$DATABASE_URL" ordergate.dump')
    page.run(
        "dropdb --if-exists ordergate && createdb ordergate"
        ' && pg_restore --exit-on-error --dbname="$DATABASE_URL" ordergate.dump'
    )
    assert town.sql(_OPEN, waiting)
    held.stop()
    assert town.sql(_OPEN, waiting), "another one uses the server still"
    town.server.stop_blocking()
    page.run("mv data/postgres/data data/postgres/data.before")
    page.run("cp -a backup data/postgres/data && chmod 0700 data/postgres/data")
    page.run("chown -R --reference=data/postgres/data.before data/postgres/data")
    town.server.start_blocking()
    # In life nobody restores what was backed up a moment ago, with the worker of then seemingly alive.
    town.sql("UPDATE worker SET renewed_at = renewed_at - interval '1 hour'")
    assert town.sql(_OPEN, waiting), "open in the backup, and sent since"
    [(lanes,)] = town.sql("SELECT count(*) FROM lane")
    assert page.run("ordergate restored -c ordergate.yaml") == f"{lanes} 条未完成的下发将先向对方查询\n"
    town.gateway = stage.start_gateway("ordergate run -c ordergate.yaml")
    until(lambda: not town.sql(_OPEN, waiting), "what was open to be settled")
    listed = page.run("ordergate deliveries list")
    assert sent not in listed and waiting not in listed
    assert town.documents(sent) == town.documents(waiting) == 1
    # The one that was over has been purged to a tombstone, or is gone.
    assert "单号" in page.run("ordergate orders list --stage cancelled")
    assert "单号" in page.run("ordergate orders list --stage refunded")


def _as_a_service(page: Page) -> None:
    """The steps of the systemd unit, in a folder instead of the root; account and service are left out."""
    root = page.stage.folder / "machine"
    for folder in ("opt", "etc/systemd/system"):
        (root / folder).mkdir(parents=True)
    (root / "opt/ordergate").symlink_to(sys.prefix)
    page.run(
        "install -D -m 0640 -g ordergate deploy/systemd/ordergate.yaml /etc/ordergate/ordergate.yaml",
        instead={"-g ordergate": f"-g {os.getegid()}", " /etc": " machine/etc"},
    )
    page.run(
        "test -e /etc/ordergate/secrets.env || install -m 0600 /dev/null /etc/ordergate/secrets.env",
        instead={" /etc": " machine/etc"},
    )
    keyed = (
        "grep -q ENCRYPTION_KEY /etc/ordergate/secrets.env ||"
        ' echo "ENCRYPTION_KEY=$(/opt/ordergate/bin/ordergate keys new)" >>/etc/ordergate/secrets.env'
    )
    given = root / "etc/ordergate/secrets.env"
    page.run(keyed, instead={"/opt/": "machine/opt/", "/etc/": "machine/etc/"})
    assert given.stat().st_mode & 0o777 == 0o600
    with given.open("a") as file:
        file.write(f"PGPASSWORD=p\nSHOP_A_SECRET={SECRET}\nWMS_1_SECRET=w\n")
    page.run("install -m 0644 deploy/systemd/ordergate.service /etc/systemd/system/", instead={"/etc/": "machine/etc/"})
    # A command that reads the whole configuration, and nothing of the world.
    refused = page.run(
        "set -a; . /etc/ordergate/secrets.env; set +a",
        instead={"/etc/": "machine/etc/"},
        more="; ordergate database -c machine/etc/ordergate/ordergate.yaml",
        code=1,
    )
    assert "不由 ordergate 启动" in refused
    # Each command has a shell of its own here: without the line before, the values of `${NAME}` are not there.
    refused = page.run(
        "/opt/ordergate/bin/ordergate check -c /etc/ordergate/ordergate.yaml",
        instead={"/opt/": "machine/opt/", "/etc/": "machine/etc/"},
        code=2,
    )
    assert all(name in refused for name in ("PGPASSWORD", "SHOP_A_SECRET", "WMS_1_SECRET"))
    page.run("export ORDERGATE_TOKEN=og_…", instead={"og_…": page.stage.environment["ORDERGATE_TOKEN"]})
    lost = page.stage.environment["ORDERGATE_TOKEN"]
    fresh = page.run("ordergate token replace").strip()
    page.stage.environment["ORDERGATE_TOKEN"] = fresh
    assert fresh != lost and "编号" in page.stage.run("ordergate dead list").out


def _another_key(page: Page) -> None:
    """The steps as they are where nothing has to be changed; tests/store/test_vault.py changes keys."""
    assert len(base64.b64decode(page.run("ordergate keys new"))) == 32
    page.run("ordergate keys status")
    page.run("ordergate dead redrive --source shop-a --code sealed")
    page.run("ordergate deliveries redrive --target wms-1 --code sealed")
    assert "数据库里没有用过密钥 9f86d081" in page.run("ordergate keys lost 9f86d081", code=1)


def _retention(page: Page, town: Town) -> None:
    over = town.order("5001", status="cancelled", cancelled={"reason": "买家取消"})
    until(lambda: town.sql("SELECT 1 FROM orders WHERE number = $1 AND stage = 'cancelled'", over), "it to be over")
    nothing = "没有到期的内容\n"
    assert page.stage.run("ordergate purge --dry-run").out == nothing
    town.sql(
        "UPDATE orders SET created_at = created_at - interval '200 days', updated_at = updated_at - interval '200 days'"
        " WHERE number = $1",
        over,
    )
    due = page.run("ordergate purge --dry-run")
    assert "将清除（行）" in due and "orders（仅买家信息）" in due and "event" in due, due
    gone = page.run("ordergate purge")
    assert "已清除（行）" in gone and due.splitlines()[1:] == gone.splitlines()[1:]
    assert page.stage.run("ordergate purge --dry-run").out == nothing


_DUE = "UPDATE lane l SET not_before = now() FROM orders o WHERE o.order_id = l.order_id AND o.number = $1"
_OPEN = "SELECT 1 FROM lane l JOIN orders o USING (order_id) WHERE o.number = $1"
