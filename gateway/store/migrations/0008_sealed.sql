-- Buyer data may be sealed (gateway/store/vault.py).

-- Keys that rows are sealed with: none of them may be missing from the configuration.
CREATE TABLE sealing_key (
    key_id        text PRIMARY KEY,
    first_used_at timestamptz NOT NULL DEFAULT now()
);

-- Sealed, one body looks different each time: what tells two dead letters apart is its digest.
ALTER TABLE dead_letter ADD COLUMN body_sha256 bytea;
UPDATE dead_letter SET body_sha256 = sha256(body);
ALTER TABLE dead_letter ALTER COLUMN body_sha256 SET NOT NULL;
DROP INDEX dead_letter_open;
CREATE UNIQUE INDEX dead_letter_open ON dead_letter (number, md5(source || chr(31) || event_id), body_sha256)
    WHERE closed_at IS NULL;
