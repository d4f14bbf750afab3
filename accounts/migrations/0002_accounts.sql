-- migrate:up

create schema accounts;
grant usage on schema accounts to chainworkd_api;

create table accounts.api_token (
    token_hash bytea primary key,
    prefix text not null unique,
    label text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);
comment on table accounts.api_token is 'SHA-256 of keys of 160 random bits; the key itself is shown once and never kept.';
comment on column accounts.api_token.prefix is 'First 16 characters of the key, which name it in lists.';

grant select, update (last_used_at) on accounts.api_token to chainworkd_api;

-- migrate:down

drop schema accounts cascade;
