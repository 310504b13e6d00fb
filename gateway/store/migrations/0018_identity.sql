-- Which database this is, by the server and the number there: a backup that is restored has another one. One row, written
-- at the first start of a gateway. A gateway of the release before neither reads nor writes it.
CREATE TABLE identity (
    one               boolean PRIMARY KEY DEFAULT true CHECK (one),
    system_identifier bigint NOT NULL,
    database_oid      bigint NOT NULL
);
