-- Times on this machine's clocks are wall (seconds since 1970), boot (seconds since its start) and
-- boot_id (which start); times on the API's clock are ISO 8601 in UTC.

CREATE TABLE run (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    id        TEXT NOT NULL UNIQUE,
    base_url  TEXT NOT NULL,
    account   TEXT NOT NULL,
    user      TEXT,
    wall      REAL NOT NULL,
    boot      REAL NOT NULL,
    boot_id   TEXT NOT NULL,
    ended     INTEGER NOT NULL DEFAULT 0,
    options   TEXT -- JSON, until nothing is planned any more
);

CREATE TABLE wave (
    number    INTEGER PRIMARY KEY AUTOINCREMENT, -- the one sequence of plans and intents of all runs
    run       INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    wall      REAL NOT NULL, -- when it was recorded; once that is known, when the request left
    boot      REAL NOT NULL,
    boot_id   TEXT NOT NULL,
    usual     REAL NOT NULL, -- seconds that its resets usually take, at the most
    sending   TEXT, -- NULL until the answer is recorded
    sent_at   TEXT, -- on the API's clock; stored once
    operations TEXT NOT NULL DEFAULT '', -- their ids in upper case, each between line ends
    unknown   INTEGER NOT NULL DEFAULT 0 -- servers whose outcome the answer left unknown
);
CREATE INDEX wave_by_run ON wave (run);
CREATE INDEX wave_in_doubt ON wave (run) WHERE sending IS NULL OR unknown > 0;

CREATE TABLE server (
    run       INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    place     INTEGER NOT NULL, -- in the order asked
    name      TEXT NOT NULL,
    state     TEXT NOT NULL, -- planned, intended, queued, refused, unknown or taken
    plan      INTEGER NOT NULL, -- the wave in whose transaction it was planned; a claim inherits it
    wave      INTEGER, -- NULL while planned
    turn      INTEGER, -- in the order of the answer
    operation TEXT COLLATE NOCASE,
    path      TEXT,
    alias     TEXT, -- the account in the path
    status    TEXT, -- the operation's latest
    message   TEXT,
    failed_check TEXT,
    over      INTEGER NOT NULL DEFAULT 0, -- the reset is known to be over
    taken_by  TEXT, -- the id of the run that took it
    PRIMARY KEY (run, place)
) WITHOUT ROWID;
CREATE INDEX server_by_name ON server (name, wave);

-- servers with what their run and their wave tell
CREATE VIEW server_row AS
SELECT server.*, run.id AS run_id, run.base_url, run.account, run.user, run.ended,
    wave.wall, wave.boot, wave.boot_id, wave.usual, wave.sent_at
FROM server JOIN run ON run.number = server.run LEFT JOIN wave ON wave.number = server.wave;

-- resets that may have reached their server
CREATE VIEW possible_reset AS
SELECT * FROM server_row WHERE state IN ('intended', 'queued', 'unknown');

CREATE TABLE listing (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    base_url  TEXT NOT NULL,
    account   TEXT NOT NULL,
    UNIQUE (base_url, account)
);
CREATE TABLE listed (
    listing    INTEGER NOT NULL REFERENCES listing ON DELETE CASCADE,
    datacenter TEXT, -- of a group, NULL for a server
    name       TEXT NOT NULL
);
CREATE INDEX listed_by_name ON listed (listing, datacenter, name);
