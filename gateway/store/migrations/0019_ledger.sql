-- Whether each balance is the sum of its movements is checked all the time, without summing the whole ledger each time.

-- The sum of a place's movements up to `ledger_check.until_at`; what moved since is added when it is looked at.
CREATE TABLE ledger_sum (
    stock_id  integer PRIMARY KEY,
    on_hand   bigint NOT NULL,
    locked    bigint NOT NULL,
    committed bigint NOT NULL
) WITH (fillfactor = 70);

-- How far the check is, and when it is due again: `next_at`, and `sum_at` over the whole ledger.
CREATE TABLE ledger_check (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    until_at timestamptz NOT NULL,
    next_at  timestamptz NOT NULL,
    sum_at   timestamptz NOT NULL
);

-- Balances that are not the sum of their movements: the balance less that sum.
CREATE TABLE ledger_off (
    stock_id  integer PRIMARY KEY,
    on_hand   bigint NOT NULL,
    locked    bigint NOT NULL,
    committed bigint NOT NULL,
    since     timestamptz NOT NULL DEFAULT now()
);
