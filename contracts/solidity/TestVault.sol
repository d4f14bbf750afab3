// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// A stand-in for the SignedVault escrow, for tests and devnets only. It keeps the interface, the storage layout and
/// the observable behaviour that were learned about the deployed generations, including the awkward parts: nothing is
/// indexed, zero deposits are accepted, and a deposit's record is never cleared.
contract TestVault {
    using SafeERC20 for IERC20;

    address public constant ETH_ADDRESS = address(0);
    bytes32 public constant WITHDRAW_TYPEHASH = keccak256(
        "Withdraw(address user,address token,uint256 amount,address resolver,uint256 nonce,uint256 deadline)"
    );
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    // keccak256("eip1967.proxy.implementation") - 1, see EIP-1967.
    bytes32 private constant IMPLEMENTATION_SLOT = bytes32(uint256(keccak256("eip1967.proxy.implementation")) - 1);

    // Slots 0, 1, 2 in this order: proofs of `_deposits` are taken against slot 2. So no base with storage either.
    mapping(address resolver => mapping(uint256 nonce => bool)) public usedNonces;
    mapping(address resolver => mapping(address token => uint256)) public resolverBalanceOf;
    mapping(bytes32 depositHash => uint256) private _deposits;

    event Deposit(address user, address token, address resolver, uint256 amount, uint256 nonce);
    event Deposit(address user, address token, uint256 amount, uint256 nonce);
    event Deposit(address user, address token, uint256 amount);
    event Withdraw(address user, address token, uint256 amount);
    event NonceCancelled(address resolver, uint256 nonce);
    event SignatureCancelled(address resolver, bytes signature);
    event Upgraded(address indexed implementation);

    error NonceAlreadyUsed(address resolver, uint256 nonce);
    error InvalidAsset();
    error InsufficientResolverBalance(address resolver, address token, uint256 wanted, uint256 available);
    error InvalidSignature();
    error SignatureExpired();
    error ETHTransferFailed();
    error InvalidResolver();
    error DuplicateDeposit(bytes32 depositHash);

    function depositETH(address resolver, uint256 nonce) external payable {
        _credit(ETH_ADDRESS, msg.value, resolver, nonce);
    }

    function deposit(address token, uint256 amount, address resolver, uint256 nonce) external {
        if (token == ETH_ADDRESS) revert InvalidAsset();
        _credit(token, amount, resolver, nonce);
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
    }

    // The two older generations only announced a deposit; who may spend it cannot be told from their logs.
    function depositETHBeforeResolvers(uint256 nonce) external payable {
        emit Deposit(msg.sender, ETH_ADDRESS, msg.value, nonce);
    }

    function depositETHBeforeNonces() external payable {
        emit Deposit(msg.sender, ETH_ADDRESS, msg.value);
    }

    function cancel(uint256 nonce) external {
        _use(msg.sender, nonce);
        emit NonceCancelled(msg.sender, nonce);
    }

    function cancelSignature(bytes calldata signature) external {
        emit SignatureCancelled(msg.sender, signature);
    }

    function withdrawETH(
        address user,
        uint256 amount,
        address resolver,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external {
        _debit(user, ETH_ADDRESS, amount, resolver, nonce, deadline, signature);
        (bool sent,) = user.call{value: amount}("");
        if (!sent) revert ETHTransferFailed();
    }

    function withdraw(
        address user,
        address token,
        uint256 amount,
        address resolver,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external {
        if (token == ETH_ADDRESS) revert InvalidAsset();
        _debit(user, token, amount, resolver, nonce, deadline, signature);
        IERC20(token).safeTransfer(user, amount);
    }

    // Nothing is upgraded: the slot and the event are what a watcher of upgrades reads.
    function upgradeTo(address implementation) external {
        bytes32 slot = IMPLEMENTATION_SLOT;
        assembly {
            sstore(slot, implementation)
        }
        emit Upgraded(implementation);
    }

    function getDeposit(bytes32 depositHash) external view returns (uint256) {
        return _deposits[depositHash];
    }

    function getDeposit(address user, address token, address resolver, uint256 nonce) external view returns (uint256) {
        return _deposits[_depositHash(user, token, resolver, nonce)];
    }

    function withdrawDigest(
        address user,
        address token,
        uint256 amount,
        address resolver,
        uint256 nonce,
        uint256 deadline
    ) public view returns (bytes32) {
        bytes32 order = keccak256(abi.encode(WITHDRAW_TYPEHASH, user, token, amount, resolver, nonce, deadline));
        return keccak256(abi.encodePacked("\x19\x01", _domainSeparator(), order));
    }

    // A zero amount passes and leaves no mark, so one key may be announced many times before it is paid once.
    function _credit(address token, uint256 amount, address resolver, uint256 nonce) private {
        if (resolver == address(0)) revert InvalidResolver();
        bytes32 depositHash = _depositHash(msg.sender, token, resolver, nonce);
        if (_deposits[depositHash] != 0) revert DuplicateDeposit(depositHash);
        _deposits[depositHash] = amount;
        resolverBalanceOf[resolver][token] += amount;
        emit Deposit(msg.sender, token, resolver, amount, nonce);
    }

    function _debit(
        address user,
        address token,
        uint256 amount,
        address resolver,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) private {
        if (block.timestamp > deadline) revert SignatureExpired();
        bytes32 digest = withdrawDigest(user, token, amount, resolver, nonce, deadline);
        (address signer,,) = ECDSA.tryRecover(digest, signature);
        if (signer == address(0) || signer != resolver) revert InvalidSignature();
        _use(resolver, nonce);
        uint256 available = resolverBalanceOf[resolver][token];
        if (amount > available) revert InsufficientResolverBalance(resolver, token, amount, available);
        resolverBalanceOf[resolver][token] = available - amount;
        emit Withdraw(user, token, amount);
    }

    function _use(address resolver, uint256 nonce) private {
        if (usedNonces[resolver][nonce]) revert NonceAlreadyUsed(resolver, nonce);
        usedNonces[resolver][nonce] = true;
    }

    function _depositHash(address user, address token, address resolver, uint256 nonce) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(user, token, resolver, nonce));
    }

    // Computed each time rather than stored, so that the code answers rightly wherever a test puts it.
    function _domainSeparator() private view returns (bytes32) {
        return keccak256(
            abi.encode(DOMAIN_TYPEHASH, keccak256("SignedVault"), keccak256("1"), block.chainid, address(this))
        );
    }
}
