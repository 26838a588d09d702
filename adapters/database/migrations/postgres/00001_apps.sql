-- +goose Up
CREATE TABLE playhead_apps (
    number     BIGINT       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         VARCHAR(255) NOT NULL UNIQUE,
    disabled   BOOLEAN      NOT NULL DEFAULT FALSE,
    settings   JSON         NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ  NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE playhead_app_keys (
    number     BIGINT       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    app_id     VARCHAR(255) NOT NULL REFERENCES playhead_apps (id) ON DELETE CASCADE,
    app_key    VARCHAR(255) NOT NULL UNIQUE,
    secret     VARCHAR(255) NOT NULL,
    created_at TIMESTAMPTZ  NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE INDEX playhead_app_keys_app ON playhead_app_keys (app_id);

CREATE TABLE playhead_revision (
    one      SMALLINT NOT NULL DEFAULT 1 PRIMARY KEY CHECK (one = 1),
    revision BIGINT   NOT NULL
);

INSERT INTO playhead_revision (one, revision) VALUES (1, 1);

-- +goose Down
DROP TABLE playhead_revision;
DROP TABLE playhead_app_keys;
DROP TABLE playhead_apps;
