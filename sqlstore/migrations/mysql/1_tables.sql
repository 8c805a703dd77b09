-- A statement that changes a table commits at once, so each statement may be executed again
-- after a migration that failed halfway. All texts are bytes, so no collation plays a part.
--
-- One row for each session. owner is a digest of issuer and subject, and session is a digest
-- of id, because these texts may be too long for an index. Times are microseconds since 1970.
-- sweep_hour is the hour since 1970 from which on the row may be removed. It changes at most
-- once an hour. The other columns are those of SessionRecord.
CREATE TABLE IF NOT EXISTS {prefix}sessions (
	owner       VARBINARY(16) NOT NULL,
	session     VARBINARY(16) NOT NULL,
	generation  BIGINT        NOT NULL,
	previous    BIGINT        NOT NULL,
	parent      BIGINT        NOT NULL,
	parent_step BIGINT        NOT NULL,
	epoch       BIGINT        NOT NULL,
	rotated_at  BIGINT        NOT NULL,
	expires_at  BIGINT        NOT NULL,
	sweep_hour  BIGINT        NOT NULL,
	issuer      LONGBLOB      NOT NULL,
	subject     LONGBLOB      NOT NULL,
	id          LONGBLOB      NOT NULL,
	data        LONGBLOB      NOT NULL,
	details     LONGBLOB      NOT NULL,
	PRIMARY KEY (owner, session),
	KEY {prefix}sessions_sweep (sweep_hour)
) ENGINE = InnoDB;
-- One row for each revocation, and one more if its end has changed. seq counts the rows without
-- gaps. If the id encodes 16 bytes, these are the id_key, and the column id is NULL. Otherwise
-- id_key is the SHA-256 of id. previous is the nonce of the log before this row was written.
CREATE TABLE IF NOT EXISTS {prefix}revocations (
	seq      BIGINT        NOT NULL PRIMARY KEY,
	until    BIGINT        NOT NULL,
	id_key   VARBINARY(32) NOT NULL,
	id       LONGBLOB,
	previous BINARY(16)    NOT NULL,
	KEY {prefix}revocations_key (id_key, until),
	KEY {prefix}revocations_until (until)
) ENGINE = InnoDB;
-- One row. seq is that of the newest revocation. nonce is a hash of the nonce before that
-- revocation, which is previous, and a random text.
CREATE TABLE IF NOT EXISTS {prefix}log (
	one      BIGINT     NOT NULL PRIMARY KEY,
	seq      BIGINT     NOT NULL,
	nonce    BINARY(16) NOT NULL,
	previous BINARY(16) NOT NULL
) ENGINE = InnoDB;
INSERT IGNORE INTO {prefix}log (one, seq, nonce, previous) VALUES (1, 0, UNHEX(REPLACE(UUID(), '-', '')), REPEAT('0', 16));
-- 256 rows. A transaction that writes nothing else adds 1 to n, to show that the server can
-- commit. The row is also the lock of Create with a limit, for the owners of this slot.
CREATE TABLE IF NOT EXISTS {prefix}slots (
	slot BIGINT NOT NULL PRIMARY KEY,
	n    BIGINT NOT NULL
) ENGINE = InnoDB;
INSERT IGNORE INTO {prefix}slots (slot, n) WITH RECURSIVE numbers (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i < 255) SELECT i, 0 FROM numbers;
