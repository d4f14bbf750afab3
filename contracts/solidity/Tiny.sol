// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

contract Child {}

/// The smallest thing worth deploying. The optional child is a creation that no transaction's empty `to` shows.
contract Tiny {
    address public immutable child;

    constructor(bool withChild) {
        if (withChild) child = address(new Child());
    }
}
