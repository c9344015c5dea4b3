-- Which events the row of a download tells by itself, so that they need no rows of `events`: 0 none (rows of older
-- versions), 1 download.started, 3 download.completed as well. Their places in the order of events are in its id.
ALTER TABLE downloads ADD COLUMN tells bigint NOT NULL DEFAULT 0;
-- What the event download.completed reports of the connection, if the row tells it: a JSON array.
ALTER TABLE downloads ADD COLUMN transport text;
-- `assurance` may be 2: proxy, but the first delivery was peer.

-- One index finds the generations of a download, and whether a content has downloads left.
DROP INDEX downloads_generation;
DROP INDEX downloads_content;
CREATE UNIQUE INDEX downloads_generation ON downloads (content, recipient, generation);
