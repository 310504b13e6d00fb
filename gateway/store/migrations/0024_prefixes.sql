-- The prefix that a shop's order numbers had when a gateway last started with it live. With another one every order that is
-- told again would be a new one, and be sent a second time. Null: not live yet, or not since this migration.
ALTER TABLE connection ADD COLUMN prefix text;
