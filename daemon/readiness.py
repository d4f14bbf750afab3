"""By what the configured chains count as ready, and who may ask."""

from api.access import Gate, Scope, anybody
from api.readiness import Readiness
from core.settings import Settings
from core.store.pool import Pool


def readiness_of(settings: Settings, pool: Pool) -> Readiness:
    """Return the judge of the configured chains."""
    ops = settings.ops
    return Readiness(pool, chains=settings.chains, ready_lag_s=ops.ready_lag_s, silence_s=ops.head_silence_s)


def ops_gate() -> Gate:
    """Return the gate of the operators' port."""
    return Gate({Scope.OPERATIONS: anybody})
