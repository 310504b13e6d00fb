-- A `start_at` that was still to come when a gateway last started with it: it takes the place of the one before once it has
-- come to pass, and not where the file has left it out by then.
ALTER TABLE connection ADD COLUMN start_next timestamptz;
UPDATE connection SET start_next = start_at, start_at = NULL WHERE start_at > now();
