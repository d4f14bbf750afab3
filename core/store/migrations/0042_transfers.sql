-- migrate:up

set local role chainworkd_indexer;

-- Transfers are looked for by their transaction. A key that begins with block and log made every look read the whole
-- block. Within a block logs are numbered in the order of transactions, so this key has the same order.
alter table chain.token_transfer
    drop constraint token_transfer_pkey,
    add constraint token_transfer_pkey primary key (chain_id, block_number, tx_index, log_index, position);

reset role;

-- migrate:down

alter table chain.token_transfer
    drop constraint token_transfer_pkey,
    add constraint token_transfer_pkey primary key (chain_id, block_number, log_index, position);
