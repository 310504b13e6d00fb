-- What a shop was when a gateway last started with it, so that a change which would send orders twice is seen. Since `prefix_until`
-- it is watched under another prefix than that of its orders; `former` are those that it had before. `start_at` is the last one
-- that it was live with, `adapter` the one that it was last reached by. Null: none yet, or not since this migration.
ALTER TABLE connection
    ADD COLUMN prefix_until timestamptz,
    ADD COLUMN former       text[] NOT NULL DEFAULT '{}',
    ADD COLUMN start_at     timestamptz,
    ADD COLUMN adapter      text;
