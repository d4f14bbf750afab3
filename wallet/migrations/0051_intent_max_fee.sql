-- migrate:up

alter table wallet.intent add column max_fee chain.uint256;
comment on column wallet.intent.max_fee is 'The most for each gas that its owner wants paid, below what the wallet''s settings allow; none: no limit of its own.';
grant insert (max_fee) on wallet.intent to chainworkd_worker, chainworkd_api;

-- migrate:down

alter table wallet.intent drop column max_fee;
