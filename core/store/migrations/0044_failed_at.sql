-- migrate:up

set local role chainworkd_indexer;

alter table chain.chain add column checks_failed_at bigint[] not null default '{}';

comment on column chain.chain.checks_failed_at is
    'Blocks at which a check failed that did not hold then: a calibration looks at them again, whichever others it takes.';

reset role;

-- migrate:down

alter table chain.chain drop column checks_failed_at;
