-- Shops that are polled and written back to.

-- One owner per connection for what only one worker may do: poll, renew the token, publish levels, read again.
-- Whoever deletes a dead worker's row frees its duties with it.
CREATE TABLE duty (
    connection_id smallint PRIMARY KEY REFERENCES connection,
    worker_id     bigint REFERENCES worker ON DELETE SET NULL,
    claimed_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX duty_worker ON duty (worker_id);

-- How far a shop has been read: everything modified from `begun_at` up to `read_to` is durable here. `reread_at`: the
-- last full re-read began then. `failing`: why it cannot be read now, null: it can.
CREATE TABLE pull (
    connection_id smallint PRIMARY KEY REFERENCES connection,
    begun_at      timestamptz NOT NULL,
    read_to       timestamptz NOT NULL,
    reread_at     timestamptz NOT NULL,
    failing       text,
    failing_at    timestamptz
);

-- The newest authorisation of a shop. `seed` is the digest of what the configuration said when it was stored: another
-- configured token replaces it. `refused` is the platform's word that a person must authorise again; null: all is well.
CREATE TABLE credential (
    connection_id smallint PRIMARY KEY REFERENCES connection,
    seed          bytea NOT NULL,
    version       integer NOT NULL DEFAULT 1,
    token         bytea NOT NULL,
    refused       text,
    refused_at    timestamptz,
    changed_at    timestamptz NOT NULL DEFAULT now()
);

-- What a shop sells, by what its orders call it, and what stands for it in the warehouse (F125). `sent` is the level
-- that the shop has been told last; null: none yet.
CREATE TABLE listing (
    listing_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection_id smallint NOT NULL REFERENCES connection,
    sku           text NOT NULL,
    item_id       text NOT NULL DEFAULT '',
    sku_id        text NOT NULL DEFAULT '',
    title         text NOT NULL DEFAULT '',
    publish       boolean NOT NULL DEFAULT false,
    sent          integer,
    sent_at       timestamptz,
    not_before    timestamptz NOT NULL DEFAULT '-infinity',
    failures      smallint NOT NULL DEFAULT 0,
    refused       text,
    changed_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (connection_id, sku)
);
-- What one piece of a listing is made of: one row, or several of a bundle; gifts go along and are not sold by it.
CREATE TABLE component (
    listing_id    bigint NOT NULL REFERENCES listing ON DELETE CASCADE,
    sku           text NOT NULL,
    pieces        integer NOT NULL CHECK (pieces > 0),
    gift          boolean NOT NULL DEFAULT false,
    PRIMARY KEY (listing_id, sku, gift)
);
CREATE INDEX component_sku ON component (sku);
