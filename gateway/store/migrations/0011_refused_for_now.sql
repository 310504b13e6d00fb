-- What a platform refuses now and may take later: a renewal, a level. All is added, no row is written: a gateway of the
-- release before goes on, and leaves refused levels alone as it did.

-- `renewal_refused`: no new token is given for this one, which is good until it ends, or is refused itself. `planted`: the
-- digests of tokens that the configuration said before `seed`.
ALTER TABLE credential
    ADD COLUMN renewal_refused text,
    ADD COLUMN renewal_refused_at timestamptz,
    ADD COLUMN planted bytea[] NOT NULL DEFAULT '{}';

-- While a listing is `refused`: since when, which level was refused last (null: something else has come of it since), and
-- from when on a lower one may be told without waiting for `not_before`.
ALTER TABLE listing
    ADD COLUMN refused_at timestamptz,
    ADD COLUMN refused_level integer,
    ADD COLUMN lower_from timestamptz NOT NULL DEFAULT '-infinity';
CREATE INDEX listing_refused ON listing (connection_id) WHERE refused IS NOT NULL;
