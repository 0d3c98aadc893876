"""Run by Alembic: migrates on the connection that :mod:`headwater.ledger.migrate` has a transaction open on."""

from alembic import context

from headwater.ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
