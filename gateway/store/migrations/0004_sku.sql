-- SKU tables of shops, and what the publisher of their levels has to remember.

-- How often a shop's table (listing, component) has been changed. Intake remembers recipes under the version it read
-- them at; both take the advisory lock of `gateway.store.skus` around it.
CREATE TABLE sku_table (
    connection_id smallint PRIMARY KEY REFERENCES connection,
    version       integer NOT NULL,
    changed_at    timestamptz NOT NULL DEFAULT now()
);

-- `sending`: the level that a call under way tells, or one whose answer never came: the shop may have it.
ALTER TABLE listing ADD COLUMN sending integer;
CREATE INDEX listing_published ON listing (connection_id, changed_at) WHERE publish;
