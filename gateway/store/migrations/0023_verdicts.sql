-- What kept an order waiting after an event had been decided: codes with spaces between, as in `orders`. Null for one that
-- waited for nothing, and for those of before. A decision that no event brought about, with another outcome than before, is
-- a row of its own of connection 0, which is nobody's. No row is written anew.
ALTER TABLE event ADD COLUMN reasons text;
