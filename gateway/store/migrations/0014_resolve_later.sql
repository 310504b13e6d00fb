-- Taking many for handled is a redrive, too: one that sends nothing, begins later and can be stopped until then.

-- `does`: `send` its items again, or `resolve` them: deliveries become done, dead letters are discarded, as the word of the
-- author (items go from waiting to done or skipped; `released_at` is then when).
-- A worker of the release before would send whatever it finds due. What is resolved is due at `due_at` (null for `send`),
-- and its `next_at` is out of reach: such a worker lists it, stops it as it should, and takes no step of it.
ALTER TABLE redrive
    ADD COLUMN does text NOT NULL DEFAULT 'send' CHECK (does IN ('send', 'resolve')),
    ADD COLUMN due_at timestamptz,
    ADD CHECK (does = 'send' OR due_at IS NOT NULL AND next_at >= '9999-01-01 UTC');
