-- Deliveries that are counted and not recorded, by day and content.
CREATE TABLE counts (
    -- Days since 1970, in UTC.
    day         bigint NOT NULL,
    content     text NOT NULL,
    path        text NOT NULL,
    deliveries  bigint NOT NULL,
    completed   bigint NOT NULL,
    broken      bigint NOT NULL,
    bytes       bigint NOT NULL,
    PRIMARY KEY (day, content)
);
