-- Why an event was set aside and what to do about it, in Chinese beside the English; null where both say the same, and of
-- what was set aside before. No row is written. A gateway of the release before goes on, in English.
ALTER TABLE dead_letter
    ADD COLUMN private_message_zh bytea,
    ADD COLUMN private_advice_zh bytea;
