"""What the routes of delegated mode will answer, field for field as the seed's schemas. They are described already."""

from typing import Annotated, Literal

import msgspec

from api.builder.answers import Address, UnsignedTransaction

Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class AgentCreateResponse(msgspec.Struct, rename="camel"):
    """POST /v1/auth/create: the key, and the transactions the trader has to send."""

    api_key: str
    smart_account_address: Address
    delegate_approval_tx: UnsignedTransaction
    usdc_approval_required: bool
    chain_id: int
    usdc_approval_tx: UnsignedTransaction | None = None


class AgentVerifyResponse(msgspec.Struct, rename="camel"):
    """POST /v1/auth/verify-auth. `allowance` is USDC in base units."""

    verified: bool
    smart_account_address: Address
    allowance: str


class AgentActionMessageResponse(msgspec.Struct, rename="camel"):
    """POST /v1/auth/cancel: what the trader has to sign."""

    message: str
    nonce: str
    expires_at: Moment
    smart_account_address: Address


class AgentRevokeResponse(msgspec.Struct, rename="camel"):
    """POST /v1/agent/revoke."""

    remove_delegate_tx: UnsignedTransaction


class AgentRevokeBundleResponse(msgspec.Struct, rename="camel"):
    """POST /v1/auth/revoke."""

    remove_delegate_tx: UnsignedTransaction
    smart_account_address: Address
    message: str
    nonce: str
    expires_at: Moment


class AgentPublicResponse(msgspec.Struct, rename="camel"):
    """GET /v1/agent/public."""

    agent_wallet_address: Address
    smart_account_address: Address


class AgentRemoveResponse(msgspec.Struct, rename="camel"):
    """POST /v1/agent/remove."""

    remove_delegate_tx: UnsignedTransaction
    smart_account_address: Address


class AgentVerifyModeResponse(msgspec.Struct, rename="camel"):
    """POST /v1/auth/verify-cancel."""

    success: bool
    mode: Literal["cancel", "reset"]
    smart_account_address: Address
    delegated_to: Address


class AgentVerifyRevokeResponse(msgspec.Struct, rename="camel"):
    """POST /v1/auth/verify-revoke."""

    success: bool
    smart_account_address: Address
    delegated_to: Address
    allowance: str


class AgentPendingResponse(msgspec.Struct, rename="camel"):
    """GET /v1/agent/pending."""

    has_pending: bool
    smart_account_address: Address | msgspec.UnsetType = msgspec.UNSET
    agent_wallet_address: Address | msgspec.UnsetType = msgspec.UNSET
    created_at: Moment | msgspec.UnsetType = msgspec.UNSET
    is_verified: bool | msgspec.UnsetType = msgspec.UNSET
    nonce: str | msgspec.UnsetType = msgspec.UNSET
    expires_at: Moment | msgspec.UnsetType = msgspec.UNSET


class AgentResetResponse(msgspec.Struct, rename="camel"):
    """Superseded by AgentVerifyModeResponse."""

    reset: bool
    smart_account_address: Address
    delegated_to: Address


class DelegatedTransactionResponse(msgspec.Struct, rename="camel"):
    """What the exchange routes answer with an API key: the transaction that was sent for the trader."""

    tx_hash: str
    smart_account_address: Address
