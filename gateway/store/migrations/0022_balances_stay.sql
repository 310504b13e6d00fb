-- A balance is never deleted: workers know it by its number, and would book on, past what is counted under a new one; and what its
-- movements sum up to would be nobody's. The lock is held for an instant, and no row is looked at.
CREATE FUNCTION balance_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '库存不能删除，改为设为 0：ordergate stock set % % 0 / a balance is never deleted, set it to 0 instead', OLD.sku, OLD.warehouse
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER stock_stays BEFORE DELETE ON stock FOR EACH ROW EXECUTE FUNCTION balance_stays();
