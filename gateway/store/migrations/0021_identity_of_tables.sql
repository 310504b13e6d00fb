-- Also the number of this table: a backup that is put back into the same database makes its tables anew. Null until the next
-- start of a gateway.
ALTER TABLE identity ADD COLUMN table_oid bigint;
