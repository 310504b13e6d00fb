-- Why nothing of an event was taken over into its order: `older` than what was known, or `unchanged`, as nothing in it was
-- new. Null for all others, and for those of before. No row is written anew.
ALTER TABLE event ADD COLUMN stale text;
