-- What people are told: what is the matter, since when, and which message they heard it in.

-- What one worker sees and no other table says: breakers that are not closed, a Kafka that does not take events.
-- Written when it changes; goes with the worker's row.
CREATE TABLE sighting (
    worker_id bigint NOT NULL REFERENCES worker ON DELETE CASCADE,
    kind      text NOT NULL,
    subject   text NOT NULL,
    code      text NOT NULL,
    since     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (worker_id, kind, subject)
);

-- Workers that were adopted instead of retiring, and who came after them.
CREATE TABLE worker_lost (
    worker_id   bigint PRIMARY KEY,
    name        text NOT NULL,
    started_at  timestamptz NOT NULL,
    lost_at     timestamptz NOT NULL DEFAULT now(),
    lanes       integer NOT NULL DEFAULT 0,
    replaced_by bigint
);

-- Conditions, open and lately ended: the key is what makes one notice of one change, whoever watches.
CREATE TABLE condition (
    kind        text NOT NULL,
    connection  text NOT NULL,
    subject     text NOT NULL,
    opened_at   timestamptz NOT NULL,
    clear_since timestamptz,
    closed_at   timestamptz,
    reopened    smallint NOT NULL DEFAULT 0,
    told        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, connection, subject)
);

-- One row per attempt to tell people. Written before the request leaves: the rows of the last minute are the rate of an
-- outlet, over restarts and whoever sends. `key` is the same for a message that is sent again because nobody knows
-- whether it arrived. `hold_until`: the outlet is left alone so long.
CREATE TABLE notice_message (
    message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key        text NOT NULL,
    channel    text NOT NULL,
    outlet     text NOT NULL,
    title      text NOT NULL,
    body       text NOT NULL,
    people     text[] NOT NULL DEFAULT '{}',
    notices    integer NOT NULL,
    began_at   timestamptz NOT NULL,
    ended_at   timestamptz,
    result     text,
    code       text,
    detail     text,
    hold_until timestamptz
);
CREATE INDEX notice_message_outlet ON notice_message (channel, outlet, began_at);
CREATE INDEX notice_message_unsettled ON notice_message (message_id) WHERE result IS NULL OR result = 'unknown';

-- One row per change that people are told of. `state`: waiting, sending, sent, merged (into a message with others), failed.
CREATE TABLE notice (
    notice_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    kind       text NOT NULL,
    connection text NOT NULL,
    subject    text NOT NULL,
    change     text NOT NULL,
    title      text NOT NULL,
    facts      text NOT NULL,
    advice     text NOT NULL,
    state      text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sending', 'sent', 'merged', 'failed')),
    message_id bigint,
    apart      boolean NOT NULL DEFAULT false,
    refused_by text[] NOT NULL DEFAULT '{}',
    why        text NOT NULL DEFAULT '',
    settled_at timestamptz
);
CREATE INDEX notice_open ON notice (at) WHERE state IN ('waiting', 'sending');
CREATE INDEX notice_message_id ON notice (message_id) WHERE message_id IS NOT NULL;
