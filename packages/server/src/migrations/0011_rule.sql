-- The rule of the configuration (TRUSTED_ISSUERS) by which another issuer's token came in, from which a token was minted: it
-- ends with it. No row can tell when: whoever reads the token asks the configuration.
alter table tokens add column rule text;

-- A token of no permission is good for what needs none: who has just come into a space may look around in it.
alter table tokens drop constraint tokens_scope_check;
