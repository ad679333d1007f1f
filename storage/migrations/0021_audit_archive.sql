-- The only way by which audit rows leave the database: whole sealed batches, the oldest first, that a file holds.

-- Removes the rows of a batch whose root is `the_root` and remembers the file's name; returns how many they were, 0 when
-- that was done before. Their counts of rejections go with them; the seal stays, so that the chain does.
CREATE FUNCTION archive_audit(the_batch bigint, the_root bytea, file_name text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    seal audit_seal;
    removed integer;
BEGIN
    LOCK TABLE audit_seal IN SHARE ROW EXCLUSIVE MODE; -- one after the other with who seals and who forgets
    SELECT * INTO seal FROM audit_seal WHERE batch = the_batch;
    IF NOT FOUND OR seal.root <> the_root THEN
        RAISE EXCEPTION 'batch % is not sealed with this root', the_batch USING ERRCODE = 'restrict_violation';
    END IF;
    IF seal.archived_at IS NOT NULL THEN
        RETURN 0;
    END IF;
    IF EXISTS (SELECT FROM audit_seal WHERE batch = the_batch - 1 AND archived_at IS NULL) THEN
        RAISE EXCEPTION 'batch % comes before batch %', the_batch - 1, the_batch USING ERRCODE = 'restrict_violation';
    END IF;
    PERFORM set_config('stepgate.audit_door', 'archive', true);
    DELETE FROM rejection_count WHERE event_id = ANY (seal.event_ids);
    DELETE FROM audit_event WHERE event_id = ANY (seal.event_ids);
    GET DIAGNOSTICS removed = ROW_COUNT;
    IF removed <> cardinality(seal.event_ids) THEN
        RAISE EXCEPTION 'batch % is not whole', the_batch USING ERRCODE = 'restrict_violation';
    END IF;
    DELETE FROM audit_seal_salt WHERE batch = the_batch;
    UPDATE audit_seal SET archived_at = now(), archive_name = file_name WHERE batch = the_batch;
    PERFORM set_config('stepgate.audit_door', '', true);
    RETURN removed;
END $$;
