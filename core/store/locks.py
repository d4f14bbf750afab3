"""Advisory locks on one chain, held until the end of a transaction. $1 is the chain."""

from typing import Final

# Fills share it, rewinds own it: a fill that was fetched before a rewind must see what the rewind left. The chain is
# the hash's seed because the two-key form takes integers only, and there are chain ids above 2^31 (Palm: 11297108109).
SQL_SHARE_LOCK: Final = "select pg_advisory_xact_lock_shared(hashtextextended('chain.rewind', $1))"
SQL_REWIND_LOCK: Final = "select pg_advisory_xact_lock(hashtextextended('chain.rewind', $1))"
# Two fills side by side do not see each other before they commit. $2 names a seam by the block above it.
SQL_SEAM_LOCK: Final = "select pg_advisory_xact_lock(hashtextextended('chain.seam.' || $2::bigint::text, $1))"
# Who counts deposits in covered blocks owns it, and so does who adds some there, which fills never do. Always taken
# after one of the first two.
SQL_DEPOSITS_LOCK: Final = "select pg_advisory_xact_lock(hashtextextended('chain.deposits', $1))"
