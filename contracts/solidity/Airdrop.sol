// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

interface Mintable {
    function mint(address to, uint256 amount) external;
}

/// One transaction, many Transfer logs, none of them from a contract that the transaction names as `to`.
contract Airdrop {
    function drop(address token, address[] calldata to, uint256 amount) external {
        for (uint256 i; i < to.length; ++i) Mintable(token).mint(to[i], amount);
    }
}
