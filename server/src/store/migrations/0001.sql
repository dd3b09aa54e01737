-- What transcripts said, file by file. A file's rows and its checkpoint change in one transaction, so the store is
-- always as if reading had stopped somewhere, never between. No column can hold a word of a conversation.
-- Times are milliseconds since 1970, UTC; places are byte offsets into the file.

-- Texts that occur often: ids of sessions and agents, models, directories, branches, versions, names of tools.
CREATE TABLE names (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE files (
    id          INTEGER PRIMARY KEY,
    tool        TEXT NOT NULL,
    root        TEXT NOT NULL,               -- the tool's directory
    name        TEXT NOT NULL,               -- path below it
    -- How far the rows go: up to the last newline. Of a deleted file everything counts.
    reached     INTEGER NOT NULL,
    state       TEXT NOT NULL,               -- JSON: what reading goes on from
    archived_at INTEGER,                     -- when the file was found deleted
    UNIQUE (tool, root, name)
) STRICT;

-- What files claim of responses; which claim counts is decided by the ledger (docs/ARCHITECTURE.md).
CREATE TABLE claims (
    file              INTEGER NOT NULL REFERENCES files (id),
    byte_offset       INTEGER NOT NULL,
    line_index        INTEGER NOT NULL,
    session           INTEGER NOT NULL REFERENCES names (id),
    agent             INTEGER REFERENCES names (id),
    sidechain         INTEGER NOT NULL,
    message           TEXT,
    request           TEXT,
    model             INTEGER NOT NULL REFERENCES names (id),
    at                INTEGER,
    input             INTEGER NOT NULL,
    output            INTEGER NOT NULL,
    cache_creation    INTEGER NOT NULL,
    cache_creation_1h INTEGER NOT NULL,
    cache_read        INTEGER NOT NULL,
    bad_counts        INTEGER NOT NULL,
    PRIMARY KEY (file, byte_offset, line_index)
) STRICT, WITHOUT ROWID;

-- What a file says of a session, or of one of its subagents: where and how it ran, and from when to when.
CREATE TABLE appearances (
    file     INTEGER NOT NULL REFERENCES files (id),
    session  INTEGER NOT NULL REFERENCES names (id),
    agent    INTEGER NOT NULL,               -- 0: the session itself
    cwd      INTEGER REFERENCES names (id), -- where it began
    last_cwd INTEGER REFERENCES names (id),
    branch   INTEGER REFERENCES names (id),
    version  INTEGER REFERENCES names (id),
    first_at INTEGER,
    last_at  INTEGER,
    PRIMARY KEY (file, session, agent)
) STRICT, WITHOUT ROWID;

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
    at          INTEGER NOT NULL,            -- 0: unknown
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
    ended_at   INTEGER,                      -- null: not said
    worked_ms  INTEGER,                      -- null: not said
    PRIMARY KEY (file, session, started_at)
) STRICT, WITHOUT ROWID;

-- Without the beginning or the end, if the file does not have it.
CREATE TABLE tool_calls (
    file         INTEGER NOT NULL REFERENCES files (id),
    call         INTEGER NOT NULL,           -- hash of the vendor's id
    session      INTEGER NOT NULL REFERENCES names (id),
    agent        INTEGER REFERENCES names (id),
    name         INTEGER REFERENCES names (id),
    started_at   INTEGER,
    ended_at     INTEGER,
    ok           INTEGER,                    -- null: not said
    result_bytes INTEGER,                    -- as it stands in the transcript
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
    account TEXT NOT NULL,                   -- JSON
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

-- Refused lines.
CREATE TABLE audit (
    file        INTEGER NOT NULL REFERENCES files (id),
    byte_offset INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    PRIMARY KEY (file, byte_offset)
) STRICT, WITHOUT ROWID;

-- For people with an SQL shell: the claims that count, by the ledger's rules; except that of Codex's forks, which begin
-- with what their parents said, every claim stands here.
CREATE VIEW responses AS
WITH main_chain AS (
    SELECT DISTINCT message FROM claims WHERE message IS NOT NULL AND NOT sidechain
), ranked AS (
    SELECT claims.*, files.tool, row_number() OVER (
        PARTITION BY message, request, CASE files.tool WHEN 'codex' THEN file END
        ORDER BY input + output + cache_creation + cache_read DESC, at IS NULL, at, files.name, byte_offset, line_index
    ) AS rank
    FROM claims JOIN files ON files.id = claims.file
    WHERE byte_offset < files.reached AND message IS NOT NULL AND NOT (sidechain AND message IN main_chain)
    UNION ALL
    SELECT claims.*, files.tool, 1 FROM claims JOIN files ON files.id = claims.file
    WHERE byte_offset < files.reached AND message IS NULL
)
SELECT ranked.tool, session.text AS session, agent.text AS agent, model.text AS model, at, input, output,
       cache_creation, cache_creation_1h, cache_read, message, request
FROM ranked
JOIN names session ON session.id = ranked.session
JOIN names model ON model.id = ranked.model
LEFT JOIN names agent ON agent.id = ranked.agent
WHERE rank = 1;

CREATE VIEW sessions AS
SELECT session.text AS session, min(first_at) AS first_at, max(last_at) AS last_at, count(DISTINCT file) AS files
FROM appearances JOIN names session ON session.id = appearances.session
GROUP BY appearances.session;
