-- The schema of the shop. Two generations of the service have it open at the
-- same time, so a change must be one the older generation can live with: add
-- tables and nullable columns, and remove only what no running version reads.

CREATE TABLE products (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  sku         TEXT NOT NULL UNIQUE,
  name        TEXT NOT NULL,
  price_cents INTEGER NOT NULL
);

-- AUTOINCREMENT: an id is never used twice, so "after id n" stays meaningful.
CREATE TABLE orders (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  product_id  INTEGER NOT NULL REFERENCES products(id),
  quantity    INTEGER NOT NULL,
  total_cents INTEGER NOT NULL,
  request_id  TEXT NOT NULL,
  created_ms  INTEGER NOT NULL
);

CREATE TABLE messages (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  ref        TEXT UNIQUE,
  sender     TEXT NOT NULL,
  body       TEXT NOT NULL,
  created_ms INTEGER NOT NULL
);

CREATE TABLE uploads (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  sha256     TEXT NOT NULL,
  bytes      INTEGER NOT NULL,
  created_ms INTEGER NOT NULL
);

CREATE TABLE outbox (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  kind         TEXT NOT NULL,
  payload      TEXT NOT NULL,
  delivered_ms INTEGER
);
CREATE INDEX outbox_pending ON outbox(id) WHERE delivered_ms IS NULL;

-- No uniqueness on outbox_id: the log has to be able to show a second delivery.
CREATE TABLE deliveries (
  seq          INTEGER PRIMARY KEY AUTOINCREMENT,
  outbox_id    INTEGER NOT NULL,
  generation   INTEGER NOT NULL,
  pid          INTEGER NOT NULL,
  delivered_ms INTEGER NOT NULL
);
CREATE INDEX deliveries_outbox ON deliveries(outbox_id);

-- The ledger counts and does not suppress, for the same reason.
CREATE TABLE applied (
  id    TEXT PRIMARY KEY,
  count INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO products (sku, name, price_cents) VALUES
  ('tea-oolong', 'Oolong tea, 100 g', 1450),
  ('cup-white', 'White porcelain cup', 900),
  ('kettle-iron', 'Cast iron kettle', 8900);
