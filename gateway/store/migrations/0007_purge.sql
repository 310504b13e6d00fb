-- What is removed by age, and what stays of it.

-- The movements that were removed, one row for each place: with them the ledger's sum is still the balance. No foreign
-- key: it would lock the balance, and intake would wait for that.
CREATE TABLE movement_past (
    stock_id  integer PRIMARY KEY,
    on_hand   bigint NOT NULL,
    locked    bigint NOT NULL,
    committed bigint NOT NULL,
    movements bigint NOT NULL,
    until_at  timestamptz NOT NULL
);

-- The sum of all that ever moved, by place; equal to `stock`.
CREATE VIEW ledger AS
SELECT stock_id, sum(on_hand)::bigint AS on_hand, sum(locked)::bigint AS locked, sum(committed)::bigint AS committed
  FROM (SELECT stock_id, on_hand, locked, committed FROM movement
        UNION ALL
        SELECT stock_id, on_hand, locked, committed FROM movement_past) AS moved
 GROUP BY stock_id;

-- How far the walk over the orders has come; it begins again some weeks after it began.
CREATE TABLE purge_walk (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    after_id  bigint NOT NULL,
    began_at  timestamptz NOT NULL,
    ended_at  timestamptz
);

-- When this database was restored from a backup. What happened before may have been sent already by the gateway that was
-- lost: of an order that such an event tells of, every target is asked before anything is sent (F130).
CREATE TABLE restoration (
    restored_at timestamptz NOT NULL DEFAULT now()
);
