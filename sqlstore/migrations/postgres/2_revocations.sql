-- One row for each revocation. If the id encodes 16 bytes, these are the key, and the
-- column id is NULL. Otherwise key is the SHA-256 of id. xid is the transaction that wrote
-- the row.
CREATE TABLE {prefix}revocations (
	xid   xid8   NOT NULL,
	until bigint NOT NULL,
	key   bytea  PRIMARY KEY,
	id    bytea
);
CREATE INDEX {prefix}revocations_xid ON {prefix}revocations (xid);
CREATE INDEX {prefix}revocations_until ON {prefix}revocations (until);
-- One row with a random text. It names the time in which transaction ids only grow. After
-- a crash, PostgreSQL may use transaction ids again, and an unlogged table is empty.
CREATE UNLOGGED TABLE {prefix}epoch (
	one   bigint PRIMARY KEY CHECK (one = 1),
	value text   NOT NULL
);
