-- What a worker seals with, while it runs (gateway/store/vault.py): no key is struck off that one still writes with. Null:
-- it seals nothing, or is of the release before.
ALTER TABLE worker ADD COLUMN key_id text;
