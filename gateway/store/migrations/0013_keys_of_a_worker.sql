-- What a worker can open, while it runs: nobody seals with a key that one of them lacks (gateway/store/vault.py). Null: it
-- is of the release before, and nothing is known.
ALTER TABLE worker ADD COLUMN opens text[];
