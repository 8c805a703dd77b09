-- One row for each revocation. key is the 16 bytes that id encodes, id is NULL
-- then; or the SHA-256 of another id. A row that is written again gets a new seq,
-- and none is ever given out twice.
CREATE TABLE {prefix}revocations (
	seq   INTEGER PRIMARY KEY AUTOINCREMENT,
	until INTEGER NOT NULL,
	key   BLOB    NOT NULL UNIQUE,
	id    BLOB
) STRICT;
CREATE INDEX {prefix}revocations_until ON {prefix}revocations (until);
-- A random text that belongs to this file.
CREATE TABLE {prefix}life (
	one  INTEGER PRIMARY KEY CHECK (one = 1),
	mark TEXT NOT NULL
) STRICT;
