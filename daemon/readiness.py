"""By what the configured chains count as ready."""

from api.readiness import Readiness
from core.settings import Settings
from core.store.pool import Pool


def readiness_of(settings: Settings, pool: Pool) -> Readiness:
    """Return the judge of the configured chains."""
    ops = settings.ops
    return Readiness(pool, chains=settings.chains, ready_lag_s=ops.ready_lag_s, silence_s=ops.head_silence_s)
