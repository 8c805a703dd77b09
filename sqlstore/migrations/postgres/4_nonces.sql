-- nonce is a random number that is made anew at each write of a row, in the transaction
-- nonce_xid. oldest_xid is the oldest transaction that was open then. See resumePostgres. The
-- defaults also hold for rows that a program of version 3 inserts. If such a program updates
-- a row, nonce_xid is no longer the xid of the row. Rows that are older than these columns
-- have NULL.
ALTER TABLE {prefix}revocations
	ADD COLUMN nonce      uuid,
	ADD COLUMN nonce_xid  xid8,
	ADD COLUMN oldest_xid xid8;
ALTER TABLE {prefix}revocations
	ALTER COLUMN nonce      SET DEFAULT gen_random_uuid(),
	ALTER COLUMN nonce_xid  SET DEFAULT pg_current_xact_id(),
	ALTER COLUMN oldest_xid SET DEFAULT pg_snapshot_xmin(pg_current_snapshot());
UPDATE {prefix}schema SET oldest_program = 2 WHERE version = 4;
