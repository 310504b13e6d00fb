-- Words that may quote a buyer may be sealed (docs/decisions/0008): what a target answered, why an input was refused,
-- what people wrote beside what they did.

-- Each gets a column of bytes beside its text, which is read where that is null: no row is written, each ALTER holds its
-- table for a moment, and a gateway of the release before goes on. It keeps filling the text columns until it ends, and
-- shows nothing where only the new ones are filled. `ordergate keys reseal` seals the texts and empties their columns;
-- without a key they stay until they are purged.
-- All at once, the busiest last: nobody waits for it while another is waited for.
LOCK TABLE redrive, conflict_handled, audit, dead_letter, credential, attempt;
ALTER TABLE attempt ADD COLUMN private_detail bytea;
ALTER TABLE dead_letter
    ADD COLUMN private_message bytea,
    ADD COLUMN private_advice bytea,
    ALTER COLUMN message SET DEFAULT '';
ALTER TABLE audit ADD COLUMN private_reason bytea;
ALTER TABLE conflict_handled ADD COLUMN private_reason bytea, ALTER COLUMN reason SET DEFAULT '';
ALTER TABLE redrive ADD COLUMN private_reason bytea, ALTER COLUMN reason SET DEFAULT '';

-- `refused` is looked at by statements, so it keeps the code; a row for each shop is soon written.
ALTER TABLE credential ADD COLUMN private_refused bytea;
UPDATE credential
   SET private_refused = convert_to(refused, 'UTF8'),
       refused = coalesce(substring(refused from '^[A-Za-z0-9._-]{1,64}'), 'other')
 WHERE refused IS NOT NULL;
