-- The block ranges of `movement` are summarized every night, and anew where rows were removed. PostgreSQL lets nobody but
-- their owner do that, and who runs the gateway may be another user: it runs as whoever migrates. A gateway of the release
-- before has no use for it.
CREATE FUNCTION summarize_movements(anew boolean) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT brin_desummarize_range('movement_order', block)
      FROM generate_series(0, pg_relation_size('movement') / current_setting('block_size')::integer - 1, 16) AS block
     WHERE anew;
    SELECT brin_summarize_new_values('movement_order');
    SELECT brin_desummarize_range('movement_moved', block)
      FROM generate_series(0, pg_relation_size('movement') / current_setting('block_size')::integer - 1, 128) AS block
     WHERE anew;
    SELECT brin_summarize_new_values('movement_moved');
$$;
