// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// An ordinary ERC-20 of any number of decimals. Anybody may mint: it is money of a devnet and worth nothing.
contract DemoToken is ERC20 {
    uint8 private immutable _unit;

    constructor(string memory name_, string memory symbol_, uint8 unit) ERC20(name_, symbol_) {
        _unit = unit;
    }

    function decimals() public view override returns (uint8) {
        return _unit;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}
