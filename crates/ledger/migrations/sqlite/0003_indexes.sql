-- Whether a content has downloads left.
CREATE INDEX downloads_content ON downloads (content);
-- The downloads of one recipient, newest first.
CREATE INDEX downloads_recipient ON downloads (recipient, id);
-- What is somebody's: by its token, and by the end of the lease.
CREATE INDEX sends_token ON sends (token) WHERE token IS NOT NULL;
CREATE INDEX sends_leased ON sends (endpoint, leased) WHERE state = 0 AND leased > 0;
