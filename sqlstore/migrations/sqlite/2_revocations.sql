-- One row for each revocation. If the id encodes 16 bytes, these are the key, and the
-- column id is NULL. Otherwise key is the SHA-256 of id. A row that is written again gets a
-- new seq, and no seq is used twice.
CREATE TABLE {prefix}revocations (
	seq   INTEGER PRIMARY KEY AUTOINCREMENT,
	until INTEGER NOT NULL,
	key   BLOB    NOT NULL UNIQUE,
	id    BLOB
) STRICT;
CREATE INDEX {prefix}revocations_until ON {prefix}revocations (until);
-- One row with a random text that names this file.
CREATE TABLE {prefix}epoch (
	one   INTEGER PRIMARY KEY CHECK (one = 1),
	value TEXT NOT NULL
) STRICT;
