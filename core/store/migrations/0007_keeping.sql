-- migrate:up

set local role chainworkd_indexer;

alter table chain.chain add column backfill_paused text;
comment on column chain.chain.backfill_paused is 'Why backfill waits: too little room on the disk. Null while it works.';

reset role;

-- migrate:down

alter table chain.chain drop column backfill_paused;
