-- Of auditor-htcondor-collector 0.11.2, after it collected two schedds with two prefixes.
CREATE TABLE last_jobs (
                schedd TEXT,
                prefix TEXT,
                cluster INT,
                proc INT,
                PRIMARY KEY (schedd, prefix)
            );
INSERT INTO "last_jobs" VALUES('here','site',5,0);
INSERT INTO "last_jobs" VALUES('there','site',3,0);
INSERT INTO "last_jobs" VALUES('here','test',9,0);
