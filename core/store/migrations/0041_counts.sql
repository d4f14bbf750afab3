-- migrate:up

set local role chainworkd_indexer;

create table chain.address_count (
    chain_id bigint not null,
    address bytea not null,
    width integer not null,
    first_block bigint not null,
    total integer not null,
    incoming integer not null,
    outgoing integer not null,
    primary key (chain_id, address, width, first_block)
);
comment on table chain.address_count is
    'How many rows of address_transaction an address has in a segment: always exact, or not here. Taken away in the transaction that takes away a row of the segment.';
comment on column chain.address_count.width is 'Blocks of the segment, which begins at first_block, a multiple of it.';
comment on column chain.address_count.incoming is
    'Rows with a role of direction `in`, outgoing with one of `out` (core/store/listing.py); a row can be both.';
create index address_count_by_block on chain.address_count (chain_id, first_block);

create table chain.seal (
    chain_id bigint not null,
    width integer not null,
    first_block bigint not null,
    transactions bigint not null,
    primary key (chain_id, width, first_block)
);
comment on table chain.seal is
    'Segments of finalized blocks that are counted. An address without a row in address_count has few transactions there (core/store/counts.py).';
comment on column chain.seal.transactions is 'How many transactions of the segment are stored.';

reset role;

-- migrate:down

drop table chain.seal;
drop table chain.address_count;
