-- Made after a migration has filled the tables, which is quicker.
CREATE INDEX claims_by_message ON claims (message_high) WHERE message_high IS NOT NULL;
