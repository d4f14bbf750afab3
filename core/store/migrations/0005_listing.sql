-- migrate:up

set local role chainworkd_indexer;

-- Dates become block numbers before anything else is asked.
create index block_by_time on chain.block (chain_id, block_time, number);
-- Transactions that moved a token, newest first.
create index token_transfer_by_token on chain.token_transfer (chain_id, token, block_number, tx_index);

reset role;

-- migrate:down

drop index chain.token_transfer_by_token;
drop index chain.block_by_time;
