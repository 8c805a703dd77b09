-- One row for each revocation. key is the 16 bytes that id encodes, id is NULL
-- then; or the SHA-256 of another id. xid is the transaction that wrote the row.
CREATE TABLE {prefix}revocations (
	xid   xid8   NOT NULL,
	until bigint NOT NULL,
	key   bytea  PRIMARY KEY,
	id    bytea
);
CREATE INDEX {prefix}revocations_xid ON {prefix}revocations (xid);
CREATE INDEX {prefix}revocations_until ON {prefix}revocations (until);
-- A random text that is good for as long as transaction ids only grow: after a
-- crash they may be given out again, and an unlogged table is empty.
CREATE UNLOGGED TABLE {prefix}life (
	one  bigint PRIMARY KEY CHECK (one = 1),
	mark text   NOT NULL
);
