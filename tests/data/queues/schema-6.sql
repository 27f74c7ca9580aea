-- A queue that schema 5 wrote and schema 6 brought up.
BEGIN TRANSACTION;
CREATE TABLE attempts (token INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, worker TEXT NOT NULL);
INSERT INTO "attempts" VALUES(1,'done','helper-1');
INSERT INTO "attempts" VALUES(2,'failed','cpu');
INSERT INTO "attempts" VALUES(3,'running','cpu');
CREATE TABLE batches (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, document TEXT NOT NULL, name TEXT NOT NULL, outputs TEXT,
  owner TEXT NOT NULL, device INTEGER NOT NULL, columns INTEGER NOT NULL, priority INTEGER NOT NULL,
  tags TEXT NOT NULL, webhook TEXT, webhook_due REAL, webhook_tries INTEGER NOT NULL DEFAULT 0,
  created REAL NOT NULL, finished REAL, total INTEGER NOT NULL
);
CREATE TABLE cells (
  batch INTEGER NOT NULL, place INTEGER NOT NULL, turn INTEGER NOT NULL, inputs TEXT NOT NULL, state TEXT NOT NULL,
  job TEXT, seconds REAL, problems TEXT NOT NULL DEFAULT '[]', PRIMARY KEY (batch, place)
) WITHOUT ROWID;
CREATE TABLE "drafts" (
  owner TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, document TEXT NOT NULL, saved REAL NOT NULL,
  PRIMARY KEY (owner, id)
) WITHOUT ROWID;
INSERT INTO "drafts" VALUES('','draft-1',4,'{"format": "latentloom/1", "name": "queue", "nodes": {"v": {"type": "Text", "version": 1, "inputs": {"text": "ü"}}}}',7.0);
CREATE TABLE effects (
  job TEXT NOT NULL, node TEXT NOT NULL, item INTEGER NOT NULL,
  state TEXT NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL,
  PRIMARY KEY (job, node, item)
) WITHOUT ROWID;
INSERT INTO "effects" VALUES('done','save',0,'done','pictures/a.png','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa');
CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, record TEXT NOT NULL, owner TEXT);
INSERT INTO "events" VALUES(1,'done','{"job":"done","time":1002,"event":"job_queued","name":"queue"}','ann');
INSERT INTO "events" VALUES(2,'done','{"job":"done","time":1004,"event":"job_claimed","worker":"helper-1","attempt":1}','ann');
INSERT INTO "events" VALUES(3,'done','{"job":"done","time":1005,"event":"job_running","attempt":1}','ann');
INSERT INTO "events" VALUES(4,'done','{"job":"done","time":1008,"event":"job_done"}','ann');
INSERT INTO "events" VALUES(5,'failed','{"job":"failed","time":1010,"event":"job_queued","name":"queue"}','bob');
INSERT INTO "events" VALUES(6,'failed','{"job":"failed","time":1012,"event":"job_claimed","worker":"cpu","attempt":2}','bob');
INSERT INTO "events" VALUES(7,'failed','{"job":"failed","time":1013,"event":"job_running","attempt":2}','bob');
INSERT INTO "events" VALUES(8,'failed','{"job":"failed","time":1015,"event":"job_failed","problems":[{"code":"node_failed","message":"broken"}]}','bob');
INSERT INTO "events" VALUES(9,'cancelled','{"job":"cancelled","time":1017,"event":"job_queued","name":"queue"}','local');
INSERT INTO "events" VALUES(10,'cancelled','{"job":"cancelled","time":1019,"event":"job_cancelled"}','local');
INSERT INTO "events" VALUES(11,'running','{"job":"running","time":1021,"event":"job_queued","name":"queue"}','local');
INSERT INTO "events" VALUES(12,'running','{"job":"running","time":1023,"event":"job_claimed","worker":"cpu","attempt":3}','local');
INSERT INTO "events" VALUES(13,'running','{"job":"running","time":1024,"event":"job_running","attempt":3}','local');
INSERT INTO "events" VALUES(14,'waiting-2','{"job":"waiting-2","time":1026,"event":"job_queued","name":"queue"}','local');
INSERT INTO "events" VALUES(15,'waiting-1','{"job":"waiting-1","time":1028,"event":"job_queued","name":"queue"}','bob');
INSERT INTO "events" VALUES(16,'urgent','{"job":"urgent","time":1030,"event":"job_queued","name":"queue"}','local');
INSERT INTO "events" VALUES(17,'','{"job":"","time":1031,"event":"queue_paused"}','');
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL,
  priority INTEGER NOT NULL,
  position REAL NOT NULL,
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  document TEXT NOT NULL,
  outputs TEXT,
  tags TEXT NOT NULL,
  idempotency_key TEXT,
  request TEXT NOT NULL,
  device INTEGER NOT NULL,
  retry_of TEXT,
  webhook TEXT,
  webhook_due REAL,
  webhook_tries INTEGER NOT NULL DEFAULT 0,
  created REAL NOT NULL,
  started REAL,
  finished REAL,
  attempt INTEGER NOT NULL DEFAULT 0,
  deaths INTEGER NOT NULL DEFAULT 0,
  ends INTEGER NOT NULL DEFAULT 0,
  result TEXT NOT NULL DEFAULT '{}',
  problems TEXT NOT NULL DEFAULT '[]'
);
INSERT INTO "jobs" VALUES(1,'done','done',0,0.0,'ann','queue','{"format": "latentloom/1", "name": "queue", "nodes": {"v": {"type": "Text", "version": 1, "inputs": {"text": "ü"}}}}',NULL,'["stars", "a''b"]','k','r',1,NULL,NULL,NULL,0,1001.0,1003.0,1007.0,1,0,0,'{"outputs": {"n": 1}}','[]');
INSERT INTO "jobs" VALUES(2,'failed','failed',5,0.0,'bob','queue','{"format": "latentloom/1", "name": "queue", "nodes": {"v": {"type": "Text", "version": 1, "inputs": {"text": "ü"}}}}',NULL,'[]',NULL,'',1,NULL,NULL,NULL,0,1009.0,1011.0,1014.0,2,0,0,'{}','[{"code": "node_failed", "message": "broken"}]');
INSERT INTO "jobs" VALUES(3,'cancelled','cancelled',0,0.0,'local','queue','{"format": "latentloom/1", "name": "queue", "nodes": {"v": {"type": "Text", "version": 1, "inputs": {"text": "ü"}}}}',NULL,'[]',NULL,'',1,NULL,NULL,NULL,0,1016.0,NULL,1018.0,0,0,0,'{}','[]');
INSERT INTO "jobs" VALUES(4,'running','running',0,0.0,'local','queue','{"format": "latentloom/1", "name": "queue", "nodes": {"v": {"type": "Text", "version": 1, "inputs": {"text": "ü"}}}}','["image"]','[]',NULL,'',1,NULL,'https://example.org/hook',NULL,0,1020.0,1022.0,NULL,3,0,0,'{}','[]');
INSERT INTO "jobs" VALUES(5,'waiting-2','queued',0,1.0,'local','queue','{"format": "latentloom/1", "name": "queue", "nodes": {"v": {"type": "Text", "version": 1, "inputs": {"text": "ü"}}}}',NULL,'[]',NULL,'',0,NULL,NULL,NULL,0,1025.0,NULL,NULL,0,0,0,'{}','[]');
INSERT INTO "jobs" VALUES(6,'waiting-1','queued',0,-1.0,'bob','queue','{"format": "latentloom/1", "name": "queue", "nodes": {"v": {"type": "Text", "version": 1, "inputs": {"text": "ü"}}}}',NULL,'[]',NULL,'',0,NULL,NULL,NULL,0,1027.0,NULL,NULL,0,0,0,'{}','[]');
INSERT INTO "jobs" VALUES(7,'urgent','queued',9,0.0,'local','queue','{"format": "latentloom/1", "name": "queue", "nodes": {"v": {"type": "Text", "version": 1, "inputs": {"text": "ü"}}}}',NULL,'[]',NULL,'',1,NULL,NULL,NULL,0,1029.0,NULL,NULL,0,0,0,'{}','[]');
CREATE TABLE outputs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  sha256 TEXT NOT NULL, path TEXT NOT NULL, job TEXT NOT NULL, node TEXT NOT NULL, item INTEGER NOT NULL,
  workflow TEXT NOT NULL, media TEXT NOT NULL, bytes INTEGER NOT NULL, width INTEGER, height INTEGER,
  created REAL NOT NULL, texts TEXT NOT NULL, models TEXT NOT NULL, seed TEXT, tags TEXT NOT NULL, outputs TEXT NOT NULL DEFAULT '[]', owner TEXT NOT NULL DEFAULT 'local', choices TEXT NOT NULL DEFAULT '[]',
  UNIQUE (job, node, item)
);
INSERT INTO "outputs" VALUES(1,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','pictures/a.png','done','save',0,'queue','image/png',12,3,4,1006.0,'a red star','["shapes"]','7','["stars", "a''b"]','[]','ann','[]');
INSERT INTO "outputs" VALUES(2,'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','b.png','forgotten','s',0,'w','image/png',1,1,1,2.0,'','[]','1','[]','[]','local','[]');
CREATE TABLE replies (
  owner TEXT NOT NULL, idempotency_key TEXT NOT NULL, request TEXT NOT NULL, answer TEXT NOT NULL,
  made REAL NOT NULL, PRIMARY KEY (owner, idempotency_key)
) WITHOUT ROWID;
INSERT INTO "replies" VALUES('ann','reply','r','{}',900.0);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "settings" VALUES('paused','1');
INSERT INTO "settings" VALUES('reserved','1000000');
INSERT INTO "settings" VALUES('stream','d10f2f4d9ab8a84c');
CREATE TABLE turns (owner TEXT PRIMARY KEY, turn INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE "workflows" (
  owner TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, document TEXT, saved REAL NOT NULL,
  PRIMARY KEY (owner, name, version)
) WITHOUT ROWID;
INSERT INTO "workflows" VALUES('','gone',3,NULL,6.0);
INSERT INTO "workflows" VALUES('','mine',1,'{"format": "latentloom/1", "name": "queue", "nodes": {"v": {"type": "Text", "version": 1, "inputs": {"text": "ü"}}}}',5.0);
INSERT INTO "workflows" VALUES('','mine',2,'{"format": "latentloom/1", "name": "queue", "nodes": {"v": {"type": "Text", "version": 1, "inputs": {"text": "v2"}}}}',5.0);
CREATE INDEX jobs_by_place ON jobs (state, priority DESC, position);
CREATE INDEX jobs_by_owner ON jobs (owner, state);
CREATE INDEX jobs_by_webhook ON jobs (webhook_due) WHERE webhook_due IS NOT NULL;
CREATE UNIQUE INDEX jobs_by_key ON jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX attempts_by_job ON attempts (job);
CREATE INDEX events_by_job ON events (job, number);
CREATE INDEX outputs_by_hash ON outputs (sha256);
CREATE UNIQUE INDEX outputs_by_path ON outputs (path);
CREATE INDEX replies_by_age ON replies (made);
CREATE INDEX jobs_by_turn ON jobs (state, device, owner, priority DESC, position);
CREATE INDEX events_by_owner ON events (owner, number);
CREATE INDEX outputs_by_owner ON outputs (owner, id);
CREATE INDEX batches_by_state ON batches (state);
CREATE INDEX batches_by_webhook ON batches (webhook_due) WHERE webhook_due IS NOT NULL;
CREATE INDEX cells_by_turn ON cells (batch, state, turn);
CREATE INDEX cells_by_job ON cells (job) WHERE state = 'open';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',17);
INSERT INTO "sqlite_sequence" VALUES('jobs',7);
INSERT INTO "sqlite_sequence" VALUES('attempts',3);
INSERT INTO "sqlite_sequence" VALUES('outputs',2);
COMMIT;
PRAGMA user_version = 6;
