-- A seal of the first row (its hashes are not looked at here).
INSERT INTO audit_seal (batch, last_event_id, event_ids, row_hashes, name_hashes, previous_root, root, sealed_at)
SELECT 1, min(event_id), ARRAY[min(event_id)], sha256('row'), sha256('names'),
    decode(repeat('00', 32), 'hex'), sha256('root'), now() FROM audit_event;
INSERT INTO audit_seal_salt (batch, salts) VALUES (1, decode(repeat('01', 16), 'hex'));
