-- SKU tables of shops (the tables `listing` and `component`).

-- How often a shop's table (listing, component) has been changed. Intake remembers recipes under the version it read
-- them at; both take the advisory lock of `gateway.store.skus` around it.
CREATE TABLE sku_table (
    connection_id smallint PRIMARY KEY REFERENCES connection,
    version       integer NOT NULL,
    changed_at    timestamptz NOT NULL DEFAULT now()
);
