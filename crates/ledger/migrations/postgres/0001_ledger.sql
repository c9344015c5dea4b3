-- Times are microseconds since 1970 (UTC), truth is 1 or 0.

-- One recipient obtaining one content; complete, it is the receipt.
CREATE TABLE downloads (
    id          text COLLATE "C" PRIMARY KEY,
    recipient   text COLLATE "C" NOT NULL,
    content     text COLLATE "C" NOT NULL,
    generation  bigint NOT NULL,
    -- 0 open, 1 aborted, 2 failed, 3 completed
    state       bigint NOT NULL,
    etag        text NOT NULL,
    name        text NOT NULL,
    path        text NOT NULL,
    transfer    text,
    weak        bigint NOT NULL,
    link        text,
    client      text,
    user_agent  text,
    total       bigint NOT NULL,
    acked       bigint NOT NULL,
    inferred    bigint NOT NULL,
    files       bigint,
    files_done  bigint,
    deliveries  bigint NOT NULL,
    -- 0 peer, 1 proxy
    assurance   bigint NOT NULL,
    confirmed   bigint NOT NULL,
    started     bigint NOT NULL,
    updated     bigint NOT NULL,
    completed   bigint,
    -- Whether the delivery that completed it carried everything by itself.
    alone       bigint NOT NULL,
    -- How many rows of `fragments` it has.
    fragments   bigint NOT NULL
);
CREATE UNIQUE INDEX downloads_generation ON downloads (recipient, content, generation);
-- At most one that is not complete, and found at once.
CREATE UNIQUE INDEX downloads_open ON downloads (recipient, content) WHERE state <> 3;
CREATE INDEX downloads_link ON downloads (link, content) WHERE link IS NOT NULL;
CREATE INDEX downloads_transfer ON downloads (transfer, id) WHERE transfer IS NOT NULL;

-- What has been acknowledged of downloads that are not complete; fragments of one download never touch.
CREATE TABLE fragments (
    download    text COLLATE "C" NOT NULL REFERENCES downloads (id) ON DELETE CASCADE,
    first       bigint NOT NULL,
    past        bigint NOT NULL,
    PRIMARY KEY (download, first)
);

-- The files of archives that may be asked for: [[name, size, first, past], ...].
CREATE TABLE contents (
    content     text COLLATE "C" PRIMARY KEY,
    parts       text NOT NULL
);

-- Servers; `beat` is when each was last heard of, by the database's clock, `batch` what it committed last.
CREATE TABLE instances (
    id          text COLLATE "C" PRIMARY KEY,
    beat        bigint NOT NULL,
    batch       bigint NOT NULL
);

-- Deliveries under way, and what crashed servers left (without an instance).
CREATE TABLE deliveries (
    id          text COLLATE "C" PRIMARY KEY,
    download    text COLLATE "C" NOT NULL REFERENCES downloads (id) ON DELETE CASCADE,
    instance    text COLLATE "C",
    -- Where it began; `reached` is the byte behind the last one that it was credited with.
    first       bigint NOT NULL,
    reached     bigint NOT NULL,
    -- End of its range; none if it has several.
    past        bigint,
    sent        bigint NOT NULL,
    updated     bigint NOT NULL
);
CREATE INDEX deliveries_download ON deliveries (download);
CREATE INDEX deliveries_instance ON deliveries (instance);

CREATE TABLE links (
    id          text COLLATE "C" PRIMARY KEY,
    receipts    bigint NOT NULL,
    exhausted   bigint NOT NULL,
    revoked     bigint
);

-- Transfers whose end was told.
CREATE TABLE transfers (
    id          text COLLATE "C" PRIMARY KEY,
    expired     bigint NOT NULL
);

CREATE TABLE events (
    seq         bigserial PRIMARY KEY,
    id          text COLLATE "C" NOT NULL,
    kind        text NOT NULL,
    download    text COLLATE "C",
    at          bigint NOT NULL,
    -- None: what the download's row tells, which does not change any more.
    data        text
);
CREATE UNIQUE INDEX events_id ON events (id);
-- A download starts once and is completed once: its events of these kinds have ids that are made of its own.

-- Events on their way to endpoints.
CREATE TABLE sends (
    event       text COLLATE "C" NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    endpoint    text COLLATE "C" NOT NULL,
    -- 0 waiting, 1 delivered, 2 given up
    state       bigint NOT NULL,
    due         bigint NOT NULL,
    since       bigint NOT NULL,
    attempts    bigint NOT NULL,
    -- Until when it is somebody's, and whose.
    leased      bigint NOT NULL,
    token       text,
    -- The last attempts: [{"at", "note", "ms"}, ...].
    log         text NOT NULL,
    PRIMARY KEY (event, endpoint)
);
CREATE INDEX sends_due ON sends (endpoint, due) WHERE state = 0;

CREATE TABLE endpoints (
    id          text COLLATE "C" PRIMARY KEY,
    failing     bigint,
    disabled    bigint,
    reason      text
);
