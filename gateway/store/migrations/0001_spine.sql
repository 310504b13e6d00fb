-- The spine: orders, stock, outbox, both ends of the stream.

-- Names of connections as small numbers: rows that exist per order carry two bytes instead of a name.
CREATE TABLE connection (
    connection_id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text NOT NULL UNIQUE,
    paused        boolean NOT NULL DEFAULT false,
    pause_reason  text NOT NULL DEFAULT ''
);

-- One row per order; `reasons` and `conflicts` are codes with spaces between. `state` is the merged order (MessagePack of gateway.core.order.Order); the columns beside it
-- are what is searched. Order ids are handed out in blocks, so they grow per worker, not globally.
CREATE SEQUENCE order_block INCREMENT 1000;
CREATE TABLE orders (
    order_id      bigint PRIMARY KEY,
    number        text NOT NULL UNIQUE,
    connection_id smallint,
    stage         text NOT NULL,
    reasons       text NOT NULL DEFAULT '',
    conflicts     text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    state         bytea NOT NULL
) WITH (fillfactor = 90);
ALTER TABLE orders ALTER COLUMN state SET STORAGE MAIN;
-- What a person may have to look at; the many orders that flow are in neither.
CREATE INDEX orders_waiting ON orders (stage, updated_at) WHERE stage IN ('received', 'reviewed', 'conflict');
CREATE INDEX orders_conflict ON orders (updated_at) WHERE conflicts <> '';

-- Every event of an order, once, with the untouched payload (zstd). The key decides what is a duplicate (F9).
CREATE TABLE event (
    order_id      bigint NOT NULL,
    digest        bytea NOT NULL,
    event_id      text NOT NULL,
    connection_id smallint NOT NULL,
    type          text NOT NULL,
    happened_at   timestamptz NOT NULL,
    taken_at      timestamptz NOT NULL,
    stage         text NOT NULL,
    body          bytea NOT NULL,
    PRIMARY KEY (order_id, digest)
);
ALTER TABLE event ALTER COLUMN body SET STORAGE EXTERNAL;

-- Stock: one balance per SKU and warehouse, changed only together with a movement.
CREATE TABLE stock (
    stock_id  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku       text NOT NULL,
    warehouse text NOT NULL,
    on_hand   integer NOT NULL DEFAULT 0 CHECK (on_hand >= 0),
    locked    integer NOT NULL DEFAULT 0 CHECK (locked >= 0),
    committed integer NOT NULL DEFAULT 0 CHECK (committed >= 0),
    CHECK (on_hand - locked - committed >= 0),
    UNIQUE (sku, warehouse)
) WITH (fillfactor = 50);
CREATE TABLE movement (
    stock_id  integer NOT NULL,
    order_id  bigint,
    on_hand   integer NOT NULL,
    locked    integer NOT NULL,
    committed integer NOT NULL,
    reason    text,
    moved_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX movement_order ON movement USING brin (order_id) WITH (pages_per_range = 16);
CREATE INDEX movement_moved ON movement USING brin (moved_at);

-- Outbox. `delivery` and `attempt` are only ever added to; a lane exists only while something is open.
CREATE TABLE delivery (
    order_id   bigint NOT NULL,
    target_id  smallint NOT NULL,
    seq        smallint NOT NULL,
    operation  text NOT NULL,
    key        text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, target_id, seq)
);
-- A person's edit of what is to be sent; the newest counts.
CREATE TABLE delivery_edit (
    edit_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id   bigint NOT NULL,
    target_id  smallint NOT NULL,
    seq        smallint NOT NULL,
    body       bytea NOT NULL,
    author     text NOT NULL,
    edited_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX delivery_edit_delivery ON delivery_edit (order_id, target_id, seq);
CREATE TABLE attempt (
    order_id   bigint NOT NULL,
    target_id  smallint NOT NULL,
    seq        smallint NOT NULL,
    worker_id  bigint NOT NULL,
    ended_at   timestamptz NOT NULL,
    took_ms    integer NOT NULL,
    result     smallint NOT NULL,
    code       text,
    detail     text
);
CREATE INDEX attempt_delivery ON attempt (order_id);

-- The lane of one order to one target: head is the command being sent, tail the last one planned.
CREATE TABLE lane (
    order_id   bigint NOT NULL,
    target_id  smallint NOT NULL,
    operation  text NOT NULL,
    head       smallint NOT NULL,
    tail       smallint NOT NULL,
    worker_id  bigint,
    in_doubt   boolean NOT NULL DEFAULT false,
    blocked    text,
    bursts     smallint NOT NULL DEFAULT 0,
    not_before timestamptz NOT NULL DEFAULT now(),
    opened_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, target_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX lane_free ON lane (target_id, operation, not_before) WHERE worker_id IS NULL AND blocked IS NULL;
CREATE INDEX lane_blocked ON lane (target_id, opened_at) WHERE blocked IS NOT NULL;

-- Who is alive. The row is the fence: whoever claims or gives birth holds a key-share lock on its own,
-- whoever adopts deletes the dead one's.
CREATE TABLE worker (
    worker_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    lease_s    real NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    renewed_at timestamptz NOT NULL DEFAULT now()
);

-- The second leg of the inbound stream, and the only one where no Kafka is configured.
CREATE TABLE inbox (
    inbox_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id    text NOT NULL,
    source      text NOT NULL,
    type        text NOT NULL,
    order_key   text NOT NULL,
    happened_at timestamptz NOT NULL,
    taken_at    timestamptz NOT NULL DEFAULT now(),
    traceparent text NOT NULL DEFAULT '',
    body        bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 20000);

-- What could not be decoded or decided, whole. Open rows hold back later events of the same order.
CREATE TABLE dead_letter (
    dead_letter_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id    text NOT NULL,
    source      text NOT NULL,
    type        text NOT NULL,
    order_key   text NOT NULL,
    number      text NOT NULL,
    happened_at timestamptz NOT NULL,
    taken_at    timestamptz NOT NULL,
    traceparent text NOT NULL DEFAULT '',
    body        bytea NOT NULL,
    leg         text NOT NULL,
    partition   integer NOT NULL,
    position    bigint NOT NULL,
    code        text NOT NULL,
    message     text NOT NULL,
    advice      text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    closed_at   timestamptz,
    closed_by   text,
    resolution  text
);
CREATE UNIQUE INDEX dead_letter_open ON dead_letter (number, md5(source || chr(31) || event_id), md5(body))
    WHERE closed_at IS NULL;

-- The administrator's token (only its hash), and who did what by hand.
CREATE TABLE api_token (
    token_id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    sha256     bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE TABLE audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    actor    text NOT NULL,
    action   text NOT NULL,
    subject  text NOT NULL,
    reason   text NOT NULL DEFAULT ''
);

-- Breakers opened or closed by hand; every worker reads them.
CREATE TABLE breaker_override (
    target_id  smallint NOT NULL,
    operation  text NOT NULL,
    forced     text NOT NULL CHECK (forced IN ('open', 'closed')),
    reason     text NOT NULL,
    author     text NOT NULL,
    until_at   timestamptz NOT NULL,
    PRIMARY KEY (target_id, operation)
);
