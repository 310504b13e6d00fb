-- A key that nobody has any more (`ordergate keys lost`): gateways start without it, and what it has sealed stays shut.
ALTER TABLE sealing_key ADD COLUMN lost_at timestamptz;
