-- Reports are claimed from those that have waited longest, whoever they are for (storage/turns.py). The index for claims
-- that put failures of all installations first (0005) serves no statement any more.
-- needs: 0000
CREATE INDEX outbox_front ON outbox (due_at) WHERE state = 'wanted';
DROP INDEX outbox_due;
