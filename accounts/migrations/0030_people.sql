-- migrate:up

create table accounts.person (
    user_id text primary key,
    email text not null,
    email_key text not null unique,
    password_hash text not null,
    role text not null check (role in ('PENDING', 'OPERATOR', 'ADMIN')),
    status text not null check (status in ('PENDING', 'ACTIVE', 'DISABLED')),
    created_at timestamptz not null,
    updated_at timestamptz not null
);
comment on table accounts.person is 'Who may sign in. What somebody may do is read from here at every request.';
comment on column accounts.person.email_key is 'The address in lower case: one account each.';
comment on column accounts.person.password_hash is 'argon2id, in the PHC string format.';

create table accounts.session (
    session_id uuid primary key,
    user_id text not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    ended_at timestamptz,
    ended_because text
);
create index session_of on accounts.session (user_id) where ended_at is null;
comment on table accounts.session is 'One sign-in: the family of all refresh tokens that follow from it.';

create table accounts.refresh_token (
    token_hash bytea primary key,
    session_id uuid not null,
    generation integer not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    salt bytea,
    unique (session_id, generation)
);
comment on table accounts.refresh_token is 'SHA-256 of tokens of 256 random bits. Used ones are kept, so that a replay is recognised.';
comment on column accounts.refresh_token.salt is 'With the token itself it makes the successor; null once that was used.';

create table accounts.signing_key (
    kid text primary key,
    secret bytea not null,
    created_at timestamptz not null
);
comment on table accounts.signing_key is 'HMAC keys of access tokens, readable by the API alone; rotated (ADR 0030).';

create table accounts.audit (
    audit_id uuid primary key,
    at timestamptz not null,
    actor text not null,
    action text not null,
    subject text not null,
    detail jsonb not null
);
create index audit_at on accounts.audit (at);
comment on table accounts.audit is 'Who changed what. Processes may add and read, none may change or remove.';

alter table accounts.api_token add column user_id text;
comment on column accounts.api_token.user_id is 'Whose token it is; none for those of the command line.';
create unique index api_token_owner on accounts.api_token (user_id) where user_id is not null and revoked_at is null;

grant select, insert, update (role, status, password_hash, updated_at) on accounts.person to chainworkd_api;
grant select, insert, update (ended_at, ended_because), delete on accounts.session to chainworkd_api;
grant select, insert, update (used_at, salt), delete on accounts.refresh_token to chainworkd_api;
grant select, insert, delete on accounts.signing_key to chainworkd_api;
grant select, insert on accounts.audit to chainworkd_api;
grant insert, update (revoked_at) on accounts.api_token to chainworkd_api;

-- migrate:down

alter table accounts.api_token drop column user_id;
drop table accounts.audit, accounts.signing_key, accounts.refresh_token, accounts.session, accounts.person;
