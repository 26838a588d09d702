-- MySQL commits each definition by itself, so what a migration that was cut short has made is met again.

-- +goose Up
CREATE TABLE IF NOT EXISTS playhead_apps (
    number     BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id         VARCHAR(255) NOT NULL UNIQUE,
    disabled   BOOLEAN      NOT NULL DEFAULT FALSE,
    settings   JSON         NOT NULL,
    created_at DATETIME(6)  NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS playhead_app_keys (
    number     BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    app_id     VARCHAR(255) NOT NULL,
    app_key    VARCHAR(255) NOT NULL UNIQUE,
    secret     VARCHAR(255) NOT NULL,
    created_at DATETIME(6)  NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    CONSTRAINT playhead_app_keys_app FOREIGN KEY (app_id) REFERENCES playhead_apps (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS playhead_revision (
    one      TINYINT NOT NULL DEFAULT 1 PRIMARY KEY,
    revision BIGINT  NOT NULL
) ENGINE = InnoDB;

INSERT IGNORE INTO playhead_revision (one, revision) VALUES (1, 1);

-- +goose Down
DROP TABLE playhead_revision;
DROP TABLE playhead_app_keys;
DROP TABLE playhead_apps;
