-- The rule of the configuration (TRUSTED_ISSUERS) by which another issuer's token came in, from which a token was minted: it
-- ends with it. No row can tell when: whoever reads the token asks the configuration.
alter table tokens add column rule text;
