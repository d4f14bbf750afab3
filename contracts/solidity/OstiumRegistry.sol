// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// Test double of Ostium's registry: contracts by name. Written from the interface; anybody may set, it is a devnet's.
contract OstiumRegistry {
    error NotFound(bytes32 name);

    mapping(bytes32 => address) private _at;

    function set(bytes32 name, address where) external {
        _at[name] = where;
    }

    function getContractAddress(bytes32 name) external view returns (address where) {
        where = _at[name];
        if (where == address(0)) revert NotFound(name);
    }
}
