-- Until when the shop wants an order shipped (gateway.core.order, `Order.ship_by`); null where it says nothing, where there
-- is nothing to ship (any more), and of what was stored before, until something changes that order. No row is written and no
-- index is built: who looks for what is late goes by what waits (gateway/store/ship_by.py). A gateway of the release before
-- goes on, and leaves the column as it is.
ALTER TABLE orders ADD COLUMN ship_by timestamptz;
