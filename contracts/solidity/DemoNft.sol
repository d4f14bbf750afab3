// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";

/// An ordinary ERC-721.
contract DemoNft is ERC721 {
    constructor() ERC721("Demo Collectible", "DEMO") {}

    // The caller names the id, so that one block can hold both the mint and a transfer of what it minted.
    function mint(address to, uint256 id) external {
        _mint(to, id);
    }
}
