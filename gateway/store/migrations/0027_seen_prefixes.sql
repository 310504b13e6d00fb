-- All prefixes that a gateway has started with for a shop, live or only watched, the last one last: its orders may be known by
-- any of them.
ALTER TABLE connection ADD COLUMN seen text[] NOT NULL DEFAULT '{}';
UPDATE connection SET seen = array_remove(former || prefix, NULL);
