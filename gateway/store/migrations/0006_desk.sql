-- The desk: what waits for a person, and sending many things again.

-- Lanes that wait for a person, by root cause; `not_before` of a blocked lane is when it was blocked.
DROP INDEX lane_blocked;
CREATE INDEX lane_blocked ON lane (target_id, operation, blocked, not_before, order_id) WHERE blocked IS NOT NULL;

-- Orders that a person has to do something about: those that wait for the buyer, for the channel or for nobody are in
-- neither. The codes are `WAIT_FOR_OTHERS` of gateway/store/work.py; the queries say the same words.
CREATE INDEX orders_held ON orders (connection_id, reasons, updated_at, order_id)
    WHERE reasons <> '' AND reasons !~ '(^| )(unpaid|channel_hold|no_content|observed|before_start)( |$)';
DROP INDEX orders_conflict;
CREATE INDEX orders_conflict ON orders (connection_id, conflicts, updated_at, order_id) WHERE conflicts <> '';
CREATE INDEX dead_letter_waiting ON dead_letter (source, code, created_at, dead_letter_id) WHERE closed_at IS NULL;

-- Conflicts that a person has dealt with elsewhere; the order shows up again when they change.
CREATE TABLE conflict_handled (
    order_id   bigint PRIMARY KEY,
    conflicts  text NOT NULL,
    author     text NOT NULL,
    reason     text NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT now()
);

-- Blocked deliveries and dead letters on their way out again, at a pace. `wanted` is the filter they were chosen by
-- (JSON); nothing is released before `next_at`, which moves with every step: it is the pace, and outlives any worker.
CREATE TABLE redrive (
    redrive_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    wanted     text NOT NULL CHECK (wanted <> '{}'),
    reason     text NOT NULL,
    author     text NOT NULL,
    forced     boolean NOT NULL,
    per_s      real NOT NULL CHECK (per_s > 0),
    state      text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped')),
    created_at timestamptz NOT NULL DEFAULT now(),
    next_at    timestamptz NOT NULL,
    ended_at   timestamptz,
    ended_by   text
);
CREATE INDEX redrive_running ON redrive (next_at) WHERE state = 'running';

-- waiting: untouched so far; released: free to be sent; done: the target has it (or intake has the event);
-- again: blocked again; skipped: it was no more as chosen; kept: untouched when the redrive was stopped;
-- undone: released and put back as it was; left: it was on its way already when the redrive was stopped.
-- `blocked` is how it was chosen; `in_doubt`, `bursts` and `not_before` are the
-- lane's before its release, `released_at` is the lane's `not_before` after it: while that stands, nothing has left.
CREATE TABLE redrive_item (
    redrive_id     bigint NOT NULL REFERENCES redrive ON DELETE CASCADE,
    n              integer NOT NULL,
    state          text NOT NULL DEFAULT 'waiting',
    order_id       bigint,
    target_id      smallint,
    seq            smallint,
    dead_letter_id bigint,
    blocked        text,
    ask            boolean NOT NULL DEFAULT true,
    settled_at     timestamptz,
    in_doubt       boolean,
    bursts         smallint,
    not_before     timestamptz,
    released_at    timestamptz,
    result         smallint,
    PRIMARY KEY (redrive_id, n)
) WITH (fillfactor = 70);
CREATE INDEX redrive_item_state ON redrive_item (redrive_id, state, n);
CREATE INDEX redrive_item_order ON redrive_item (order_id) WHERE order_id IS NOT NULL;
-- A lane or a dead letter is in one redrive at a time.
CREATE UNIQUE INDEX redrive_item_lane ON redrive_item (order_id, target_id) WHERE state IN ('waiting', 'released');
CREATE UNIQUE INDEX redrive_item_letter ON redrive_item (dead_letter_id) WHERE state = 'waiting';

CREATE INDEX audit_subject ON audit (subject text_pattern_ops);
