-- What transcripts said, file by file, and sums of what counts. A file's rows, its checkpoint and the sums change in one
-- transaction: the store is always as if reading had stopped somewhere. No column can hold a word of a conversation.
-- Times are milliseconds since 1970, UTC; places are byte offsets into the file; hashes are XXH3.

-- State of the database as a whole, by key; see store/sums.rs.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Texts that occur often: ids of sessions and agents, models, directories, branches, versions, names of tools.
CREATE TABLE names (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

-- Directories of tools, absolute and canonical.
CREATE TABLE roots (
    id   INTEGER PRIMARY KEY,
    tool TEXT NOT NULL,
    dir  TEXT NOT NULL,
    UNIQUE (tool, dir)
) STRICT;

CREATE TABLE files (
    id               INTEGER PRIMARY KEY,
    root             INTEGER NOT NULL REFERENCES roots (id),
    name             TEXT NOT NULL,             -- path below the root
    -- Bytes up to the last newline read: claims from there on are of an unfinished line. i64::MAX once archived.
    reached          INTEGER NOT NULL,
    state            TEXT NOT NULL,             -- JSON: what reading goes on from
    archived_at      INTEGER,                   -- when the file was found deleted
    last_at          INTEGER,                   -- newest time of a record
    -- Lineage, of tools whose forks repeat rows of their parents.
    session          INTEGER REFERENCES names (id),
    parent           INTEGER REFERENCES names (id),
    started_at       INTEGER,
    generation       INTEGER NOT NULL DEFAULT 0, -- ancestors known
    -- Counts of bytes and lines, an unfinished last line included.
    bytes            INTEGER NOT NULL DEFAULT 0,
    lines            INTEGER NOT NULL DEFAULT 0,
    records          INTEGER NOT NULL DEFAULT 0,
    unknown_records  INTEGER NOT NULL DEFAULT 0,
    usage_records    INTEGER NOT NULL DEFAULT 0,
    repeated_records INTEGER NOT NULL DEFAULT 0,
    bad_counts       INTEGER NOT NULL DEFAULT 0,
    rejected_lines   INTEGER NOT NULL DEFAULT 0,
    pending_lines    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (root, name)
) STRICT;
CREATE INDEX files_by_session ON files (session) WHERE session IS NOT NULL;
CREATE INDEX files_by_parent ON files (parent) WHERE parent IS NOT NULL;

-- What files claim of responses. `wins` marks those that count, by the core's rules (app/core/src/ledger/rules.rs).
CREATE TABLE claims (
    file              INTEGER NOT NULL REFERENCES files (id),
    byte_offset       INTEGER NOT NULL,
    line_index        INTEGER NOT NULL,
    session           INTEGER NOT NULL REFERENCES names (id),
    agent             INTEGER REFERENCES names (id),
    sidechain         INTEGER NOT NULL,
    -- Hash of the vendor's message id, or of all rows up to this one (`in_lineage`); null: a response by itself.
    message_high      INTEGER,
    message_low       INTEGER,
    in_lineage        INTEGER NOT NULL,
    request           INTEGER,                  -- hash of the vendor's request id
    model             INTEGER NOT NULL REFERENCES names (id),
    at                INTEGER,
    input             INTEGER NOT NULL,
    output            INTEGER NOT NULL,
    cache_creation    INTEGER NOT NULL,
    cache_creation_1h INTEGER NOT NULL,
    cache_read        INTEGER NOT NULL,
    reasoning         INTEGER NOT NULL,
    bad_counts        INTEGER NOT NULL,
    wins              INTEGER NOT NULL,
    PRIMARY KEY (file, byte_offset, line_index)
) STRICT, WITHOUT ROWID;

-- Sums of the claims that count. Undated ones have the smallest integer for a quarter hour.
CREATE TABLE sums (
    quarter           INTEGER NOT NULL,         -- start of the quarter hour
    -- 1: exactly at the start of the quarter hour, which is the end of a block; 0: after it.
    at_start          INTEGER NOT NULL,
    root              INTEGER NOT NULL REFERENCES roots (id),
    session           INTEGER NOT NULL REFERENCES names (id),
    agent             INTEGER NOT NULL,         -- 0: none
    model             INTEGER NOT NULL REFERENCES names (id),
    class             INTEGER NOT NULL,         -- prompt class of the price table in force, see meta
    input             INTEGER NOT NULL,
    output            INTEGER NOT NULL,
    cache_creation    INTEGER NOT NULL,
    cache_creation_1h INTEGER NOT NULL,         -- of each response at most its cache_creation
    cache_read        INTEGER NOT NULL,
    reasoning         INTEGER NOT NULL,
    responses         INTEGER NOT NULL,
    with_tokens       INTEGER NOT NULL,         -- responses that have any
    first_at          INTEGER,
    last_at           INTEGER,
    PRIMARY KEY (quarter, at_start, root, session, agent, model, class)
) STRICT, WITHOUT ROWID;

-- What a file says of a session, or of one of its subagents: where and how it ran, and from when to when.
CREATE TABLE appearances (
    file     INTEGER NOT NULL REFERENCES files (id),
    session  INTEGER NOT NULL REFERENCES names (id),
    agent    INTEGER NOT NULL,                  -- 0: the session itself
    cwd      INTEGER REFERENCES names (id),     -- where it began
    last_cwd INTEGER REFERENCES names (id),
    branch   INTEGER REFERENCES names (id),
    version  INTEGER REFERENCES names (id),
    first_at INTEGER,
    last_at  INTEGER,
    PRIMARY KEY (file, session, agent)
) STRICT, WITHOUT ROWID;
CREATE INDEX appearances_by_session ON appearances (session);

CREATE TABLE agent_links (
    file       INTEGER NOT NULL REFERENCES files (id),
    session    INTEGER NOT NULL REFERENCES names (id),
    agent      INTEGER NOT NULL REFERENCES names (id),
    agent_type INTEGER REFERENCES names (id),
    PRIMARY KEY (file, session, agent)
) STRICT, WITHOUT ROWID;

CREATE TABLE compactions (
    file        INTEGER NOT NULL REFERENCES files (id),
    session     INTEGER NOT NULL REFERENCES names (id),
    at          INTEGER NOT NULL,               -- 0: unknown
    cause       TEXT NOT NULL,
    pre_tokens  INTEGER,
    post_tokens INTEGER,
    PRIMARY KEY (file, session, at)
) STRICT, WITHOUT ROWID;

-- What sessions did. Of a file whose last line has no newline yet, up to the newline before.
CREATE TABLE turns (
    file       INTEGER NOT NULL REFERENCES files (id),
    session    INTEGER NOT NULL REFERENCES names (id),
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,                         -- null: not said
    worked_ms  INTEGER,                         -- null: not said
    PRIMARY KEY (file, session, started_at)
) STRICT, WITHOUT ROWID;

-- Without the beginning or the end, if the file does not have it.
CREATE TABLE tool_calls (
    file         INTEGER NOT NULL REFERENCES files (id),
    call         INTEGER NOT NULL,              -- hash of the vendor's id
    session      INTEGER NOT NULL REFERENCES names (id),
    agent        INTEGER REFERENCES names (id),
    name         INTEGER REFERENCES names (id),
    started_at   INTEGER,
    ended_at     INTEGER,
    ok           INTEGER,                       -- null: not said
    result_bytes INTEGER,                       -- as it stands in the transcript
    PRIMARY KEY (file, call)
) STRICT, WITHOUT ROWID;

-- How full context windows were, last, by the word of tools that say so themselves.
CREATE TABLE context_fills (
    file    INTEGER NOT NULL REFERENCES files (id),
    session INTEGER NOT NULL REFERENCES names (id),
    at      INTEGER,
    model   INTEGER NOT NULL REFERENCES names (id),
    used    INTEGER NOT NULL,
    size    INTEGER NOT NULL,
    PRIMARY KEY (file, session)
) STRICT, WITHOUT ROWID;

-- The tool's own account of a session, the newest: what ours is compared with.
CREATE TABLE tool_costs (
    file    INTEGER NOT NULL REFERENCES files (id),
    session INTEGER NOT NULL REFERENCES names (id),
    account TEXT NOT NULL,                      -- JSON
    PRIMARY KEY (file, session)
) STRICT, WITHOUT ROWID;

CREATE TABLE limit_reports (
    file         INTEGER NOT NULL REFERENCES files (id),
    at           INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    used_percent REAL,
    resets_at    INTEGER,
    rejected     INTEGER NOT NULL,
    session      INTEGER REFERENCES names (id),
    PRIMARY KEY (file, at, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_errors (
    file    INTEGER NOT NULL REFERENCES files (id),
    session INTEGER NOT NULL REFERENCES names (id),
    at      INTEGER NOT NULL,                   -- 0: unknown
    kind    TEXT NOT NULL,
    PRIMARY KEY (file, session, at, kind)
) STRICT, WITHOUT ROWID;

-- Refused lines.
CREATE TABLE audit (
    file        INTEGER NOT NULL REFERENCES files (id),
    byte_offset INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    PRIMARY KEY (file, byte_offset)
) STRICT, WITHOUT ROWID;

-- For people with an SQL shell.
CREATE VIEW responses AS
SELECT roots.tool, session.text AS session, agent.text AS agent, model.text AS model, at, input, output, cache_creation,
       cache_creation_1h, cache_read, reasoning
FROM claims
JOIN files ON files.id = claims.file
JOIN roots ON roots.id = files.root
JOIN names session ON session.id = claims.session
JOIN names model ON model.id = claims.model
LEFT JOIN names agent ON agent.id = claims.agent
WHERE wins;

CREATE VIEW sessions AS
SELECT session.text AS session, min(first_at) AS first_at, max(last_at) AS last_at, count(DISTINCT file) AS files
FROM appearances JOIN names session ON session.id = appearances.session
GROUP BY appearances.session;
